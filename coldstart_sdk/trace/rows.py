"""What a picture of a start shows: its rows, their words and its time axis; not its looks."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from coldstart_sdk.events import Outcome, Resource
from coldstart_sdk.trace import figures, metrics
from coldstart_sdk.trace.model import Request, Span, Trace
from coldstart_sdk.trace.path import WAIT, critical_path

_MANY = 8
"""More steps of one kind than this are told as one row, all but the longest and the critical."""
_LONGEST = 3
_LONG = 0.02
"""A step shorter than this share of the axis does not count among the longest."""
_VISIBLE = 0.01
"""A wait shorter than this share of the axis is left to the figures."""
_APART = 0.005
"""Shares of the axis closer than this are drawn as one."""
_ANSWER_WITHIN = 1.5
"""The first answer is drawn if the axis need not grow more than this for it."""
_NICE = (1.0, 2.0, 5.0)
_IN_SECONDS_FROM_S, _MINUTE_S, _HOUR_S = 0.1, 60.0, 3600.0
_NICE_LONG_S = (
    10.0,
    15.0,
    20.0,
    30.0,
    60.0,
    120.0,
    300.0,
    600.0,
    900.0,
    1800.0,
    3600.0,
    7200.0,
    21600.0,
    43200.0,
    86400.0,
)


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the picture."""

    name: str
    stretches: tuple[tuple[float, float], ...]
    """When it ran."""
    duration_s: float
    resource: Resource
    words: tuple[str, ...] = ()
    """What stands beside it, from the fullest wording to the shortest."""
    critical: bool = False
    failed: bool = False

    @property
    def waits(self) -> bool:
        return self.resource is Resource.WAIT


@dataclass(frozen=True, kw_only=True)
class Chart:
    """The rows by start, on an axis from 0 to `end_s`."""

    rows: tuple[Row, ...]
    end_s: float
    ready_s: float | None
    answer: Row | None
    """The first answer, where it lies near READY."""


def chart(trace: Trace) -> Chart:
    """The rows of everything up to READY, and the first answer where it lies near."""
    answer = metrics.first_answer(trace)
    end_s = trace.end_s if trace.anchors.ready_s is None else trace.anchors.ready_s
    end_s = max(end_s, 0.0)
    if answer and not end_s <= answer.end_s <= end_s * _ANSWER_WITHIN:
        answer = None
    waits = [leg for leg in critical_path(trace) if leg.name == WAIT and leg.duration_s >= end_s * _VISIBLE]
    rows = [
        *_step_rows([step for step in trace.steps if step.start_s <= end_s and not _never_ran(step)], end_s)
    ]
    rows += [
        Row(
            name=WAIT,
            stretches=((leg.start_s, leg.end_s),),
            duration_s=leg.duration_s,
            resource=Resource.WAIT,
            critical=True,
        )
        for leg in waits
    ]
    rows.sort(key=lambda row: row.stretches[0])
    return Chart(
        rows=tuple(rows),
        end_s=max(end_s, answer.end_s) if answer else end_s,
        ready_s=trace.anchors.ready_s,
        answer=_answer_row(answer, trace.anchors.ready_s) if answer else None,
    )


def ticks(end_s: float, most: int) -> tuple[tuple[float, str], ...]:
    """At most so many round moments from 0 to the end, with their wording."""
    if end_s <= 0 or most < 1:
        return ((0.0, "0"),)
    step_s = _nice(end_s / most)
    return tuple(
        (index * step_s, _moment(index * step_s, step_s)) for index in range(int(end_s / step_s + 1e-9) + 1)
    )


def _step_rows(steps: Sequence[Span], end_s: float) -> Iterator[Row]:
    counts = Counter(_kind(step) for step in steps)
    for kind in counts:
        of_kind = [step for step in steps if _kind(step) == kind]
        told = of_kind
        if len(of_kind) > _MANY:
            long = [step for step in of_kind if step.duration_s >= end_s * _LONG]
            longest = sorted(long, key=lambda step: -step.duration_s)[:_LONGEST]
            told = [
                step
                for step in of_kind
                if step.critical or step.outcome is not Outcome.DONE or any(step is kept for kept in longest)
            ]
        yield from (_row(step) for step in told)
        if rest := [step for step in of_kind if not any(step is kept for kept in told)]:
            yield _collapsed(kind, rest, end_s * _APART)


def _never_ran(step: Span) -> bool:
    """Told in words: a bar would say that it took time."""
    return step.outcome in {Outcome.SKIPPED, Outcome.CANCELLED} and step.duration_s == 0


def _kind(step: Span) -> str:
    return step.name.partition(":")[0]


def _row(step: Span) -> Row:
    return Row(
        name=step.name,
        stretches=((step.start_s, step.end_s),),
        duration_s=step.duration_s,
        resource=step.resource,
        words=_words(step),
        critical=step.critical,
        failed=step.outcome in {Outcome.FAILED, Outcome.TIMED_OUT},
    )


def _collapsed(kind: str, steps: Sequence[Span], apart_s: float) -> Row:
    moved = sum(step.bytes or 0 for step in steps)
    lasted_s = metrics.union_s((step.start_s, step.end_s) for step in steps)
    return Row(
        name=f"{kind}: {len(steps)} more",
        stretches=_joined(steps, apart_s),
        duration_s=lasted_s,
        resource=steps[0].resource,
        words=tuple(_moved(moved, lasted_s)),
    )


def _joined(steps: Sequence[Span], apart_s: float) -> tuple[tuple[float, float], ...]:
    """The stretches in which one of them ran; what is closer than an eye can see is one."""
    joined: list[tuple[float, float]] = []
    for start_s, end_s in sorted((step.start_s, step.end_s) for step in steps):
        if joined and start_s - joined[-1][1] <= apart_s:
            joined[-1] = (joined[-1][0], max(joined[-1][1], end_s))
        else:
            joined.append((start_s, end_s))
    return tuple(joined)


def _answer_row(answer: Request, ready_s: float | None) -> Row:
    began_s = min(answer.end_s, max(answer.start_s + answer.queued_s, answer.start_s))
    if ready_s is not None:
        began_s = min(answer.end_s, max(began_s, ready_s))
    return Row(
        name="first answer",
        stretches=((began_s, answer.end_s),),
        duration_s=answer.end_s - began_s,
        resource=Resource.CPU,
        words=(answer.endpoint,),
    )


def _words(step: Span) -> tuple[str, ...]:
    moved = list(_moved(step.bytes, step.duration_s))
    if step.outcome is not Outcome.DONE:
        ended = step.ending
        optional = "" if step.required or step.outcome is Outcome.SKIPPED else ", optional"
        why = (
            [f"{ended}{optional}: {step.reason}"] if step.reason and not step.reason.startswith(ended) else []
        )
        return (*(f"{word}; {moved[0]}" for word in why if moved), *why, f"{ended}{optional}", ended)
    missed = ", ".join(tried.tier for tried in step.tried if not tried.hit)
    served = [f"{moved[0]} {step.tier}"] if moved and step.tier else []
    if not moved and step.tier:
        served = [step.tier]
    told = [f"{served[0]} ({missed} missed)"] if served and missed else []
    return (*told, *served, *moved)


def _moved(count: int | None, seconds: float) -> Iterator[str]:
    if not count:
        return
    if seconds > 0:
        yield f"{figures.size(count)} {figures.speed(count, seconds)}"
    yield figures.size(count)


def _nice(at_least_s: float) -> float:
    """The roundest step that is not smaller."""
    if at_least_s > _NICE_LONG_S[0] / 2:
        return next((step_s for step_s in _NICE_LONG_S if step_s >= at_least_s), _whole_days(at_least_s))
    power = 10.0 ** math.floor(math.log10(at_least_s))
    return next((power * nice for nice in _NICE if power * nice >= at_least_s), power * 10)


def _whole_days(at_least_s: float) -> float:
    day_s = _NICE_LONG_S[-1]
    return math.ceil(at_least_s / day_s) * day_s


def _moment(at_s: float, step_s: float) -> str:
    if at_s == 0:
        return "0"
    if step_s < _IN_SECONDS_FROM_S:
        return f"{at_s * 1000:.10g} ms"
    if step_s < _MINUTE_S:
        return f"{round(at_s, 3):g} s"
    if step_s < _HOUR_S:
        return f"{at_s / _MINUTE_S:.0f} min"
    return f"{at_s / _HOUR_S:.0f} h"
