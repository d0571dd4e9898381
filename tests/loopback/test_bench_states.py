"""`coldstart bench` from each declared state, here and under each platform's own worker."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from coldstart_sdk.rehearsal.origin import Origin
from tests.commands import Said, a_project, coldstart

SIZE_BYTES = 300_000
WEIGHED = """
@warm_model(name="voice", weights={{"w": Weights.url("{url}")}})
class Voice:
    @hook.load
    def load(self, weights):
        self.size = weights["w"].path.stat().st_size
    @hook.restored
    def restored(self): pass
    @hook.warmup
    def warm(self): self.speak()
    @endpoint
    def speak(self) -> int: return self.size
"""


class Place:
    """A project whose weights lie at an origin that counts what it is asked."""

    def __init__(self, folder: Path, origin: Origin) -> None:
        self.folder = folder
        self.origin = origin
        self.app = a_project(folder / "project", WEIGHED.format(url=origin.url("model.bin")))

    def bench(self, *arguments: str) -> Said:
        return coldstart(
            *("bench", str(self.app), "--cold", "1", "--warm", "2", "--json", *arguments),
            cwd=self.folder,
            env={"COLDSTART_HOME": str(self.folder / "home")},
        )

    @property
    def files_sent(self) -> float:
        """How often the whole of the weights went out; a question is a few bytes."""
        return round(sum(request.sent_bytes for request in self.origin.requests) / SIZE_BYTES, 1)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    (tmp_path / "files").mkdir()
    (tmp_path / "files/model.bin").write_bytes(bytes(SIZE_BYTES))
    with Origin(tmp_path / "files") as origin:
        yield Place(tmp_path, origin)


def lines(said: Said) -> dict[str, Any]:
    assert said.code == 0, said.err + said.out
    return {line["state"]: line for line in said.data["lines"]}


def test_the_same_machine_has_what_a_start_before_kept(place: Place) -> None:
    found = lines(place.bench("--state", "same"))

    assert place.files_sent == 1
    assert len(found["same"]["warm_s"]["points"]) == 2


def test_a_second_machine_takes_the_weights_from_the_store(place: Place) -> None:
    found = lines(place.bench("--state", "second", "--store", f"file://{place.folder}/store"))

    assert place.files_sent == 1
    assert len(found["second"]["ready_s"]["points"]) == 1


@pytest.mark.parametrize("state", ["empty", "same", "second"])
def test_runpods_worker_is_measured_from_each_state(place: Place, state: str) -> None:
    pytest.importorskip("runpod")
    store = ("--store", f"file://{place.folder}/store") if state == "second" else ()

    said = place.bench("--target", "runpod", "--state", state, *store)

    assert set(lines(said)) == {state}
    assert said.data["target"] == "runpod"
    assert place.files_sent == 1


def test_modals_container_is_measured_empty_and_restored(place: Place) -> None:
    pytest.importorskip("modal")
    found = lines(place.bench("--target", "modal", "--state", "empty", "--state", "restore"))

    assert found["restore"]["ready_s"]["median"] < found["empty"]["ready_s"]["median"]
    assert found["empty"]["penalty"]["points"]


def test_a_step_is_left_out_elsewhere_too(place: Place) -> None:
    pytest.importorskip("runpod")
    said = place.bench("--target", "runpod", "--without", "warmup")

    assert said.code == 0, said.err + said.out
    assert [line["variant"] for line in said.data["lines"]] == ["as declared", "without warmup"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--state", "second"), 2, "a second boot elsewhere needs a store"),
        (("--state", "restore"), 2, "there is no snapshot to restore from"),
        (("--target", "runpod", "--state", "restore"), 2, "there is no snapshot to restore from"),
        (("--set", "net=1Gbit"), 2, "--set is for a rehearsal"),
        (("--without", "decoding"), 2, "decoding"),
        (("--target", "runpod", "--set", "speed=1"), 2, "no option 'speed'"),
        (("--target", "harbor"), 7, "harbor"),
        (("--snapshot", "cpu"), 3, "here are no memory snapshots"),
    ],
)
def test_what_cannot_be_measured_is_told_before_a_start(
    place: Place, arguments: tuple[str, ...], code: int, message: str
) -> None:
    said = place.bench(*arguments)

    assert said.code == code
    assert message in said.data["error"]["message"]
