"""`coldstart check --budget`: a start here, a rehearsed and a traced one, held to what it may cost."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from coldstart_sdk.hold.receipt import Receipt
from tests.commands import VOICE, Said, a_project, coldstart

SPEAKS = ("speak", "-i", "text=hi", "--warm", "2")


def checked(app: Path, *arguments: str) -> Said:
    """Where the traces of other tests are not."""
    return coldstart("check", str(app), *arguments, env={"COLDSTART_HOME": str(app.parent / "home")})


def signed(path: Path) -> Receipt:
    return Receipt.from_json(path.read_text(encoding="utf-8"))


def test_a_start_within_its_budget_is_signed_off(tmp_path: Path) -> None:
    receipt = tmp_path / "receipt.json"

    said = checked(
        a_project(tmp_path), *SPEAKS, "--budget", "ready=100s,first=50x", "--receipt", str(receipt)
    )

    assert said.code == 0, said.err
    assert [line.split()[0] for line in said.out.splitlines()] == ["kept", "kept"]
    assert signed(receipt).kept
    assert signed(receipt).warm_s is not None


def test_a_start_over_its_budget_ends_with_9_and_its_receipt_all_the_same(tmp_path: Path) -> None:
    receipt = tmp_path / "receipt.json"

    said = checked(a_project(tmp_path), *SPEAKS, "--budget", "ready=1ms,bytes=1GB", "--receipt", str(receipt))

    assert said.code == 9
    assert [line.split()[:2] for line in said.out.splitlines()] == [["over", "ready"], ["kept", "bytes"]]
    assert "the budget is 1.0 ms" in said.problems[0]["error"]
    assert not signed(receipt).kept


@pytest.mark.parametrize("target", ["runpod", "modal"])
def test_a_rehearsal_is_held_to_the_same_budget(tmp_path: Path, target: str) -> None:
    pytest.importorskip(target)
    said = checked(
        a_project(tmp_path), *SPEAKS, "--target", target, "--json", "--budget", "ready=1ms,first=50x"
    )

    assert said.code == 9, said.err
    receipt: dict[str, Any] = said.data["receipt"]
    assert receipt["backend"] == target
    assert receipt["warm_s"] > 0
    assert said.data["ok"] is False
    assert len(json.loads(Path(said.data["trace"]).read_text())["requests"]) == 3


def test_a_rehearsal_that_fails_says_so_in_the_workers_words(tmp_path: Path) -> None:
    pytest.importorskip("runpod")
    body = VOICE.replace('self.greeting = "hello"', 'raise OSError("torn file")')

    said = checked(a_project(tmp_path, body), *SPEAKS, "--target", "runpod", "--budget", "ready=100s")

    assert said.code == 6
    assert "torn file" in said.problems[0]["error"]


def test_a_trace_is_held_as_it_is(tmp_path: Path) -> None:
    app, trace = a_project(tmp_path), tmp_path / "start.trace.json"
    started = coldstart("run", str(app), "speak", "-i", "text=hi", "--trace", str(trace))
    assert started.code == 0, started.err

    kept, over = (checked(trace, "--budget", f"ready={limit}") for limit in ("100s", "1ms"))

    assert (kept.code, over.code) == (0, 9)


def test_what_nobody_saw_is_over(tmp_path: Path) -> None:
    said = checked(a_project(tmp_path), "--budget", "ready=100s,warm=100s")

    assert said.code == 9
    assert "warm was not seen" in said.problems[0]["error"]


@pytest.mark.parametrize(
    ("what", "arguments", "message"),
    [
        ("app.py", ["other.py"], "takes one file"),
        ("app.py", ["--receipt", "r.json"], "--receipt is for a start that is held to a budget"),
        ("app.py", ["--budget", "raedy=1s"], "there is no figure 'raedy'; did you mean ready"),
        ("app.py", ["--budget", "ready=1s", "--set", "net=1Gbit"], "--set is for a rehearsal"),
        ("app.py", ["speek", "--budget", "ready=1s"], "has no endpoint 'speek'"),
        ("app.py", ["--budget", "ready=1s", "--receipt", "no/r.json"], "there is no folder"),
        ("start.json", ["--budget", "ready=1s", "-i", "text=hi"], "-i would change a start"),
        ("start.json", ["--budget", "ready=1s"], "cannot be read"),
        ("start.json", [], "there is none"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_starts(
    tmp_path: Path, what: str, arguments: list[str], message: str
) -> None:
    a_project(tmp_path)

    said = coldstart("check", what, *arguments, cwd=tmp_path)

    assert said.code == 2
    assert message in said.problems[0]["error"]
