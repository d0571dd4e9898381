"""One worker's life: run a plan's stages, say where it is, and find the way back down.

The same lifecycle runs on every target; a platform decides only which stages it runs when. `run` returns
when its stages have ended, on the caller's thread; `start` does that beside the caller, and goes on to the
background.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace

from coldstart_sdk import machine
from coldstart_sdk.errors import LifecycleError, Problem
from coldstart_sdk.events import Anchor, AnchorSet, Noted, Outcome, State, StateChanged, StepEnded, now
from coldstart_sdk.frozen import dataclass
from coldstart_sdk.graph import Conductor, Result, outlives
from coldstart_sdk.lanes import Lanes
from coldstart_sdk.plan import Lane, Plan, Stage, Step, StepKind
from coldstart_sdk.spec import Origin
from coldstart_sdk.steps import Site, Steps
from coldstart_sdk.switches import NO_SWITCHES, Switches, switch

DRAIN_S = 30.0
"""How long an orderly end may take, unless the caller says otherwise."""
YIELD_S = 10.0
"""How long a background step waits for a moment without requests before it starts all the same."""
LINGER_S = 1.0
"""How long a drain waits for code whose caller has been told that it took too long."""
_SHARE_OF_REQUESTS = 0.8
"""How much of a drain's deadline accepted requests may take; the rest is for `close`."""
_GOING_DOWN = {State.DRAINING, State.STOPPED, State.FAILED}


@dataclass(frozen=True, kw_only=True)
class Status:
    """Where the worker is, at one moment."""

    state: State
    problem: Problem | None = None
    degraded: tuple[str, ...] = ()
    """Optional steps that did not end well."""


class Lifecycle:
    """From the first step to the last."""

    def __init__(
        self, plan: Plan, site: Site, *, switches: Switches = NO_SWITCHES, own_loop: bool = True
    ) -> None:
        self.plan, skipped = switch(plan, switches)
        self._caches = _point_caches(self.plan, site)
        self.lanes = Lanes(own_loop=own_loop)
        self.steps = Steps(self.plan, site)
        self._emit = site.emit
        for step in skipped:
            why = f"by {switches.skip_by}"
            self._emit(StepEnded(at_s=now(), step=step.name, outcome=Outcome.SKIPPED, reason=why))
            if step.kind is StepKind.LOAD:
                self._emit(
                    Noted(at_s=now(), step=step.name, message="endpoints will miss what it would have made")
                )
        self._status = Status(state=State.STARTING)
        self._changed = threading.Condition()
        self._watchers: list[Callable[[Status], None]] = []
        self._conductor: Conductor | None = None
        self._living: threading.Thread | None = None
        self._was_ready = False
        self._drains = False
        self._requests = 0
        self._answered = 0
        self._is_idle = threading.Condition()

    @property
    def status(self) -> Status:
        return self._status

    @property
    def requests(self) -> int:
        """How many were accepted and wait for their answer."""
        return self._requests - self._answered

    def start(self) -> None:
        """Start beside the caller: every stage up to READY, then the background."""
        self._living = threading.Thread(target=self._live, name="coldstart-conductor", daemon=True)
        self._living.start()

    def run(self, *stages: Stage) -> None:
        """Run these stages to their end; a required step that fails raises."""
        result = self._conduct(stages)
        if result.failed:
            self._become(State.FAILED, problem=result.failed)
            raise LifecycleError(result.failed.message, fix=result.failed.fix, where=result.failed.where)
        if Stage.AFTER_SNAPSHOT in stages and not result.cancelled:
            self._emit(AnchorSet(at_s=now(), anchor=Anchor.READY))
            self._was_ready = True
            self._become(State.READY)
            self._check_caches()

    def wait(self, timeout_s: float | None = None) -> Status:
        """The status once it is no longer `starting`, or when the time is up."""
        with self._changed:
            self._changed.wait_for(lambda: self._status.state is not State.STARTING, timeout_s)
        return self._status

    def watch(self, changed: Callable[[Status], None]) -> None:
        """Call back with the status that is, and with each new one on the thread that makes it."""
        self._watchers.append(changed)
        changed(self._status)

    def request_begins(self) -> None:
        """From here to `request_ends` no background step starts, and no drain ends."""
        with self._is_idle:
            self._requests += 1

    def request_is_answered(self) -> None:
        """Its caller was told or has left, and its code still runs: a drain gives that a moment only."""
        with self._is_idle:
            self._answered += 1
            self._is_idle.notify_all()

    def request_ends(self, *, was_answered: bool = False) -> None:
        with self._is_idle:
            self._requests -= 1
            self._answered -= was_answered
            self._is_idle.notify_all()

    def drain(self, deadline_s: float = DRAIN_S) -> None:
        """Take no more requests, answer those that were accepted, end the background, run `close`; once."""
        with self._is_idle:
            if self._drains:
                return
            self._drains = True
            self._is_idle.notify_all()
        ends = now() + deadline_s
        self._become(State.DRAINING)
        if not self._wait_idle(deadline_s * _SHARE_OF_REQUESTS):
            self.lanes.abandon(Lane.MODEL)
        if self._conductor:
            self._conductor.cancel()
            self._conductor.ended.wait(max(0.1, ends - now()))
        if self._living and self._was_ready:
            self._living.join(max(0.1, ends - now()))  # the upload may be about to start
        self._close(ends)
        self._become(State.STOPPED)

    def _live(self) -> None:
        with suppress(LifecycleError):  # the status holds it, and tells every watcher
            self.run(Stage.BEFORE_SNAPSHOT, Stage.AFTER_SNAPSHOT)
            if self._was_ready:
                self.run(Stage.BACKGROUND)

    def _check_caches(self) -> None:
        for name in machine.moved_env(self._caches, os.environ):
            said = f"{name} is not what this start set it to; what it names may be fetched or compiled again"
            self._emit(Noted(at_s=now(), message=f"{said}. Set it in env= of warm_model instead"))

    def _conduct(self, stages: tuple[Stage, ...]) -> Result:
        in_background = Stage.BACKGROUND in stages
        steps = self.plan.steps_in(*stages)
        with self._changed:
            if self._status.state in _GOING_DOWN:
                steps = tuple(step for step in steps if in_background and outlives(step))
                if not steps:
                    return Result(failed=None, degraded=(), cancelled=True)
            self._conductor = conductor = self._conductor_of(steps, gently=in_background)
        self.steps.begin(steps)
        result = conductor.run(self._wait_turn if in_background else _at_once)
        if result.degraded:
            self._become(None, degraded=result.degraded)
        return result

    def _conductor_of(self, steps: Sequence[Step], *, gently: bool = False) -> Conductor:
        return Conductor(steps, self.steps, self.lanes, gently=gently)

    def _close(self, ends: float) -> None:
        """The `close` hooks, where there is something to close, within what is left of the deadline."""
        if self.steps.made.instance is None:
            return
        left = max(0.1, ends - now())
        steps = [
            replace(step, required=False, timeout_s=min(left, step.timeout_s or left))
            for step in self.plan.steps_in(Stage.CLOSE)
        ]
        self._conductor_of(steps).run(_at_once)

    def _wait_idle(self, timeout_s: float) -> bool:
        """Whether no request's code runs any more."""
        ends = now() + timeout_s
        with self._is_idle:
            self._is_idle.wait_for(lambda: self.requests == 0, timeout_s)
            left = max(0.0, min(LINGER_S, ends - now()))
            return self._is_idle.wait_for(lambda: self._requests == 0, left)

    def _wait_turn(self) -> None:
        """A background step waits for a moment without requests, but not for ever."""
        with self._is_idle:
            self._is_idle.wait_for(lambda: self._requests == 0 or self._drains, YIELD_S)

    def _become(
        self, state: State | None, *, problem: Problem | None = None, degraded: tuple[str, ...] = ()
    ) -> None:
        """Change the state, or with None only what is known of it; a worker on its way down stays on it."""
        with self._changed:
            was = self._status
            if was.state is State.FAILED or (was.state in _GOING_DOWN and state not in _GOING_DOWN):
                state = None
            if state is None and not degraded:
                return
            self._status = status = Status(
                state=state or was.state,
                problem=problem or was.problem,
                degraded=(*was.degraded, *degraded),
            )
            self._changed.notify_all()
        self._emit(
            StateChanged(
                at_s=now(),
                state=status.state,
                reason=status.problem.message if status.problem else None,
                where=status.problem.where if status.problem else None,
                fix=status.problem.fix if status.problem else None,
                degraded=status.degraded,
            )
        )
        for changed in self._watchers:
            changed(status)


def _point_caches(plan: Plan, site: Site) -> Mapping[str, str]:
    """Decide once where libraries keep their files, before the first of them is imported."""
    pointed = machine.cache_env(
        os.environ,
        site.home,
        has_hub=any(weight.origin is Origin.HF for weight in plan.spec.weights.values()),
        elsewhere=plan.backend != "local",
    )
    ours = {name: path for name, path in pointed.items() if name not in plan.env}
    os.environ.update(ours)
    return ours


def _at_once() -> None:
    """Nothing to wait for before a step."""
