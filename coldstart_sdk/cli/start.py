"""Follow one worker from outside: hear it, end it when we are told to, say why it failed."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from socket import socket
from types import FrameType

from coldstart_sdk.backends.local.messages import Answered, Ask, Chunk, Order, Refused, Report, Waiting
from coldstart_sdk.backends.local.supervise import GRACE_S, Worker, worker_env
from coldstart_sdk.cli import settings
from coldstart_sdk.cli.console import Console
from coldstart_sdk.cli.prepare import Prepared
from coldstart_sdk.errors import ColdstartError, LifecycleError, StorageError
from coldstart_sdk.events import (
    Anchor,
    AnchorSet,
    Event,
    Noted,
    Outcome,
    State,
    StateChanged,
    StepEnded,
    StepStarted,
    now,
)
from coldstart_sdk.plan import Plan, Step, StepKind
from coldstart_sdk.serve.options import Options
from coldstart_sdk.switches import Switches, switch
from coldstart_sdk.trace.build import build
from coldstart_sdk.trace.model import Trace

_MENDS: Mapping[int, str] = {
    signal.SIGKILL: "The system does this when memory runs out: see `coldstart doctor`, and load less.",
    signal.SIGSEGV: "A native library crashed: run again with PYTHONFAULTHANDLER=1 to see on which line.",
    signal.SIGABRT: "A native library gave up: what it said is in the log above.",
    signal.SIGBUS: "A mapped file became shorter, or shared memory is full: see `coldstart doctor`.",
    signal.SIGILL: "A library was built for another CPU: install it for this machine.",
}


@dataclass
class Start:
    """One worker, and what was heard of it so far."""

    prepared: Prepared
    worker: Worker
    events: list[Event] = field(default_factory=list)
    asked_to_end: int = 0
    """How many times it was asked; the second time it is killed."""
    asked_by: int | None = None
    """The signal that we were sent, which asked us to end."""
    began_s: float = 0.0
    """When it was wanted, on the boot clock: just before its process was made."""
    exit_code: int | None = None
    """Set once it has ended."""
    overdue: Step | None = None
    """What ran past its time and let nobody in the worker end it."""
    _asked: dict[str, str] = field(default_factory=dict)
    """Id → endpoint of each request that has no answer yet."""
    _limits: dict[str, float] = field(default_factory=dict)
    """Step → when it must have ended, on our own clock."""

    def ask(self, ask: Ask) -> None:
        """Ask for an answer; it comes among the reports. The first one may be what it was started for."""
        if not self._asked and not self.is_ready:
            self.events.append(AnchorSet(at_s=self.began_s, anchor=Anchor.REQUEST))
        self._asked[ask.id] = ask.endpoint or "the default endpoint"
        self.worker.ask(ask)

    def follow(self, heard: Callable[[Report], None]) -> None:
        """Hand on each report until the worker has ended."""
        try:
            for report in self.worker.reports(self._end_what_nobody_else_can):
                if isinstance(report, Answered | Refused):
                    self._asked.pop(report.id, None)
                elif not isinstance(report, Chunk | Waiting):
                    self._note(report)
                heard(report)
        except BaseException:
            self.worker.kill()
            raise
        finally:
            ended_s = now()
            self.exit_code = self.worker.end()
            if death := _death(self, ended_s):
                self.events.append(death)

    def _note(self, event: Event) -> None:
        self.events.append(event)
        if isinstance(event, StepEnded):
            self._limits.pop(event.step, None)
        elif isinstance(event, StepStarted) and (limit_s := self._step(event.step).timeout_s):
            self._limits[event.step] = time.monotonic() + limit_s + GRACE_S

    def _end_what_nobody_else_can(self) -> None:
        """Native code may hold the interpreter: its worker then cannot tell that the time is up."""
        late = next((name for name, limit in self._limits.items() if limit < time.monotonic()), None)
        if late and self.overdue is None:
            self.overdue = self._step(late)
            self.worker.kill()

    def _step(self, name: str) -> Step:
        return next(step for step in self.prepared.plan.steps if step.name == name)

    def end(self) -> None:
        """Ask it to drain; kill it when it has been asked before."""
        self.asked_to_end += 1
        if self.asked_to_end > 1:
            self.worker.kill()
            return
        self.worker.stop()

    @property
    def running(self) -> tuple[str, ...]:
        """Steps that have started and not ended."""
        open_steps: dict[str, None] = {}
        for event in self.events:
            if isinstance(event, StepStarted):
                open_steps[event.step] = None
            elif isinstance(event, StepEnded):
                open_steps.pop(event.step, None)
        return tuple(open_steps)

    @property
    def is_ready(self) -> bool:
        return any(isinstance(event, StateChanged) and event.state is State.READY for event in self.events)

    @property
    def answering(self) -> tuple[str, ...]:
        """Endpoints whose code may be running."""
        return tuple(self._asked.values()) if self.is_ready else ()

    @property
    def trace(self) -> Trace:
        return build(self.events, self.prepared.plan, wall_start=self.worker.wall_start)


DRAIN_S = 30.0
"""How long a worker may take to end in an orderly way."""


def start(
    prepared: Prepared,
    *,
    env: Mapping[str, str],
    serve: Options | None = None,
    listening: socket | None = None,
) -> Start:
    """Start a worker for the plan; `env` wins over what it would find in its environment."""
    order = Order(
        plan=prepared.plan,
        project=str(prepared.project),
        home=str(prepared.home),
        drain_s=DRAIN_S,
        serve=serve,
        socket=listening.fileno() if listening else None,
    )
    told = {**worker_env(prepared.plan, prepared.home), **env}
    began_s = now()
    worker = Worker(order, env=told, listening=listening)
    return Start(prepared=prepared, worker=worker, began_s=began_s)


def switched(prepared: Prepared, skip: tuple[str, ...], defer: tuple[str, ...]) -> dict[str, str]:
    """COLDSTART_SKIP and COLDSTART_DEFER for one worker, from flag, environment or pyproject; checked."""
    said, env = prepared.settings, settings.of_environment(os.environ)
    told: dict[str, str] = {}
    for name, flags, of_env, of_project in (
        ("skip", skip, env.skip, said.skip),
        ("defer", defer, env.defer, said.defer),
    ):
        variable, flag = f"COLDSTART_{name.upper()}", ",".join(flags)
        told[variable] = flag or of_env or of_project or ""
        told[f"{variable}_BY"] = (
            f"--{name}" if flag else variable if of_env else f"{name} in pyproject.toml" if of_project else ""
        )
    switch(prepared.plan, Switches.of(told))
    return told


@dataclass
class Interrupted:
    """Whether, and by which signal, we were asked to stop."""

    signal: int | None = None


@contextlib.contextmanager
def interruptible(started: Start) -> Iterator[Interrupted]:
    """While open, the first SIGINT or SIGTERM asks the worker to end, and the second one kills it."""
    seen = Interrupted()

    def asked(number: int, _frame: FrameType | None) -> None:
        seen.signal = started.asked_by = number
        started.end()

    before = {number: signal.signal(number, asked) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield seen
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def failure(started: Start) -> ColdstartError | None:
    """Why the worker is no more, if it did not end because it was asked to."""
    states = [event for event in started.events if isinstance(event, StateChanged)]
    failed = next((event for event in states if event.state is State.FAILED), None)
    if failed is not None:
        return _kind(failed, started)(
            failed.reason or "the worker failed, and did not say why",
            where=failed.where,
            fix=failed.fix or "Look at the log above.",
        )
    return None


def _death(started: Start, at_s: float) -> StateChanged | Noted | None:
    """What a worker that did not end in order can no longer say of its end; the trace runs to there."""
    states = [event.state for event in started.events if isinstance(event, StateChanged)]
    code = started.exit_code or 0
    if State.FAILED in states or (code == 0 and (started.asked_to_end or State.STOPPED in states)):
        return None
    if started.overdue:
        return _held_up(started.overdue, started.prepared.plan, at_s)
    name = signal.Signals(-code).name if -code in {*signal.Signals} else f"signal {-code}"
    ended = f"was killed by {name}" if code < 0 else f"ended with exit code {code}"
    if code < 0 and started.asked_to_end:
        return Noted(at_s=at_s, message=f"the worker {ended}: it was to end at once")
    during = ", ".join((*started.running, *started.answering))
    by_signal = _MENDS.get(-code, "Look at the log above, and at what else runs on this machine.")
    return StateChanged(
        at_s=at_s,
        state=State.FAILED,
        reason=f"the worker {ended}" + (f" during {during}" if during else ""),
        where=during or _furthest(started),
        fix=by_signal if code < 0 else "Look for os._exit in the code that ran, and at the log above.",
    )


def _held_up(step: Step, plan: Plan, at_s: float) -> StateChanged:
    line = next((hook.line for hook in plan.spec.hooks if hook.method == step.target), None)
    return StateChanged(
        at_s=at_s,
        state=State.FAILED,
        reason=f"{step.name} did not end within {step.timeout_s:g} s, and let nothing else run",
        where=f"{plan.spec.module}.py:{line}, in {step.target}" if line else step.name,
        fix="Look for the native call in it that holds the interpreter, or give it a longer timeout=.",
    )


def tell_waiting(waiting: Waiting, started: Start, console: Console) -> None:
    """To the one who asked us to end, and sees nothing happen."""
    if started.asked_by is not None:
        are = "request is" if waiting.requests == 1 else "requests are"
        console.say(f"stopping: {waiting.requests} {are} still running; Ctrl-C again not to wait")


def _kind(failed: StateChanged, started: Start) -> type[ColdstartError]:
    """Weights that cannot be had are the storage's failure; everything else is the lifecycle's."""
    fetches = _fetches(started.prepared.plan)
    by_fetch = any(
        isinstance(event, StepEnded)
        and event.outcome is Outcome.FAILED
        and event.step in fetches
        and event.reason == failed.reason
        for event in started.events
    )
    return StorageError if by_fetch else LifecycleError


def _fetches(plan: Plan) -> frozenset[str]:
    return frozenset(
        step.name for step in plan.steps if step.kind is StepKind.FETCH and step.target in plan.spec.weights
    )


def _furthest(started: Start) -> str:
    """How far the worker came, where no step was running."""
    if started.is_ready:
        return "after READY"
    ended = [event.step for event in started.events if isinstance(event, StepEnded)]
    return f"after {ended[-1]}" if ended else "before the first step"
