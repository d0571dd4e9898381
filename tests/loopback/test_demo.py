"""The demo as its reader runs it: two real starts over a slow link, and a wav that is no silence."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from coldstart_sdk.events import Outcome, State
from coldstart_sdk.trace.model import Span, Trace

pytest.importorskip("espeakng_loader")

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    folder = tmp_path_factory.mktemp("demo")
    done = subprocess.run(
        [sys.executable, "-m", "examples.demo", "--picture", "picture.svg"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUTF8": "1", "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return Demo(folder, done.stdout, done.stderr)


class Demo:
    """What one run of the demo said, and left behind."""

    def __init__(self, folder: Path, out: str, err: str) -> None:
        self.folder, self.out, self.err = folder, out, err

    def trace(self, name: str) -> Trace:
        return Trace.from_json((self.folder / "build/demo" / f"{name}.json").read_text(encoding="utf-8"))


def test_the_second_start_asks_the_origin_for_nothing(told: Demo) -> None:
    assert ", 0 the second" in told.out
    first, second = (_fetch_of(told.trace(name)) for name in ("first", "second"))
    assert (first.tier, second.tier) == ("origin", "store")
    assert first.bytes == second.bytes


def test_both_starts_answer_with_speech(told: Demo) -> None:
    for name in ("first", "second"):
        assert (told.folder / f"build/demo/{name}.wav").read_bytes().startswith(b"RIFF")
        assert f"build/demo/{name}.wav: " in told.out
        assert [request.outcome for request in told.trace(name).requests] == [Outcome.DONE]


def test_both_waterfalls_are_shown_without_colour(told: Demo) -> None:
    assert told.err.count("READY") == 2
    assert "\x1b" not in told.out + told.err


def test_every_step_of_the_demo_ends_well(told: Demo) -> None:
    for name in ("first", "second"):
        trace = told.trace(name)
        assert trace.state is not State.FAILED
        assert not trace.degraded
        failed = [span.name for span in trace.steps if span.outcome in {Outcome.FAILED, Outcome.TIMED_OUT}]
        assert not failed


def test_the_picture_is_of_the_first_start(told: Demo) -> None:
    assert "fetch:espeak" in (told.folder / "picture.svg").read_text(encoding="utf-8")


def _fetch_of(trace: Trace) -> Span:
    return next(span for span in trace.steps if span.name == "fetch:espeak")
