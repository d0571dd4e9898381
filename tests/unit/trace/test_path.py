"""The critical path follows what really held each step up."""

from __future__ import annotations

import pytest

from coldstart_sdk.events import Event, Outcome
from coldstart_sdk.plan import Lane, Step
from coldstart_sdk.trace.build import build
from coldstart_sdk.trace.model import Trace
from coldstart_sdk.trace.path import critical_path
from tests.unit.trace.starts import a_plan, a_step, began, failed, failed_load, ran, ready, tts


def a_start(steps: tuple[Step, ...], *events: list[Event]) -> Trace:
    return build(
        [event for several in (began(sdk_s=0.5), *events) for event in several],
        a_plan(*steps),
        wall_start=None,
    )


def names(trace: Trace) -> list[str]:
    return [leg.name for leg in critical_path(trace)]


def test_of_two_dependencies_the_later_one_holds() -> None:
    steps = (a_step("fetch:a"), a_step("fetch:b"), a_step("load:load", "fetch:a", "fetch:b"))

    trace = a_start(steps, ran("fetch:a", 1, 3), ran("fetch:b", 1, 5), ran("load:load", 5, 6), ready(6))

    assert names(trace) == ["interpreter", "sdk", "fetch:b", "load:load"]


def test_the_longest_step_is_not_critical_when_nothing_waited_for_it() -> None:
    steps = (a_step("fetch:a"), a_step("load:load"), a_step("fetch:b", required=False))

    trace = a_start(steps, ran("fetch:b", 1, 5.9), ran("fetch:a", 1, 2), ran("load:load", 5.5, 6), ready(6))

    assert "fetch:b" not in names(trace)


def test_a_step_that_waited_for_its_lane_was_held_by_the_step_before_it_there() -> None:
    steps = (a_step("load:a"), a_step("fetch:b"), a_step("load:b", "fetch:b"))

    trace = a_start(steps, ran("load:a", 1, 4), ran("fetch:b", 1, 2), ran("load:b", 4, 6), ready(6))

    assert names(trace) == ["interpreter", "sdk", "load:a", "load:b"]


@pytest.mark.parametrize("lane", [Lane.OWN, Lane.LOOP])
def test_a_lane_that_runs_many_at_once_holds_nobody(lane: Lane) -> None:
    steps = (a_step("load:a", lane=lane), a_step("fetch:b"), a_step("load:b", "fetch:b", lane=lane))

    trace = a_start(steps, ran("load:a", 1, 4), ran("fetch:b", 1, 2), ran("load:b", 4, 6), ready(6))

    assert names(trace) == ["interpreter", "sdk", "fetch:b", "wait", "load:b"]


def test_a_dependency_comes_before_a_lane_that_was_free_at_the_same_moment() -> None:
    steps = (a_step("load:a"), a_step("fetch:b"), a_step("load:b", "fetch:b"))

    trace = a_start(steps, ran("load:a", 1, 4), ran("fetch:b", 1, 4), ran("load:b", 4, 6), ready(6))

    assert names(trace) == ["interpreter", "sdk", "fetch:b", "load:b"]


def test_a_gap_is_a_wait_and_the_legs_add_up_to_ready() -> None:
    steps = (a_step("fetch:a"), a_step("load:load", "fetch:a"))

    trace = a_start(steps, ran("fetch:a", 1, 3), ran("load:load", 4, 6), ready(7))

    legs = critical_path(trace)
    assert [leg.name for leg in legs] == [
        "interpreter",
        "sdk",
        "fetch:a",
        "wait",
        "load:load",
        "wait",
    ]
    assert sum(leg.duration_s for leg in legs) == pytest.approx(7)
    assert [leg.start_s for leg in legs] == pytest.approx([0, *(leg.end_s for leg in legs[:-1])])


def test_what_runs_behind_ready_is_never_critical() -> None:
    steps = (a_step("load:load"), a_step("background:upload"))

    trace = a_start(steps, ran("load:load", 1, 3), ran("background:upload", 1, 3.5), ready(3.5))

    assert "background:upload" not in names(trace)


def test_a_failed_start_has_the_path_to_what_failed_it() -> None:
    assert names(failed_load()) == ["interpreter", "sdk", "fetch:f5", "load:load"]


def test_an_optional_failure_is_not_what_stopped_the_start() -> None:
    steps = (a_step("load:load"), a_step("cuda_init", required=False))

    trace = a_start(
        steps,
        ran("cuda_init", 1, 1.5, Outcome.FAILED, "no device"),
        ran("load:load", 1, 3, Outcome.TIMED_OUT, "too long"),
        failed(3, "load:load took too long"),
    )

    assert names(trace) == ["interpreter", "sdk", "load:load"]


def test_spans_on_the_path_are_marked_and_parts_of_them_are_not() -> None:
    critical = {span.name for span in tts().spans if span.critical}

    assert critical == {"interpreter", "sdk", "fetch:f5", "load:load", "warmup:warm"}
