"""A warm-up that is larger than READY needs, one that is missing, and shapes that it left cold."""

from __future__ import annotations

import itertools
import statistics
from collections import defaultdict
from collections.abc import Iterable, Iterator

from coldstart_sdk.explain.evidence import REQUEST, Evidence, outermost, stretches, what_of
from coldstart_sdk.explain.finding import Finding
from coldstart_sdk.explain.graph import Cut
from coldstart_sdk.plan import StepKind
from coldstart_sdk.recorder.names import CALL
from coldstart_sdk.trace import figures
from coldstart_sdk.trace.model import Span

_NOTICED_S = 0.05
_SLOWER = 1.5
_ENOUGH = 2
"""Later requests that a median is drawn from."""


def too_big(evidence: Evidence) -> Iterator[Finding]:
    steps = evidence.of_kind(StepKind.WARMUP)
    calls = {step.name: outermost(evidence.parts(step, CALL)) for step in steps}
    first = _firsts(calls.values())
    again = {
        name: more
        for name, made in calls.items()
        if (more := tuple(call for call in made if first[_endpoint(call)] is not call))
    }
    if sum(call.duration_s for made in again.values() for call in made) < _NOTICED_S:
        return
    count = sum(map(len, calls.values()))
    yield Finding(
        rule="warmup-too-big",
        what=f"READY waited for {count} warm-up calls",
        why=(
            "One small request proves the worker; the other shapes can warm up behind READY, "
            "between requests."
        ),
        evidence=tuple(
            f"{name}: {what_of(call)} {figures.duration(call.duration_s)}"
            for name, made in calls.items()
            for call in made[:6]
        ),
        fix="Keep the first call of an endpoint in @hook.warmup; move the others to a @hook.background",
        changes=tuple(Cut(step=name, stretches=stretches(made)) for name, made in again.items()),
        supposes="first callers with the other shapes may wait for them",
    )


def _firsts(calls: Iterable[tuple[Span, ...]]) -> dict[str, Span]:
    """The first call of each endpoint, whichever hook made it."""
    firsts: dict[str, Span] = {}
    for call in sorted(itertools.chain.from_iterable(calls), key=lambda call: call.start_s):
        firsts.setdefault(_endpoint(call), call)
    return firsts


def _endpoint(call: Span) -> str:
    return what_of(call).partition("(")[0]


def missing(evidence: Evidence) -> Iterator[Finding]:
    if evidence.of_kind(StepKind.WARMUP) or len(evidence.answered) <= _ENOUGH:
        return
    first, *rest = evidence.answered
    usual_s = statistics.median(evidence.worked_s(request) for request in rest)
    lost_s = evidence.worked_s(first) - usual_s - evidence.downloaded_s((first.start_s, first.end_s))
    if lost_s < _NOTICED_S or evidence.worked_s(first) < usual_s * _SLOWER:
        return
    yield Finding(
        rule="warmup-missing",
        what=(
            f"the first request took {figures.duration(evidence.worked_s(first))}, later ones "
            f"{figures.duration(usual_s)}"
        ),
        why=(
            "Without a @hook.warmup the first caller pays for all that happens once: kernels, "
            "caches, allocations."
        ),
        evidence=(f"median of {len(rest)} later requests: {figures.duration(usual_s)}",),
        fix="Add @hook.warmup with the smallest real request: READY is then true for the first caller too",
        first_s=lost_s,
    )


def per_shape(evidence: Evidence) -> Iterator[Finding]:
    slow = _shapes(evidence)
    warmed = bool(evidence.of_kind(StepKind.WARMUP))
    first = next((what_of(call) for call in outermost(evidence.parts(REQUEST, CALL))), None)
    told = {shape: took for shape, took in slow.items() if warmed or shape != first}
    if not told:
        return
    yield Finding(
        rule="first-call-per-shape",
        what=f"each new shape was slow once: {', '.join(told)}",
        why="What is compiled or searched for once is done again for each new shape of input.",
        evidence=tuple(
            f"{shape}: first {figures.duration(first_s)}, then {figures.duration(usual_s)}"
            for shape, (first_s, usual_s) in told.items()
        ),
        fix=(
            (
                "Warm these shapes up too, in @hook.background; "
                if warmed
                else "Warm them up in @hook.warmup; "
            )
            + "or pad inputs to a few sizes, compile with dynamic=True, "
            "and leave torch.backends.cudnn.benchmark off"
        ),
        first_s=told[first][0] - told[first][1] if first in told else 0.0,
    )


def _shapes(evidence: Evidence) -> dict[str, tuple[float, float]]:
    """First and later calls of each shape that requests met cold."""
    calls: defaultdict[str, list[float]] = defaultdict(list)
    for call in outermost(evidence.parts(REQUEST, CALL)):
        fetched_s = evidence.downloaded_s((call.start_s, call.end_s))
        calls[what_of(call)].append(call.duration_s - fetched_s)
    found: dict[str, tuple[float, float]] = {}
    for shape, took_s in calls.items():
        if len(took_s) < _ENOUGH:
            continue
        usual_s = statistics.median(took_s[1:])
        if took_s[0] - usual_s >= _NOTICED_S and took_s[0] >= usual_s * _SLOWER:
            found[shape] = (took_s[0], usual_s)
    return found
