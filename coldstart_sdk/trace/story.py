"""What to know of a start, in words: one pair of key and text for each thing worth a line.

No-break spaces hold a figure and its unit together when a line is broken.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from coldstart_sdk.events import Outcome, State
from coldstart_sdk.trace import figures, metrics
from coldstart_sdk.trace.model import STILL_RUNNING, Trace
from coldstart_sdk.trace.path import critical_path

_HERE = "local"
_NOTICED_S = 0.1
"""A platform that took less did nothing that a clock of hundredths could tell."""
_TOLD = 0.01
"""Legs shorter than this share of the path are counted, not named."""


def story(trace: Trace, *, arrow: str = " > ", reasons: bool = True) -> Iterator[tuple[str, str]]:
    """The lines under a waterfall, the most wanted first; `reasons`: also why it failed, and the mend."""
    yield from _outcome(trace, reasons=reasons)
    yield from _critical(trace, arrow)
    yield from _first_answer(trace)
    yield from _before_process(trace)
    yield from _degraded(trace)
    yield from _never_ran(trace)
    yield from _behind(trace)


def _outcome(trace: Trace, *, reasons: bool) -> Iterator[tuple[str, str]]:
    if trace.anchors.ready_s is not None:
        share, bound_s = metrics.attributed(trace), metrics.lower_bound_s(trace)
        text = f"in {_figure(trace.anchors.ready_s)}"
        if share is not None:
            text += f"; {_held(figures.percent(share))} of it attributed"
        if bound_s is not None:
            text += f"; lower bound of these steps {_figure(bound_s)}"
        yield "ready", text
    if trace.state is State.FAILED or (trace.anchors.ready_s is None and trace.reason):
        why = f": {trace.reason or 'nobody said why'}" if reasons else ""
        yield "failed", f"after {_figure(trace.end_s)}{why}"
        if reasons and trace.where:
            yield "at", trace.where
        if reasons and trace.fix:
            yield "fix", trace.fix
    elif trace.anchors.ready_s is None:
        yield "not ready", f"{trace.state.value} at the last event, {_figure(trace.end_s)} after the start"


def _critical(trace: Trace, arrow: str) -> Iterator[tuple[str, str]]:
    legs = critical_path(trace)
    total_s = sum(leg.duration_s for leg in legs)
    told = [leg for leg in legs if leg.duration_s > 0 and leg.duration_s >= total_s * _TOLD]
    if told:
        yield "critical", arrow.join(f"{leg.name}\u00a0{_figure(leg.duration_s)}" for leg in told)


def _first_answer(trace: Trace) -> Iterator[tuple[str, str]]:
    answer = metrics.first_answer(trace)
    if answer is None:
        for request in trace.requests[:1]:
            why = f": {request.reason}" if request.reason else ""
            yield "no answer", f"{request.endpoint} {request.outcome.value.replace('_', ' ')}{why}"
        return
    text = f"{answer.endpoint} in {_figure(answer.duration_s)}"
    parts = []
    if answer.queued_s > 0:
        parts.append(f"{_figure(answer.queued_s)} in the queue")
    if answer.first_s is not None:
        parts.append(f"first byte after {_figure(answer.first_s)}")
    yield "answered", text + (f" ({', '.join(parts)})" if parts else "")
    warm_s = metrics.four_times(trace).warm_s
    if warm_s is not None:
        yield "warm", f"median {_figure(warm_s)} of {len(trace.requests) - 1} later requests"


def _before_process(trace: Trace) -> Iterator[tuple[str, str]]:
    """What the platform took; shown, and never blended into the time to ready.

    A container that was up before anybody asked is no part of it; here it is the machine, unless a request is
    known to have brought it up.
    """
    asked_s, container_s = trace.anchors.request_s, trace.anchors.container_s
    if (trace.backend == _HERE and asked_s is None) or (container_s or 0.0) < (asked_s or -math.inf):
        container_s = None
    parts = [
        f"{name} {_figure(-moment_s)} before the process"
        for name, moment_s in (("request", asked_s), ("container", container_s))
        if moment_s is not None and moment_s <= -_NOTICED_S
    ]
    if parts:
        yield "platform", ", ".join(parts)


def _degraded(trace: Trace) -> Iterator[tuple[str, str]]:
    reasons = {step.name: step.reason or "" for step in trace.steps if step.outcome is not Outcome.DONE}
    if trace.degraded:
        yield "degraded", "; ".join(_with_reason(name, reasons.get(name, "")) for name in trace.degraded)


def _with_reason(name: str, reason: str) -> str:
    """Most reasons begin with the step's name already."""
    return reason if reason.startswith(name) else f"{name}: {reason}" if reason else name


def _never_ran(trace: Trace) -> Iterator[tuple[str, str]]:
    unrun = [step for step in trace.steps if step.duration_s == 0]
    skipped = [step for step in unrun if step.outcome is Outcome.SKIPPED]
    if skipped:
        yield (
            "skipped",
            ", ".join(f"{step.name} ({step.reason})" if step.reason else step.name for step in skipped),
        )
    cancelled = [
        step.name for step in unrun if step.outcome is Outcome.CANCELLED and step.reason != STILL_RUNNING
    ]
    if cancelled or trace.never_started:
        yield "never ran", ", ".join((*cancelled, *trace.never_started))


def _behind(trace: Trace) -> Iterator[tuple[str, str]]:
    ready_s = trace.anchors.ready_s
    if ready_s is None:
        return
    told = [
        f"{step.name}\u00a0{_figure(step.duration_s)}"
        + ("" if step.outcome is Outcome.DONE else f" {step.ending}")
        for step in trace.steps
        if step.start_s >= ready_s and step.duration_s > 0
    ]
    if told:
        yield "after", ", ".join(told)


def _figure(seconds: float) -> str:
    return _held(figures.duration(seconds))


def _held(text: str) -> str:
    return text.replace(" ", "\u00a0")
