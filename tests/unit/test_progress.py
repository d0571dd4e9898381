"""How far a start is: only from what was seen."""

from __future__ import annotations

from pathlib import Path

from coldstart_sdk.events import Outcome, State, StateChanged, StepEnded, StepProgress, StepStarted, now
from coldstart_sdk.plan import Stage
from coldstart_sdk.progress import Progress, recall, remember
from tests.builders import LOAD, a_plan, a_weight

PLAN = a_plan(LOAD, weights={"voice": a_weight()})
USUAL = {step.name: 1.0 for step in PLAN.steps_in(Stage.AFTER_SNAPSHOT)}


def test_nothing_is_promised_that_was_not_seen() -> None:
    reading = Progress(PLAN, {}).read()

    assert (reading.percent, reading.eta_s) == (0, None)


def test_the_last_start_says_how_long_this_one_will_take() -> None:
    eta_s = Progress(PLAN, USUAL).read().eta_s

    assert eta_s is not None
    assert eta_s >= 2.0  # the fetch, or the imports, and then the load


def test_bytes_say_more_of_a_fetch_than_its_usual_time() -> None:
    progress = Progress(PLAN, {**USUAL, "fetch:voice": 1000.0})
    progress(StepStarted(at_s=now() - 1.0, step="fetch:voice"))
    progress(StepProgress(at_s=now(), step="fetch:voice", done_bytes=50, total_bytes=100))

    eta_s = progress.read().eta_s

    assert eta_s is not None
    assert eta_s < 10.0


def test_steps_that_ended_count_and_running_ones_are_named() -> None:
    progress = Progress(PLAN, USUAL)
    progress(StepStarted(at_s=now(), step="fetch:voice"))
    progress(StepStarted(at_s=now(), step="import:voice"))
    progress(StepEnded(at_s=now(), step="import:voice", outcome=Outcome.DONE))

    reading = progress.read()

    assert 0 < reading.percent < 100
    assert reading.running == ("fetch:voice",)


def test_ready_is_a_hundred_and_nothing_else_is() -> None:
    progress = Progress(PLAN, USUAL)
    for name in USUAL:
        progress(StepStarted(at_s=now(), step=name))
        progress(StepEnded(at_s=now(), step=name, outcome=Outcome.DONE))

    assert progress.read().percent == 99
    progress(StateChanged(at_s=now(), state=State.READY))
    assert progress.read().percent == 100


def test_what_a_start_took_is_there_for_the_next_one(tmp_path: Path) -> None:
    progress = Progress(PLAN, {})
    progress(StepStarted(at_s=10.0, step="load:load"))
    progress(StepEnded(at_s=12.5, step="load:load", outcome=Outcome.DONE))

    remember(tmp_path, "voice", progress.took_s())

    assert recall(tmp_path, "voice") == {"load:load": 2.5}


def test_a_torn_memory_is_no_memory(tmp_path: Path) -> None:
    remember(tmp_path, "voice", {"load:load": 1.0})
    (tmp_path / "traces" / "voice.usual.json").write_text('{"load:l')

    assert recall(tmp_path, "voice") == {}
