"""The `cold_start` fixture in a pytest of its own: real starts, budgets that fail, receipts that are kept."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.commands import a_project

TESTS = """
import pytest


@pytest.mark.cold_start("app.py", budget="ready=100s")
def test_kept(cold_start):
    start = cold_start(requests=2, endpoint="speak", text="hi")
    assert start.answers == ("hello hi", "hello hi")
    assert start.ready_s > 0
    assert start.explain().ready_s == start.ready_s


@pytest.mark.cold_start("app.py:Voice", budget="ready=1ms")
def test_over(cold_start):
    cold_start(requests=0)


@pytest.mark.cold_start("app.py", targets=("local", "runpod"), options={"grace": "20"})
def test_elsewhere(cold_start, coldstart_target):
    start = cold_start(requests=2, endpoint="speak", text="hi")
    assert start.answers == ("hello hi", "hello hi")
    assert start.trace.backend == coldstart_target
    assert len(start.trace.requests) == 2


def test_named_in_the_call(cold_start):
    cold_start("app.py", requests=0)


def test_named_nowhere(cold_start):
    cold_start()


@pytest.mark.cold_start("app.py", budget="redy=1s")
def test_misspelled(cold_start):
    raise AssertionError("nothing is started for a budget that says nothing")


@pytest.mark.cold_start("app.py", budget="warm=1s")
def test_unseen(cold_start):
    cold_start(requests=0)


def test_mistaken(cold_start):
    cold_start("app.py", endpoint="speek")
"""


@pytest.fixture
def run(tmp_path: Path) -> tuple[int, str]:
    a_project(tmp_path)
    (tmp_path / "test_voice.py").write_text(TESTS)
    ended = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-p", "coldstart_sdk.pytest_plugin", "-p", "no:cacheprovider"),
            *(
                "--strict-markers",
                "--coldstart-receipts=receipts",
                "-rA",
            ),
        ],
        cwd=tmp_path,
        env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONPATH": str(Path.cwd())},
        capture_output=True,
        text=True,
        check=False,
    )
    return ended.returncode, ended.stdout


def test_budgets_are_judged_targets_are_parameters_and_receipts_are_kept(
    run: tuple[int, str], tmp_path: Path
) -> None:
    code, said = run

    assert code == 1
    assert "test_over[local]" in said
    assert "the budget is 1.0 ms" in said
    assert "READY" in said
    assert "name the declaration" in said
    assert "test_elsewhere[runpod]" in said
    kept = json.loads((tmp_path / "receipts" / "test_kept-local--0.receipt.json").read_text())
    assert kept["verdicts"][0]["limit"]["name"] == "ready"
    assert (tmp_path / "receipts" / "test_kept-local--0.trace.json").exists()
    assert "did you mean ready?\nfix: Write it as ready=15s" in said
    assert "warm was not seen, the budget is 1.00 s: send more with cold_start(requests=10)" in said
    assert "Did you mean 'speak'?" in said
    assert "2 failed, 6 passed, 3 errors" in said
