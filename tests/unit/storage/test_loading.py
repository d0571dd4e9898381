"""From files to tensors: the same however they are read, said in the trace, and no pickle unasked."""

from __future__ import annotations

import json
import pickle
import struct
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from coldstart_sdk.errors import StorageError
from coldstart_sdk.events import Event, Noted, Resource, SpanRecorded
from coldstart_sdk.storage import blobs
from coldstart_sdk.storage.loading import Loading
from coldstart_sdk.storage.weights import LocalWeight

torch = pytest.importorskip("torch")
save_file = pytest.importorskip("safetensors.torch").save_file

NEAR, FAR = (lambda _: False), (lambda _: True)
DTYPES = [
    *(torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2),
    *(torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool, torch.uint16, torch.uint32),
]


def a_set(path: Path, *, far: bool = False, heard: list[Event] | None = None, **more: Any) -> LocalWeight:  # noqa: ANN401 - fields of a record
    events: list[Event] = [] if heard is None else heard
    loading = Loading(step="load:load", emit=events.append, is_far=FAR if far else NEAR, **more)
    return LocalWeight(name="f5", path=path, tier="disk", bytes=1, revision="r", ref="f5", loading=loading)


def every_type() -> dict[str, Any]:
    found = {str(dtype).partition(".")[2]: torch.arange(6).reshape(2, 3).to(dtype) for dtype in DTYPES}
    return {
        **found,
        "scalar": torch.tensor(3.0),
        "empty": torch.zeros(0, 4),
        "odd": torch.ones(3, dtype=torch.int8),
    }


def same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return one.keys() == other.keys() and all(
        one[key].dtype == other[key].dtype
        and one[key].shape == other[key].shape
        and torch.equal(
            one[key].view(torch.uint8) if one[key].dim() else one[key],
            other[key].view(torch.uint8) if other[key].dim() else other[key],
        )
        for key in one
    )


@pytest.mark.parametrize("far", [False, True], ids=["mapped", "in bulk"])
def test_every_type_and_shape_comes_as_it_was_saved(far: bool, tmp_path: Path) -> None:  # noqa: FBT001 - a parameter of the test
    saved = every_type()
    save_file(saved, tmp_path / "model.safetensors")

    assert same(a_set(tmp_path, far=far).tensors(), saved)


def test_a_file_larger_than_one_piece_is_read_whole_side_by_side(tmp_path: Path) -> None:
    saved = {f"w{n}": torch.randn(1 << 20) for n in range(10)}
    save_file(saved, tmp_path / "model.safetensors")

    assert same(a_set(tmp_path, far=True).tensors(), saved)


def test_shards_add_up_and_other_files_are_left(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    save_file({"a": torch.ones(1)}, tmp_path / "model-00001-of-00002.safetensors")
    save_file({"b": torch.ones(2)}, tmp_path / "sub" / "model-00002-of-00002.safetensors")
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "pytorch_model.bin").write_bytes(b"never opened")

    assert set(a_set(tmp_path).tensors()) == {"a", "b"}
    assert set(a_set(tmp_path).tensors(include=["sub/*"])) == {"b"}


def test_one_file_is_a_set_too(tmp_path: Path) -> None:
    save_file({"a": torch.ones(1)}, tmp_path / "lora.safetensors")
    (tmp_path / "beside.safetensors").write_bytes(b"not of this set")

    assert set(a_set(tmp_path / "lora.safetensors").tensors()) == {"a"}


@pytest.mark.parametrize(("far", "how"), [(False, "mapped"), (True, "in bulk, by 8 readers")])
def test_the_trace_says_how_each_file_was_read(far: bool, how: str, tmp_path: Path) -> None:  # noqa: FBT001 - as above
    save_file({"a": torch.ones(1000)}, tmp_path / "model.safetensors")
    heard: list[Event] = []

    a_set(tmp_path, far=far, heard=heard).tensors()

    (noted,) = [event for event in heard if isinstance(event, Noted)]
    (span,) = [event for event in heard if isinstance(event, SpanRecorded)]
    size = (tmp_path / "model.safetensors").stat().st_size
    assert (noted.step, how in noted.message) == ("load:load", True)
    assert (span.name, span.resource, span.bytes) == ("read:model.safetensors", Resource.DISK, size)


def test_two_files_with_one_tensor_are_refused_with_the_way_to_choose(tmp_path: Path) -> None:
    for name in ("a", "b"):
        save_file({"w": torch.ones(1)}, tmp_path / f"{name}.safetensors")

    with pytest.raises(StorageError, match="two files of 'f5' have a tensor 'w'") as refused:
        a_set(tmp_path).tensors()

    assert "include=" in refused.value.fix


def test_a_set_without_tensors_says_so(tmp_path: Path) -> None:
    (tmp_path / "voice.wav").write_bytes(b"RIFF")

    with pytest.raises(StorageError, match="no file of tensors"):
        a_set(tmp_path).tensors()


def packed(header: object, data: bytes = b"\0" * 8) -> bytes:
    text = json.dumps(header).encode() if not isinstance(header, bytes) else header
    return struct.pack("<Q", len(text)) + text + data


def entry(**fields: object) -> dict[str, object]:
    return {"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8], **fields}}


BAD: dict[str, bytes] = {
    "empty": b"",
    "a length alone": b"\x08\0\0\0\0\0\0\0",
    "a length beyond the file": struct.pack("<Q", 1 << 40) + b"{}",
    "a header that is no JSON": packed(b"{]"),
    "a header that is a list": packed([]),
    "a type that is none": packed(entry(dtype="F31")),
    "a shape of another size": packed(entry(shape=[3])),
    "offsets beyond the file": packed(entry(data_offsets=[0, 16], shape=[4])),
    "offsets backwards": packed(entry(data_offsets=[8, 0])),
    "no offsets": packed({"w": {"dtype": "F32", "shape": [2]}}),
    "a tensor that is a number": packed({"w": 3}),
    "a pickle under another name": pickle.dumps({"w": 1}),
}


@pytest.mark.parametrize("far", [False, True], ids=["mapped", "in bulk"])
@pytest.mark.parametrize("bad", BAD)
def test_a_file_that_is_not_sound_is_refused(bad: str, far: bool, tmp_path: Path) -> None:  # noqa: FBT001 - as above
    (tmp_path / "model.safetensors").write_bytes(BAD[bad])

    with pytest.raises(StorageError, match="no sound safetensors file"):
        a_set(tmp_path, far=far).tensors()


class Canary:
    """What a pickle may do when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return Path.write_text, (self.path, "sung")


def pinned(file: Path) -> str:
    return f"{file.name}@{blobs.digest_of_file(file, threading.Event())}"


def test_a_pickle_is_refused_with_the_words_that_would_allow_it(tmp_path: Path) -> None:
    torch.save({"w": torch.ones(2)}, tmp_path / "pytorch_model.bin")

    with pytest.raises(StorageError, match="is a pickle, which runs code") as refused:
        a_set(tmp_path).tensors()

    assert f"allow_pickle=[{pinned(tmp_path / 'pytorch_model.bin')!r}]" in refused.value.fix


def test_a_pickle_that_is_named_with_its_digest_comes_with_a_warning_that_names_its_twin(
    tmp_path: Path,
) -> None:
    torch.save({"w": torch.ones(2)}, tmp_path / "pytorch_model.bin")
    weight = a_set(tmp_path, allow_pickle=(pinned(tmp_path / "pytorch_model.bin"),))

    with pytest.warns(
        UserWarning, match=r"pytorch_model.bin is a pickle.*model\.safetensors would run no code"
    ):
        found = weight.tensors()

    assert torch.equal(found["w"], torch.ones(2))


def test_a_pickle_with_another_digest_than_was_allowed_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "model.pt"
    torch.save({"w": torch.ones(2)}, file)
    weight = a_set(tmp_path, allow_pickle=(pinned(file),))
    torch.save({"w": torch.zeros(2)}, file)

    with pytest.raises(StorageError, match="is a pickle"):
        weight.tensors()


def test_not_even_an_allowed_pickle_runs_code(tmp_path: Path) -> None:
    file, canary = tmp_path / "model.pt", tmp_path / "canary"
    torch.save({"w": Canary(canary)}, file)

    with pytest.warns(UserWarning, match="pickle"), pytest.raises(StorageError, match="more than tensors"):
        a_set(file, allow_pickle=(pinned(file),)).tensors()

    assert not canary.exists()


def test_a_pickle_of_something_else_is_refused_with_what_to_do(tmp_path: Path) -> None:
    file = tmp_path / "model.pt"
    torch.save({"state": {"w": torch.ones(1)}, "step": 3}, file)

    with pytest.warns(UserWarning, match="pickle"), pytest.raises(StorageError, match="more than tensors"):
        a_set(file, allow_pickle=(pinned(file),)).tensors()


# ---- models without their numbers


class Model(torch.nn.Module):  # type: ignore[misc, name-defined] # torch is not followed
    """Tied parameters, a buffer in the file, and one that is computed and in none."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = torch.nn.Embedding(10, 4)
        self.norm = torch.nn.BatchNorm1d(4)
        self.head = torch.nn.Linear(4, 10, bias=False)
        self.head.weight = self.embed.weight
        self.register_buffer("angles", torch.arange(3.0), persistent=False)


def saved(path: Path, *, drop: tuple[str, ...] = (), **more: Any) -> Model:  # noqa: ANN401 - tensors
    model = Model()
    state = {key: value.clone() for key, value in model.state_dict().items() if key != "head.weight"}
    state = {key: value for key, value in state.items() if key not in drop} | more
    save_file(state, path / "model.safetensors")
    return model


def test_a_model_is_filled_without_a_random_number_drawn(tmp_path: Path) -> None:
    was = saved(tmp_path)
    torch.manual_seed(1)
    before = torch.random.get_rng_state()

    model = a_set(tmp_path).load_into(Model)

    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(value, was.state_dict()[key]) for key, value in model.state_dict().items())
    assert model.head.weight is model.embed.weight
    assert torch.equal(model.angles, torch.arange(3.0))
    assert not any(value.is_meta for value in (*model.parameters(), *model.buffers()))


@pytest.mark.parametrize(
    ("drop", "more", "said"),
    [
        (("norm.weight",), {}, r"1 missing \(norm\.weight\)"),
        ((), {"other": torch.ones(1)}, r"1 unexpected \(other\)"),
        (("embed.weight",), {}, r"1 missing \(embed\.weight\)"),
    ],
)
def test_a_model_that_does_not_fit_is_refused_with_names(
    drop: tuple[str, ...], more: dict[str, Any], said: str, tmp_path: Path
) -> None:
    saved(tmp_path, drop=drop, **more)

    with pytest.raises(StorageError, match=said):
        a_set(tmp_path).load_into(Model)


def test_a_tensor_too_many_may_be_left_out(tmp_path: Path) -> None:
    saved(tmp_path, other=torch.ones(1))

    assert a_set(tmp_path).load_into(Model, strict=False).angles.shape == (3,)


def test_a_shape_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    saved(tmp_path, drop=("norm.weight",), **{"norm.weight": torch.ones(5)})

    with pytest.raises(StorageError, match=r"norm\.weight"):
        a_set(tmp_path).load_into(Model)


def test_models_made_on_other_threads_meanwhile_are_real(tmp_path: Path) -> None:
    saved(tmp_path)
    others: list[Model] = []

    def make() -> Model:
        beside = threading.Thread(target=lambda: others.append(Model()))
        beside.start()
        beside.join()
        return Model()

    a_set(tmp_path).load_into(make)

    assert not any(value.is_meta for value in others[0].parameters())
    assert not any(value.is_meta for value in Model().parameters())


def test_a_failure_while_making_leaves_no_trace_on_the_next_model(tmp_path: Path) -> None:
    saved(tmp_path)

    def fail() -> Model:
        raise RuntimeError("no model")

    with pytest.raises(RuntimeError, match="no model"):
        a_set(tmp_path).load_into(fail)

    assert not any(value.is_meta for value in Model().parameters())


def test_without_a_hook_tensors_can_be_read_all_the_same(tmp_path: Path) -> None:
    save_file({"a": torch.ones(1)}, tmp_path / "model.safetensors")

    assert set(replace(a_set(tmp_path), loading=None).tensors()) == {"a"}
