"""`coldstart rehearse --target modal`, as a user types it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

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


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("inptu={}", "no option 'inptu'"),
        ("input=[1]", "not a JSON object"),
        ("endpoint=spaek", "no endpoint is called"),
        ("restores=many", "no number"),
        ("requests=many", "no number"),
        ("state=full", "state=full is not known"),
        ("net=fast", "net= needs a hub"),
    ],
)
def test_an_option_that_is_wrong_is_refused(tmp_path: Path, option: str, message: str) -> None:
    said = coldstart("rehearse", str(a_project(tmp_path, VOICE)), "--target", "modal", "--set", option)

    assert said.code == 2
    assert message in said.problems[0]["error"]
