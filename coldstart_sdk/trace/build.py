"""Turn the events of a run into its trace. Pure; a run that failed, hung or died half-way has a trace too.

A step whose end nobody saw is closed at the last event. Without a plan the trace knows no dependencies.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from coldstart_sdk.events import (
    Anchor,
    AnchorSet,
    Counted,
    Event,
    FactsSeen,
    Noted,
    Outcome,
    RequestEnded,
    Resource,
    SpanRecorded,
    State,
    StateChanged,
    StepEnded,
    StepProgress,
    StepStarted,
    TierTried,
)
from coldstart_sdk.plan import Note, Plan, Stage, Step, StepKind, Work
from coldstart_sdk.trace.model import (
    IDLE,
    LEAST,
    SNAPSHOT,
    STILL_RUNNING,
    Anchors,
    Request,
    Span,
    Trace,
    Tried,
)
from coldstart_sdk.trace.path import INTERPRETER, SDK, mark

E = TypeVar("E")

_SAMPLES = 64
"""Byte counts kept of one step: enough to see a stall, few enough to read."""
_KINDS = {kind.value: kind for kind in StepKind}
_NEAR = frozenset({"image", "volume", "cache", "local", "disk", "baked"})
"""Tiers on a disk of this machine, or on one that is mounted here."""
_ON_DEVICE = frozenset({StepKind.LOAD, StepKind.RESTORED, StepKind.WARMUP, StepKind.CANARY})
_BAD = frozenset({Outcome.FAILED, Outcome.TIMED_OUT})


def build(events: Sequence[Event], plan: Plan | None, *, wall_start: float | None) -> Trace:
    """The trace of one run; `wall_start` is when the process started, in seconds since 1970."""
    ordered = sorted(events, key=lambda event: event.at_s)
    zero_s = _zero(ordered)
    end_s = max((_since(_end(event), zero_s) for event in ordered), default=0.0)
    anchors = _anchors(ordered, zero_s)
    states = _of(StateChanged, ordered)
    state = states[-1].state if states else State.STARTING
    steps = _steps(ordered, plan, zero_s=zero_s, end_s=end_s, state=state)
    spans = (*_beginning(anchors, steps, end_s), *steps, *_parts(ordered, zero_s))
    failure = next((change for change in reversed(states) if change.reason), None)
    return mark(
        Trace(
            name=plan.spec.name if plan else None,
            spec_digest=plan.spec_digest if plan else None,
            backend=plan.backend if plan else None,
            sdk=plan.sdk if plan else None,
            state=state,
            reason=failure.reason if failure else None,
            where=failure.where if failure else None,
            fix=failure.fix if failure else None,
            degraded=tuple(dict.fromkeys(step for change in states for step in change.degraded)),
            started_at=_iso(wall_start),
            end_s=end_s,
            anchors=anchors,
            machine={key: fact for seen in _of(FactsSeen, ordered) for key, fact in seen.facts.items()},
            spans=tuple(sorted(spans, key=lambda span: (span.start_s, span.end_s))),
            requests=tuple(_request(event, zero_s) for event in _of(RequestEnded, ordered)),
            never_started=_never_started(plan, steps) if anchors.ready_s is None else (),
            notes=_notes(ordered, plan, anchors),
            declared=declared(plan) if plan else {},
        )
    )


def declared(plan: Plan) -> Mapping[str, str]:
    """What of a plan its trace keeps."""
    scale = plan.spec.scale
    return {IDLE: f"{scale.idle_s:g}", LEAST: str(scale.min), SNAPSHOT: plan.snapshot.value}


@dataclass
class _Run:
    """What was seen of one step from its start to its end."""

    step: str
    start_s: float
    ended: StepEnded | None = None
    tried: list[TierTried] = field(default_factory=list)
    progress: list[StepProgress] = field(default_factory=list)
    counts: dict[str, float] = field(default_factory=dict)


def _steps(
    events: Sequence[Event], plan: Plan | None, *, zero_s: float, end_s: float, state: State
) -> tuple[Span, ...]:
    runs = _runs(events)
    planned = {step.name: step for step in plan.steps} if plan else {}
    seen = {run.step for run in runs}
    parts = _of(SpanRecorded, events)
    blamed = state is State.FAILED and not any(run.ended and run.ended.outcome in _BAD for run in runs)
    open_end = StepEnded(
        at_s=zero_s + end_s,
        step="",
        outcome=Outcome.FAILED if blamed else Outcome.CANCELLED,
        reason=STILL_RUNNING,
    )
    return tuple(
        _step(
            run,
            run.ended or open_end,
            planned.get(run.step),
            after=tuple(_seen_before(run.step, planned, seen)),
            parts=[part for part in parts if part.step == run.step],
            zero_s=zero_s,
        )
        for run in runs
    )


def _runs(events: Sequence[Event]) -> list[_Run]:
    runs: list[_Run] = []
    latest: dict[str, _Run] = {}

    def begin(step: str, at_s: float) -> _Run:
        latest[step] = _Run(step=step, start_s=at_s)
        runs.append(latest[step])
        return latest[step]

    for event in events:
        if isinstance(event, StepStarted):
            begin(event.step, event.at_s)
        elif isinstance(event, StepEnded):
            run = latest.get(event.step)
            if run is None or run.ended:
                run = begin(event.step, event.at_s)
            run.ended = event
        elif isinstance(event, StepProgress) and event.step in latest:
            latest[event.step].progress.append(event)
        elif isinstance(event, TierTried) and event.step in latest:
            latest[event.step].tried.append(event)
        elif isinstance(event, Counted) and event.step in latest:
            _add(event.counts, latest[event.step].counts)
    return runs


def _add(counts: Mapping[str, float], total: dict[str, float]) -> None:
    for name, count in counts.items():
        total[name] = total.get(name, 0.0) + count


def _step(  # noqa: PLR0913 - one span is made of all that was seen of it
    run: _Run,
    ended: StepEnded,
    step: Step | None,
    *,
    after: tuple[str, ...],
    parts: Sequence[SpanRecorded],
    zero_s: float,
) -> Span:
    tier = _tier(run, parts)
    moved = [part.bytes for part in parts if part.bytes is not None]
    return Span(
        name=run.step,
        start_s=_since(run.start_s, zero_s),
        end_s=_since(ended.at_s, zero_s),
        resource=_resource(run.step, step, tier),
        outcome=ended.outcome,
        reason=ended.reason,
        where=ended.where,
        fix=ended.fix,
        after=after,
        lane=step.lane if step else None,
        stage=step.stage if step else None,
        required=step.required if step else True,
        bytes=run.progress[-1].done_bytes if run.progress else (sum(moved) if moved else None),
        progress=tuple((_since(seen.at_s, zero_s), seen.done_bytes) for seen in _thinned(run.progress)),
        tier=tier,
        tried=tuple(Tried(tier=tried.tier, hit=tried.hit, reason=tried.reason) for tried in run.tried),
        cpu_s=ended.cpu_s,
        counts=run.counts,
    )


def _seen_before(name: str, planned: Mapping[str, Step], seen: set[str]) -> Iterator[str]:
    """The dependencies that ran; one that left no event is replaced by what it depended on itself."""
    waiting = list(planned[name].after) if name in planned else []
    known = {name}
    while waiting:
        dependency = waiting.pop(0)
        if dependency in known:
            continue
        known.add(dependency)
        if dependency in seen:
            yield dependency
        elif dependency in planned:
            waiting += planned[dependency].after


def _never_started(plan: Plan | None, steps: Sequence[Span]) -> tuple[str, ...]:
    seen = {step.name for step in steps}
    owed = plan.steps_in(Stage.BEFORE_SNAPSHOT, Stage.AFTER_SNAPSHOT) if plan else ()
    return tuple(step.name for step in owed if step.name not in seen)


def _tier(run: _Run, parts: Sequence[SpanRecorded]) -> str | None:
    tiers = [part.tier for part in parts if part.tier] or [tried.tier for tried in run.tried if tried.hit]
    return "+".join(dict.fromkeys(tiers)) or None


def _resource(name: str, step: Step | None, tier: str | None) -> Resource:
    kind = step.kind if step else _KINDS.get(name.partition(":")[0])
    if kind is StepKind.FETCH:
        by_hand = step is not None and step.work is Work.HOOK  # links, unpacks, merges what is here
        return Resource.DISK if by_hand or tier in _NEAR else Resource.NET
    if kind is StepKind.CUDA_INIT or (kind in _ON_DEVICE and step and step.device not in {None, "cpu"}):
        return Resource.GPU
    return Resource.CPU


def _beginning(anchors: Anchors, steps: Sequence[Span], end_s: float) -> Iterator[Span]:
    """What came before the first step."""
    first_s = min((step.start_s for step in steps if step.start_s >= 0), default=end_s)
    if anchors.ready_s is not None:
        first_s = min(first_s, anchors.ready_s)
    sdk_s = min(first_s, anchors.sdk_s if anchors.sdk_s is not None else first_s)
    has_interpreter = anchors.process_s is not None and sdk_s > 0
    if has_interpreter:
        yield Span(name=INTERPRETER, start_s=0.0, end_s=sdk_s, resource=Resource.CPU)
    if anchors.sdk_s is not None and first_s > max(sdk_s, 0.0):
        after = (INTERPRETER,) if has_interpreter else ()
        yield Span(name=SDK, start_s=max(sdk_s, 0.0), end_s=first_s, resource=Resource.CPU, after=after)


def _parts(events: Sequence[Event], zero_s: float) -> Iterator[Span]:
    for event in _of(SpanRecorded, events):
        yield Span(
            name=event.name,
            start_s=_since(event.at_s, zero_s),
            end_s=_since(max(event.at_s, event.end_s), zero_s),
            resource=event.resource,
            parent=event.step,
            bytes=event.bytes,
            tier=event.tier,
        )


def _zero(events: Sequence[Event]) -> float:
    moments = {anchor.anchor: anchor.at_s for anchor in reversed(_of(AnchorSet, events))}
    first_s = events[0].at_s if events else 0.0
    return moments.get(Anchor.PROCESS, moments.get(Anchor.SDK, first_s))


def _anchors(events: Sequence[Event], zero_s: float) -> Anchors:
    moments = {anchor.anchor: _since(anchor.at_s, zero_s) for anchor in reversed(_of(AnchorSet, events))}
    ready = [
        _since(change.at_s, zero_s) for change in _of(StateChanged, events) if change.state is State.READY
    ]
    first_bytes = [
        _since(event.started_s + event.first_s, zero_s)
        for event in _of(RequestEnded, events)
        if event.first_s is not None
    ]
    return Anchors(
        request_s=moments.get(Anchor.REQUEST),
        container_s=moments.get(Anchor.CONTAINER),
        process_s=moments.get(Anchor.PROCESS),
        sdk_s=moments.get(Anchor.SDK),
        ready_s=moments.get(Anchor.READY, min(ready, default=None)),
        first_byte_s=moments.get(Anchor.FIRST_BYTE, min(first_bytes, default=None)),
    )


def _request(event: RequestEnded, zero_s: float) -> Request:
    return Request(
        id=event.id,
        endpoint=event.endpoint,
        start_s=_since(event.started_s, zero_s),
        end_s=_since(max(event.at_s, event.started_s), zero_s),
        queued_s=event.queued_s,
        first_s=event.first_s,
        outcome=event.outcome,
        reason=event.reason,
    )


def _notes(events: Sequence[Event], plan: Plan | None, anchors: Anchors) -> tuple[Note, ...]:
    planned = plan.notes if plan else ()
    noted = tuple(Note(about=event.step or "run", text=event.message) for event in _of(Noted, events))
    if anchors.process_s is not None:
        return (*planned, *noted)
    unread = "The process's own start could not be read: time counts from the first line of coldstart."
    return (*planned, *noted, Note(about="trace", text=unread))


def _since(at_s: float, zero_s: float) -> float:
    """To the microsecond: a subtraction's noise is no time."""
    return round(at_s - zero_s, 6)


def _end(event: Event) -> float:
    return max(event.at_s, event.end_s) if isinstance(event, SpanRecorded) else event.at_s


def _of(kind: type[E], events: Iterable[Event]) -> list[E]:
    return [event for event in events if isinstance(event, kind)]


def _thinned(progress: Sequence[StepProgress]) -> Sequence[StepProgress]:
    """First and last, and evenly many between."""
    if len(progress) <= _SAMPLES:
        return progress
    return [progress[index * (len(progress) - 1) // (_SAMPLES - 1)] for index in range(_SAMPLES)]


def _iso(wall_s: float | None) -> str | None:
    if wall_s is None:
        return None
    whole, milliseconds = divmod(round(wall_s * 1000), 1000)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole)) + f".{milliseconds:03d}Z"
