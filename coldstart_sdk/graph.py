"""Run a graph of steps on lanes: each one starts when those before it have ended.

`Conductor.run` is the only place that starts, times and ends steps, on its caller's thread; lanes do the
work and report to its inbox. It keeps no thread of its own, so a process may be frozen between two runs.
"""

from __future__ import annotations

import functools
import queue
import threading
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any, cast

from coldstart_sdk.errors import BundleError, ColdstartError, Problem
from coldstart_sdk.events import Outcome, StepEnded, StepStarted, now
from coldstart_sdk.frozen import dataclass
from coldstart_sdk.lanes import Lanes, yield_to_others
from coldstart_sdk.plan import Lane, Step, Work
from coldstart_sdk.steps import SkippedError, Steps, from_their_line, problem_of, timed_out

if TYPE_CHECKING:
    from concurrent.futures import Future

NEVER = float("inf")


@dataclass(frozen=True, kw_only=True)
class Result:
    """How a run of the graph ended."""

    failed: Problem | None
    """What stopped it: a required step's problem, or None."""
    degraded: tuple[str, ...]
    """Optional steps that did not end well."""
    cancelled: bool = False


class _Running:
    """A step from its start to its end."""

    def __init__(self, step: Step) -> None:
        self.step = step
        self.deadline = NEVER
        self.thread_id: int | None = None
        self.future: Future[object] | None = None


@dataclass(frozen=True)
class _Begun:
    running: _Running


@dataclass(frozen=True, kw_only=True)
class _Ended:
    running: _Running
    raised: BaseException | None
    cpu_s: float | None


@dataclass(frozen=True)
class _Cancel:
    """Somebody wants the run to end now."""


class Conductor:
    """One run of one graph."""

    def __init__(self, steps: Sequence[Step], work: Steps, lanes: Lanes, *, gently: bool = False) -> None:
        self._waiting = {step.name: step for step in steps}
        self._running: dict[str, _Running] = {}
        self._work = work
        self._lanes = lanes
        self._gently = gently
        self._inbox: queue.SimpleQueue[_Begun | _Ended | _Cancel] = queue.SimpleQueue()
        self._degraded: list[str] = []
        self.ended = threading.Event()

    def run(self, before_each: Callable[[], None]) -> Result:
        """Start what can start, take in what has ended, until nothing is left."""
        try:
            return self._run(before_each)
        finally:
            self.ended.set()

    def cancel(self) -> None:
        """End the run from another thread; what runs is left behind, but for the start of the upload."""
        self._inbox.put(_Cancel())

    def _run(self, before_each: Callable[[], None]) -> Result:
        failed: Problem | None = None
        cancelled = False
        while failed is None and (self._waiting or self._running):
            self._start_what_can(before_each)
            match self._next():
                case _Ended() as ended:
                    failed = self._take_in(ended)
                case _Begun(running):
                    running.deadline = now() + (running.step.timeout_s or NEVER)
                case _Cancel():
                    self._cancel_rest("stopped before it could end", but=outlives)
                    cancelled = True
                case None:
                    failed = self._end_overdue()
        if failed:
            self._cancel_rest("a required step failed")
        return Result(failed=failed, degraded=tuple(self._degraded), cancelled=cancelled)

    def _start_what_can(self, before_each: Callable[[], None]) -> None:
        open_names = self._waiting.keys() | self._running.keys()
        for step in [step for step in self._waiting.values() if open_names.isdisjoint(step.after)]:
            if self._gently and self._running:
                return
            before_each()
            del self._waiting[step.name]
            self._running[step.name] = running = _Running(step)
            if step.lane is Lane.LOOP:
                self._start_on_loop(running)
            else:
                self._lanes.start(step.lane, step.name, functools.partial(self._do, running))

    def _start_on_loop(self, running: _Running) -> None:
        async def hook() -> None:
            self._begin(running)
            started = time.thread_time()
            raised = None
            try:
                await cast("Coroutine[Any, Any, object]", self._work.do(running.step))
            except BaseException as exc:  # noqa: BLE001 - whatever a hook raises is the step's end
                raised = exc
            self._inbox.put(_Ended(running=running, raised=raised, cpu_s=time.thread_time() - started))

        running.future = cast("Future[object]", self._lanes.run_async(hook()))

    def _do(self, running: _Running) -> None:
        if self._gently:
            yield_to_others()
        self._begin(running)
        started = time.thread_time()
        raised = None
        try:
            self._work.do(running.step)
        except BaseException as exc:  # noqa: BLE001 - whatever a hook raises, sys.exit included, is the step's end
            raised = exc
        self._inbox.put(_Ended(running=running, raised=raised, cpu_s=time.thread_time() - started))

    def _begin(self, running: _Running) -> None:
        running.thread_id = threading.get_ident()
        self._work.site.emit(StepStarted(at_s=now(), step=running.step.name))
        self._inbox.put(_Begun(running))

    def _next(self) -> _Begun | _Ended | _Cancel | None:
        """The next report, or None when a step's time is up first."""
        if not self._running:
            waiting = ", ".join(self._waiting)
            raise BundleError(
                f"these steps wait for one another: {waiting}",
                fix="Build the plan again.",
            )
        deadline = min(running.deadline for running in self._running.values())
        try:
            return self._inbox.get(timeout=None if deadline == NEVER else max(0.0, deadline - now()))
        except queue.Empty:
            return None

    def _take_in(self, ended: _Ended) -> Problem | None:
        """Note how a step ended; its problem if that stops the run."""
        step = ended.running.step
        if self._running.get(step.name) is not ended.running:
            return None  # it was given up, and came back late
        match ended.raised:
            case None:
                return self._end(ended.running, Outcome.DONE, cpu_s=ended.cpu_s)
            case SkippedError() as why:
                return self._end(
                    ended.running,
                    Outcome.SKIPPED,
                    Problem(message=str(why), fix=""),
                    cpu_s=ended.cpu_s,
                )
            case raised:
                if not isinstance(raised, ColdstartError):
                    self._work.log().error("%s failed", step.name, exc_info=from_their_line(raised))
                problem = problem_of(raised, step, self._work.site.project)
                return self._end(ended.running, Outcome.FAILED, problem, cpu_s=ended.cpu_s)

    def _end_overdue(self) -> Problem | None:
        """Give up the steps whose time is up; the problem of the first that stops the run."""
        stops = None
        for running in [running for running in self._running.values() if running.deadline <= now()]:
            problem = timed_out(running.step, running.thread_id, self._work.site.project)
            self._leave_behind(running)
            stops = stops or self._end(running, Outcome.TIMED_OUT, problem)
        return stops

    def _end(
        self,
        running: _Running,
        outcome: Outcome,
        problem: Problem | None = None,
        cpu_s: float | None = None,
    ) -> Problem | None:
        step = running.step
        del self._running[step.name]
        self._work.site.emit(_ended_event(step, outcome, problem, cpu_s))
        if outcome in {Outcome.DONE, Outcome.SKIPPED}:
            return None
        if step.required:
            return problem
        self._degraded.append(step.name)
        return None

    def _cancel_rest(self, reason: str, *, but: Callable[[Step], bool] = lambda _: False) -> None:
        """Nothing that is left matters any more: tell what listens, leave behind what does not."""
        self._work.cancelled.set()
        running = [running for running in self._running.values() if not but(running.step)]
        waiting = [step for step in self._waiting.values() if not but(step)]
        for each in running:
            self._leave_behind(each)
            del self._running[each.step.name]
        for step in waiting:
            del self._waiting[step.name]
        for step in (*(each.step for each in running), *waiting):
            self._work.site.emit(_ended_event(step, Outcome.CANCELLED, Problem(message=reason, fix="")))

    def _leave_behind(self, running: _Running) -> None:
        if running.future:
            running.future.cancel()
        elif running.step.lane is not Lane.OWN:
            self._lanes.abandon(running.step.lane)


def outlives(step: Step) -> bool:
    """Whether a worker on its way down still takes this step: it starts a process of its own, in a moment."""
    return step.work is Work.UPLOAD


def _ended_event(
    step: Step, outcome: Outcome, problem: Problem | None, cpu_s: float | None = None
) -> StepEnded:
    return StepEnded(
        at_s=now(),
        step=step.name,
        outcome=outcome,
        reason=problem.message if problem else None,
        where=problem.where if problem else None,
        fix=problem.fix or None if problem else None,
        cpu_s=cpu_s,
    )
