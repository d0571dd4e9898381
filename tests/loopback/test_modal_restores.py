"""One snapshot, restored again and again: every restore is a fork of the process that it is taken of."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.commands import a_project, coldstart, environment

HEAD = """
import os, random
from pathlib import Path
from coldstart_sdk import endpoint, hook, warm_model
SAID = Path(os.environ["SAID"])

def say(word):
    with SAID.open("a") as file:
        file.write(word + " ")
"""
VOICE = """
@warm_model(name="voice", snapshot="cpu")
class Voice:
    @hook.load
    def load(self, device):
        say("load")
    @hook.restored
    def restored(self, device):
        say("restored")
    @endpoint
    def speak(self, text: str) -> str:
        return text
"""
BREAKS_ONCE = """say("restored")
        if SAID.read_text().count("restored") == 1:
            raise OSError("it is no good")"""
TWICE = """
import os, random, sys
from contextlib import suppress
from pathlib import Path
from coldstart_sdk.backends.modal.worker import Worker

worker = Worker(Path.cwd())
worker.before_snapshot()
for number in range(2):
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        with suppress(RuntimeError):
            worker.life.lanes.close()
        with open(os.environ["SAID"], "a") as file:
            file.write("| ")
        worker.after_snapshot()
        print("=", random.random(), worker.life.status.state.value, flush=True)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
"""


@dataclass(frozen=True, kw_only=True)
class Restored:
    said: list[list[str]]
    """What hooks said before the snapshot, and after each restore."""
    states: list[str]
    draws: set[str]
    notes: list[str]


def restored_twice(folder: Path, body: str = VOICE) -> Restored:
    path = a_project(folder, body, head=HEAD)
    said = folder / "said"
    env = {"SAID": str(said), "COLDSTART_HOME": str(folder / "home")}
    assert coldstart("build", str(path), "--target", "modal", env=env).code == 0
    ended = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", TWICE],
        cwd=folder / "build/modal",
        env=environment(env),
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    lines = ended.stdout.splitlines()
    told = [line.split() for line in lines if line.startswith("= ")]
    events = [json.loads(line[10:]) for line in lines if line.startswith("coldstart {")]
    return Restored(
        said=[part.split() for part in said.read_text().split("|")],
        states=[state for _, _, state in told],
        draws={draw for _, draw, _ in told},
        notes=[event["message"] for event in events if event["is"] == "Noted"],
    )


def test_every_restore_runs_what_comes_after_the_cut_and_draws_its_own_numbers(tmp_path: Path) -> None:
    restored = restored_twice(tmp_path)

    assert restored.said == [["load"], ["restored"], ["restored"]]
    assert restored.states == ["ready", "ready"]
    assert len(restored.draws) == 2
    assert restored.notes == []


def test_a_snapshot_that_was_no_good_once_is_not_tried_again(tmp_path: Path) -> None:
    restored = restored_twice(tmp_path, VOICE.replace('say("restored")', BREAKS_ONCE))

    assert restored.said == [["load"], ["restored", "load", "restored"], ["load", "restored"]]
    assert restored.states == ["ready", "ready"]
    first, second = restored.notes
    assert "it is no good; everything is loaded afresh" in first
    assert "this snapshot was no good before; everything is loaded afresh" in second
