"""`coldstart rehearse --target modal`, as a user types it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from coldstart_sdk.rehearsal.hub import Hub
from tests.commands import a_project, coldstart

pytest.importorskip("modal")

VOICE = """
@warm_model(name="voice", secrets=["VOICE_TOKEN"])
class Voice:
    @hook.load
    def load(self):
        self.greeting = "hello"

    @endpoint(default=True)
    def speak(self, text: str) -> str:
        return f"{self.greeting} {text}"

    @endpoint
    def count(self, upto: int):
        yield from range(upto)
"""
WEIGHED = """
@warm_model(name="voice", weights={"w": Weights.hf("org/w")}, secrets=["HF_ENDPOINT"])
class Voice:
    @hook.load
    def load(self, weights):
        self.size = (weights["w"].path / "model.bin").stat().st_size

    @endpoint
    def speak(self) -> int: return self.size
"""
TOKEN = {"VOICE_TOKEN": "swordfish-0123456789"}


def test_a_rehearsal_answers_restores_and_leaves_both_traces(tmp_path: Path) -> None:
    path = a_project(tmp_path, VOICE)

    said = coldstart(
        "rehearse", str(path), "--target", "modal", "--json", "--set", 'input={"text": "you"}', env=TOKEN
    )

    assert said.code == 0, said.err
    assert said.data["result"] == "hello you"
    assert said.data["restores"] == "2 of 2 forks of the snapshot became ready"
    assert "before the snapshot" in said.err
    assert "after the restore" in said.err
    left = tmp_path / "build/modal/rehearsal"
    assert json.loads((left / "after.trace.json").read_text())["state"] == "stopped"
    image = (left / "image.txt").read_text()
    assert "coldstart-sdk==" in image
    assert "--compile-bytecode" in image
    assert TOKEN["VOICE_TOKEN"] not in said.out + said.err + (left / "log.txt").read_text()


def test_a_stream_is_rehearsed_by_name(tmp_path: Path) -> None:
    path = a_project(tmp_path, VOICE)

    said = coldstart(
        *("rehearse", str(path), "--target", "modal", "--json", "--snapshot", "none"),
        *("--set", "endpoint=count", "--set", 'input={"upto": 3}'),
        env=TOKEN,
    )

    assert said.code == 0, said.err
    assert said.data["result"] == [0, 1, 2]
    assert "on each cold start" in said.err


def test_a_secret_that_is_not_set_is_named_with_its_mend(tmp_path: Path) -> None:
    said = coldstart("rehearse", str(a_project(tmp_path, VOICE)), "--target", "modal")

    assert said.code == 8
    assert said.problems[0]["error"] == "the class asks for VOICE_TOKEN, which is not set here"
    assert "modal secret create VOICE_TOKEN VOICE_TOKEN=VALUE" in said.problems[0]["fix"]


def test_a_start_that_fails_is_told_with_its_line_and_mend(tmp_path: Path) -> None:
    body = VOICE.replace('self.greeting = "hello"', 'raise OSError("torn file")')
    said = coldstart("rehearse", str(a_project(tmp_path, body)), "--target", "modal", env=TOKEN)

    assert said.code == 6
    assert said.problems[0]["error"] == "load:load raised OSError: torn file"
    assert "in load" in said.problems[0]["at"]
    assert 'raise OSError("torn file")' in said.err, "the traceback that the mend speaks of"
    assert "OSError: torn file" in (tmp_path / "build/modal/rehearsal/log.txt").read_text()


def test_a_hub_that_is_not_ours_is_asked_over_a_link_of_a_chosen_speed(tmp_path: Path) -> None:
    (tmp_path / "hub/org/w").mkdir(parents=True)
    (tmp_path / "hub/org/w/model.bin").write_bytes(bytes(2_000_000))
    path = a_project(tmp_path / "project", WEIGHED)

    with Hub(tmp_path / "hub") as hub:
        asked = ("--target", "modal", "--json", "--snapshot", "none", "--net", "40Mbit")
        said = coldstart("rehearse", str(path), *asked, env={"HF_ENDPOINT": hub.endpoint})

    assert said.code == 0, said.err
    assert said.data["result"] == 2_000_000
    assert said.data["over_net_bytes"].keys() == {"127.0.0.1", "127.0.0.2"}  # the hub, and its CDN
    assert sum(said.data["over_net_bytes"].values()) > 2_000_000
    trace = json.loads(Path(said.data["trace"]).read_text())
    fetch = next(span for span in trace["spans"] if span["name"] == "fetch:w")
    assert fetch["end_s"] - fetch["start_s"] > 0.8 * 2_000_000 / 5e6


def test_of_what_an_image_would_bake_it_is_said_that_the_start_fetched_it(tmp_path: Path) -> None:
    (tmp_path / "hub/org/w").mkdir(parents=True)
    (tmp_path / "hub/org/w/model.bin").write_bytes(bytes(2_000))
    baked = WEIGHED.replace('secrets=["HF_ENDPOINT"]', 'place="image"')
    path = a_project(tmp_path / "project", baked)

    said = coldstart("rehearse", str(path), "--target", "modal", "--json", "--hub", str(tmp_path / "hub"))

    assert said.code == 0, said.err
    assert said.data["result"] == 2_000
    assert [note for note in said.data["notes"] if "no image is built in a rehearsal" in note]


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("inptu={}", "no option 'inptu'"),
        ("input=[1]", "not a JSON object"),
        ("endpoint=spaek", "no endpoint is called"),
        ("restores=many", "no number"),
        ("requests=many", "no number"),
        ("state=full", "state=full is not known"),
        ("net=fast", "net=fast is no speed"),
        ("hub=nowhere", "hub=nowhere is no folder"),
    ],
)
def test_an_option_that_is_wrong_is_refused(tmp_path: Path, option: str, message: str) -> None:
    said = coldstart("rehearse", str(a_project(tmp_path, VOICE)), "--target", "modal", "--set", option)

    assert said.code == 2
    assert message in said.problems[0]["error"]
