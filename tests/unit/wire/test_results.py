"""Results become JSON values; what cannot is named, with what to return instead."""

from __future__ import annotations

import collections
import dataclasses
import datetime as dt
import decimal
import enum
import json
import math
import uuid
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from coldstart_sdk.media import Audio, File, Image, Media, forms
from coldstart_sdk.wire.errors import ResultError
from coldstart_sdk.wire.results import answer, encode

PNG = Image.from_bytes(b"\x89PNG\r\n\x1a\n", name="a.png")


class Colour(enum.Enum):
    RED = "red"


class Point(NamedTuple):
    x: int
    y: float


@dataclasses.dataclass
class Clip:
    seconds: float
    picture: Image


@pytest.mark.parametrize(
    ("value", "wire"),
    [
        (None, None),
        (True, True),
        (3, 3),
        (1.5, 1.5),
        ("päß", "päß"),
        ([1, (2, [3])], [1, [2, [3]]]),
        ({"a": {"b": None}}, {"a": {"b": None}}),
        ({1: "a", Colour.RED: 2}, {"1": "a", "red": 2}),
        (Colour.RED, "red"),
        (Point(1, 2.0), [1, 2.0]),
        (collections.OrderedDict(a=1), {"a": 1}),
        (PNG, forms.write(PNG)),
        ([PNG], [forms.write(PNG)]),
        (Clip(1.0, PNG), {"seconds": 1.0, "picture": forms.write(PNG)}),
        (dt.date(2026, 1, 2), "2026-01-02"),
        (decimal.Decimal("1.50"), "1.50"),
        (uuid.UUID(int=1), str(uuid.UUID(int=1))),
        ({7}, [7]),
    ],
)
def test_what_json_can_hold_is_held(value: object, wire: object) -> None:
    encoded = encode(value)

    assert encoded == wire
    assert json.loads(json.dumps(encoded, allow_nan=False)) == wire


def test_numbers_of_numpy_and_torch_are_numbers() -> None:
    numpy, torch = pytest.importorskip("numpy"), pytest.importorskip("torch")
    value = [
        numpy.float32(0.5),
        numpy.int64(3),
        numpy.bool_(1),
        numpy.array(2),
        torch.tensor(4),
        numpy.str_("a"),
    ]

    assert encode(value) == [0.5, 3, True, 2, 4, "a"]
    assert json.dumps(encode(value)) == '[0.5, 3, true, 2, 4, "a"]'


def test_a_model_is_written_by_its_own_rules() -> None:
    from pydantic import BaseModel, Field, field_serializer

    class Page(BaseModel):
        picture: Image
        seconds: float = Field(alias="duration")
        when: dt.date

        @field_serializer("seconds")
        def rounded(self, seconds: float) -> float:
            return round(seconds)

    page = Page(picture=PNG, duration=1.2, when=dt.date(2026, 1, 2))

    assert encode({"page": page}) == {
        "page": {"picture": forms.write(PNG), "duration": 1, "when": "2026-01-02"}
    }


async def _a_coroutine() -> None:
    """Never awaited: that is the mistake."""


async def _an_async_generator() -> AsyncIterator[int]:
    yield 1


def _an_array() -> object:
    return pytest.importorskip("numpy").zeros((2, 3))


def _a_tensor() -> object:
    return pytest.importorskip("torch").zeros(3)


def _a_picture() -> object:
    return pytest.importorskip("PIL.Image").new("RGB", (1, 1))


def _a_circle() -> object:
    circle: list[object] = []
    circle.append(circle)
    return circle


def _a_deep_list() -> object:
    deep: list[object] = []
    for _ in range(100_000):
        deep = [deep]
    return deep


@pytest.mark.parametrize(
    ("made", "said", "mend"),
    [
        (lambda: b"RIFF", "bytes cannot be sent", "Audio.from_bytes"),
        (lambda: {"a": [bytearray()]}, r"bytearray at a\[0\] cannot", "Audio.from_bytes"),
        (lambda: memoryview(b""), "memoryview of shape .* cannot", "Audio.from_bytes"),
        (_an_array, r"numpy.ndarray of shape \(2, 3\) cannot", "Audio.from_samples"),
        (_a_tensor, r"torch.Tensor of shape \(3,\) cannot", "Audio.from_samples"),
        (_a_picture, "PIL.Image.Image cannot", "Image.from_pil"),
        (lambda: Path("/x"), "PosixPath cannot", "File.from_path"),
        (lambda: (i for i in [1]), "generator cannot", "Yield from it"),
        (lambda: iter([1]), "list_iterator cannot", "Yield from it"),
        (_an_async_generator, "async_generator cannot", "Yield from it"),
        (lambda: math.nan, "holds nan, which", "None"),
        (lambda: {"a": [1.0, -math.inf]}, r"holds -inf at a\[1\]", "None"),
        (lambda: ValueError, "the class ValueError cannot", "Raise it"),
        (lambda: ValueError("secret"), "^ValueError cannot", "Raise it"),
        (lambda: Clip, "the class .*Clip cannot", "Raise it"),
        (object, "object cannot", "dataclass"),
        (lambda: print, "builtin_function_or_method cannot", "dataclass"),
        (lambda: {(1, 2): 3}, "a key is tuple", "str keys"),
        (lambda: {"a": {None: 3}}, "a key at a is NoneType", "str keys"),
        (lambda: "\ud800", "half a character", "errors="),
        (_a_circle, "nested too deeply", "plain lists"),
        (_a_deep_list, "nested too deeply", "plain lists"),
    ],
)
def test_what_json_cannot_hold_is_named_with_its_mend(
    made: Callable[[], object], said: str, mend: str
) -> None:
    with pytest.raises(ResultError, match=said) as caught:
        encode(made())

    assert mend in caught.value.fix
    assert "secret" not in caught.value.message


@pytest.mark.parametrize("given", [lambda sound: sound, lambda sound: {"parts": [sound]}])
def test_sound_of_no_bytes_is_no_result(given: Callable[[Audio], object]) -> None:
    with pytest.raises(ResultError, match="is empty: audio/wav without a byte") as caught:
        answer(given(Audio.from_bytes(b"", "audio/wav")))

    assert "Audio.from_bytes" in caught.value.fix
    assert answer(File.from_bytes(b"", "text/plain")).media is not None


def test_a_coroutine_is_named_with_its_mend() -> None:
    forgotten = _a_coroutine()
    try:
        with pytest.raises(ResultError, match=r"coroutine at .* cannot") as caught:
            encode([forgotten])
    finally:
        forgotten.close()

    assert "Await it" in caught.value.fix


def test_a_model_that_json_cannot_hold_is_named() -> None:
    from pydantic import BaseModel

    class Raw(BaseModel):
        content: bytes

    class Odd(BaseModel):
        number: float

    with pytest.raises(ResultError, match="Raw at raw"):
        encode({"raw": Raw(content=b"\xff")})
    with pytest.raises(ResultError, match="nan at number"):
        encode(Odd(number=math.nan))


def test_one_media_value_can_also_go_as_raw_bytes() -> None:
    assert answer(PNG).media is PNG
    assert answer(PNG).value == forms.write(PNG)
    assert answer([PNG]).media is None
    assert answer(None).value is None


def test_media_that_are_spilled_travel_as_urls_wherever_they_stand() -> None:
    from pydantic import BaseModel

    class Page(BaseModel):
        picture: Image

    def spill(media: Media) -> str | None:
        return f"https://store/{media.name}" if isinstance(media, Image) else None

    url = {"url": "https://store/a.png", "type": "image/png"}
    sound = Audio.silence("1ms")
    value: dict[str, Any] = {"page": Page(picture=PNG), "list": [PNG], "sound": sound}

    assert answer(PNG, spill=spill).value == url
    assert answer(value, spill=spill).value == {
        "page": {"picture": url},
        "list": [url],
        "sound": forms.write(sound),
    }
