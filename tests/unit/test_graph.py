"""The conductor: what starts when, what a failure stops, what a deadline ends."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from coldstart_sdk.errors import BundleError
from coldstart_sdk.events import Event, Outcome, StepEnded, StepStarted
from coldstart_sdk.graph import Conductor, Result
from coldstart_sdk.lanes import Lanes
from coldstart_sdk.plan import Lane, Plan, Stage, Step, StepKind, Work
from coldstart_sdk.steps import Site, SkippedError, Steps
from tests.builders import a_plan

Script = Mapping[str, Callable[[], object]]


class Scripted(Steps):
    """The real steps, but for the work: each one runs what the test wrote for it."""

    def __init__(self, plan: Plan, site: Site, script: Script) -> None:
        super().__init__(plan, site)
        self._script = script

    def do(self, step: Step) -> object:
        return self._script.get(step.name, lambda: None)()


class Run:
    """A graph under test, and what was told of it."""

    def __init__(self, tmp_path: Path, steps: list[Step], script: Script, *, gently: bool = False) -> None:
        self.events: list[Event] = []
        site = Site(project=tmp_path, home=tmp_path, emit=self.events.append)
        self.lanes = Lanes()
        self.conductor = Conductor(steps, Scripted(a_plan(), site, script), self.lanes, gently=gently)

    def __call__(self) -> Result:
        return self.conductor.run(lambda: None)

    @property
    def outcomes(self) -> dict[str, Outcome]:
        return {event.step: event.outcome for event in self.events if isinstance(event, StepEnded)}

    @property
    def started(self) -> list[str]:
        return [event.step for event in self.events if isinstance(event, StepStarted)]


def a_step(
    name: str, *after: str, required: bool = True, timeout_s: float | None = None, lane: Lane = Lane.OWN
) -> Step:
    return Step(
        name=name,
        kind=StepKind.LOAD,
        work=Work.HOOK,
        target=name,
        stage=Stage.AFTER_SNAPSHOT,
        lane=lane,
        after=after,
        required=required,
        timeout_s=timeout_s,
    )


def never() -> None:
    threading.Event().wait()


def fail() -> None:
    raise ValueError("bad weights")


def test_a_step_starts_only_when_those_before_it_have_ended(tmp_path: Path) -> None:
    order: list[str] = []
    script = {name: lambda name=name: order.append(name) for name in "abc"}
    run = Run(tmp_path, [a_step("c", "b"), a_step("b", "a"), a_step("a")], script)

    result = run()

    assert order == ["a", "b", "c"]
    assert result == Result(failed=None, degraded=())


def test_steps_without_an_order_run_side_by_side(tmp_path: Path) -> None:
    meet = threading.Barrier(3)
    run = Run(tmp_path, [a_step(name) for name in "abc"], dict.fromkeys("abc", lambda: meet.wait(30)))

    assert run().failed is None


def test_a_step_that_is_not_in_this_run_counts_as_ended(tmp_path: Path) -> None:
    assert Run(tmp_path, [a_step("a", "of_an_earlier_stage")], {})().failed is None


def test_a_required_failure_cancels_what_no_longer_matters(tmp_path: Path) -> None:
    run = Run(tmp_path, [a_step("a"), a_step("b", "a"), a_step("c")], {"a": fail, "c": never})

    result = run()

    assert result.failed is not None
    assert result.failed.message == "a raised ValueError: bad weights"
    assert run.outcomes == {"a": Outcome.FAILED, "b": Outcome.CANCELLED, "c": Outcome.CANCELLED}
    assert run.started.count("b") == 0


def test_an_optional_failure_degrades_and_goes_on(tmp_path: Path) -> None:
    run = Run(tmp_path, [a_step("a", required=False), a_step("b", "a")], {"a": fail})

    assert run() == Result(failed=None, degraded=("a",))
    assert run.outcomes == {"a": Outcome.FAILED, "b": Outcome.DONE}


@pytest.mark.parametrize("lane", [Lane.OWN, Lane.MODEL])
def test_a_step_that_hangs_is_given_up_at_its_deadline(tmp_path: Path, lane: Lane) -> None:
    run = Run(tmp_path, [a_step("a", timeout_s=0.05, lane=lane), a_step("b", "a", lane=lane)], {"a": never})

    result = run()

    assert result.failed is not None
    assert result.failed.message == "a did not end within 0.05 s"
    assert run.outcomes == {"a": Outcome.TIMED_OUT, "b": Outcome.CANCELLED}


def test_an_optional_hang_leaves_its_lane_to_the_next_step(tmp_path: Path) -> None:
    steps = [a_step("a", required=False, timeout_s=0.05, lane=Lane.MODEL), a_step("b", "a", lane=Lane.MODEL)]
    run = Run(tmp_path, steps, {"a": never})

    assert run().degraded == ("a",)
    assert run.outcomes["b"] is Outcome.DONE


def test_sys_exit_in_a_step_is_a_failure_and_not_an_end(tmp_path: Path) -> None:
    run = Run(tmp_path, [a_step("a")], {"a": lambda: sys.exit(3)})

    result = run()

    assert result.failed is not None
    assert result.failed.message == "a called sys.exit(3)"


def test_a_step_with_nothing_to_do_is_skipped_with_its_reason(tmp_path: Path) -> None:
    def skip() -> None:
        raise SkippedError("no GPU here")

    run = Run(tmp_path, [a_step("a"), a_step("b", "a")], {"a": skip})

    assert run() == Result(failed=None, degraded=())
    assert run.outcomes == {"a": Outcome.SKIPPED, "b": Outcome.DONE}


def test_an_async_step_runs_on_the_loop_and_is_cancelled_at_its_deadline(tmp_path: Path) -> None:
    import asyncio

    cancelled = threading.Event()

    async def hang() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    run = Run(tmp_path, [a_step("a", lane=Lane.LOOP, timeout_s=0.05, required=False)], {"a": hang})

    assert run().degraded == ("a",)
    assert cancelled.wait(30)


def test_gentle_steps_run_one_at_a_time(tmp_path: Path) -> None:
    running: list[str] = []
    together: list[int] = []

    def work(name: str) -> None:
        running.append(name)
        together.append(len(running))
        running.remove(name)

    script = {name: lambda name=name: work(name) for name in "abc"}
    Run(tmp_path, [a_step(name) for name in "abc"], script, gently=True)()

    assert together == [1, 1, 1]


def test_cancelling_from_outside_ends_the_run(tmp_path: Path) -> None:
    run = Run(tmp_path, [a_step("a"), a_step("b", "a")], {"a": never})
    threading.Timer(0.05, run.conductor.cancel).start()

    assert run().cancelled
    assert run.outcomes == {"a": Outcome.CANCELLED, "b": Outcome.CANCELLED}


@pytest.mark.parametrize("first", ["upload", "hook"])
def test_a_run_that_is_cancelled_still_starts_the_upload(first: str, tmp_path: Path) -> None:
    def cancel() -> None:
        run.conductor.cancel()

    upload = replace(a_step("upload"), work=Work.UPLOAD)
    steps = [upload, a_step("hook")] if first == "upload" else [a_step("hook"), upload]
    run = Run(tmp_path, steps, {"upload": cancel, "hook": never}, gently=True)
    if first == "hook":
        threading.Timer(0.05, cancel).start()

    assert run().cancelled
    assert run.outcomes == {"upload": Outcome.DONE, "hook": Outcome.CANCELLED}


def test_steps_that_wait_for_one_another_are_a_broken_plan(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="wait for one another"):
        Run(tmp_path, [a_step("a", "b"), a_step("b", "a")], {})()
