"""What held READY up: from its moment backwards, each time to what ended last of all that had to end first.

A step is held by the steps that it depends on, by the step before it on a lane that runs one at a time,
or, at the root, by what ran before the first step. Time that nothing accounts for is a leg called `wait`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from coldstart_sdk.events import Outcome
from coldstart_sdk.plan import Lane, Stage
from coldstart_sdk.trace.model import Span, Trace

INTERPRETER = "interpreter"
"""From the process's start to the first line of ours."""
SDK = "sdk"
"""From there to the first step."""
RELOAD = "reload:volume"
"""From there, on a platform that restores a snapshot, until what others wrote since is seen."""
BEGINNING = frozenset({INTERPRETER, SDK, RELOAD})
"""What comes before the first step of a plan."""
WAIT = "wait"

_ONE_AT_A_TIME = frozenset({Lane.MODEL, Lane.IMPORTS})
_AFTER_READY = frozenset({Stage.BACKGROUND, Stage.CLOSE})
_SLACK_S = 2e-6
"""Moments are rounded to the microsecond."""


@dataclass(frozen=True, kw_only=True)
class Leg:
    """One piece of the critical path; `span` is None where it is a wait."""

    name: str
    start_s: float
    end_s: float
    span: Span | None

    @property
    def duration_s(self) -> float:
        return self.end_s - self.start_s


def critical_path(trace: Trace) -> tuple[Leg, ...]:
    """The legs in order; on a start that never was ready, those that led to what stopped it."""
    ready_s = trace.anchors.ready_s
    steps = before_ready(trace)
    last = _first_failure(steps) if ready_s is None else _latest(steps, ready_s)
    legs: list[Leg] = []
    until_s = ready_s if ready_s is not None else (last.end_s if last else 0.0)
    while last is not None:
        legs += _wait(last.end_s, until_s)
        legs.append(Leg(name=last.name, start_s=last.start_s, end_s=last.end_s, span=last))
        until_s = last.start_s
        steps = tuple(step for step in steps if step is not last)
        last = _holder(last, steps)
    legs += _wait(0.0, until_s)
    return tuple(reversed(legs))


def mark(trace: Trace) -> Trace:
    """The same trace, its spans on the critical path marked."""
    critical = {id(leg.span) for leg in critical_path(trace) if leg.span}
    return replace(
        trace,
        spans=tuple(replace(span, critical=id(span) in critical) for span in trace.spans),
    )


def before_ready(trace: Trace) -> tuple[Span, ...]:
    """The steps that READY could have been waiting for."""
    ready_s = trace.anchors.ready_s
    return tuple(
        step
        for step in trace.steps
        if step.stage not in _AFTER_READY and (ready_s is None or step.end_s <= ready_s + _SLACK_S)
    )


def _first_failure(steps: Sequence[Span]) -> Span | None:
    bad = [step for step in steps if step.required and step.outcome in {Outcome.FAILED, Outcome.TIMED_OUT}]
    if bad:
        return min(bad, key=lambda step: step.end_s)
    return _latest(steps, None)


def _holder(step: Span, others: Sequence[Span]) -> Span | None:
    """What `step` started after because of it."""
    dependencies = [other for other in others if other.name in step.after]
    if step.lane in _ONE_AT_A_TIME:
        dependencies += [
            other for other in others if other.lane is step.lane and other.name not in step.after
        ]
    held_by = _latest(dependencies, step.start_s)
    if held_by is None and step.name not in {INTERPRETER, SDK}:
        held_by = _latest([other for other in others if other.name in BEGINNING], step.start_s)
    return held_by


def _latest(steps: Sequence[Span], moment_s: float | None) -> Span | None:
    """What ended last by the moment; of equals the first named, so that a dependency comes before a lane."""
    ended = [
        step
        for step in steps
        if (moment_s is None or step.end_s <= moment_s + _SLACK_S) and step.start_s <= step.end_s
    ]
    return max(ended, key=lambda step: step.end_s, default=None)


def _wait(start_s: float, end_s: float) -> list[Leg]:
    if end_s - start_s <= _SLACK_S:
        return []
    return [Leg(name=WAIT, start_s=start_s, end_s=end_s, span=None)]
