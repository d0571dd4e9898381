"""Spell a trace as Chrome Trace Event JSON, which Perfetto and chrome://tracing open.

One group of tracks a resource; spans of one track do not overlap, but for parts of a step, which lie within
it. Arrows are dependencies, counters are bytes. Times are microseconds from the first moment that is known.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from coldstart_sdk import record
from coldstart_sdk.events import Resource
from coldstart_sdk.trace.model import Span, Trace
from coldstart_sdk.trace.path import WAIT, critical_path

_ChromeEvent: TypeAlias = dict[str, Any]

_PID = 1
_ORDER = (Resource.NET, Resource.DISK, Resource.CPU, Resource.GPU, Resource.WAIT)


@dataclass
class _Track:
    """One line of the viewer, and the spans that are open on it while it is filled."""

    name: str
    tid: int
    spans: list[Span] = field(default_factory=list)
    open: list[Span] = field(default_factory=list)

    def takes(self, span: Span) -> bool:
        """Whether nothing is open here when the span starts, or it is a part that lies within its step."""
        while self.open and self.open[-1].end_s <= span.start_s:
            self.open.pop()
        if not self.open:
            return True
        owners = {self.open[0].name, self.open[0].parent}
        return span.parent is not None and span.parent in owners and span.end_s <= self.open[-1].end_s

    def put(self, span: Span) -> None:
        self.spans.append(span)
        self.open.append(span)


def to_json(trace: Trace) -> str:
    """The whole file."""
    return json.dumps(to_events(trace), ensure_ascii=False) + "\n"


def to_events(trace: Trace) -> _ChromeEvent:
    """The file as plain data."""
    clock = _Clock(min([0.0, *_moments(trace).values(), *(span.start_s for span in trace.spans)]))
    tracks = _tracks(_everything(trace))
    events = [
        *_names(trace, tracks),
        *(event for track in tracks for span in track.spans for event in [_slice(span, track, clock)]),
        *_arrows(tracks, clock),
        *_counters(trace, clock),
        *(_instant(name, at_s, clock) for name, at_s in _moments(trace).items()),
    ]
    return {
        "traceEvents": events,
        "displayTimeUnit": "ms",
        "otherData": {
            "name": trace.name,
            "spec_digest": trace.spec_digest,
            "backend": trace.backend,
            "sdk": trace.sdk,
            "state": trace.state.value,
            "started_at": trace.started_at,
            "process_start_us": clock.us(0.0),
            "machine": dict(trace.machine),
        },
    }


@dataclass(frozen=True)
class _Clock:
    first_s: float

    def us(self, at_s: float) -> float:
        return round((at_s - self.first_s) * 1e6, 3)


def _everything(trace: Trace) -> Iterator[Span]:
    yield from trace.spans
    for leg in critical_path(trace):
        if leg.name == WAIT:
            yield Span(name=WAIT, start_s=leg.start_s, end_s=leg.end_s, resource=Resource.WAIT, critical=True)


def _tracks(spans: Iterator[Span]) -> list[_Track]:
    by_resource: dict[Resource, list[_Track]] = {resource: [] for resource in _ORDER}
    for span in sorted(spans, key=lambda span: (span.start_s, -span.end_s, span.parent is not None)):
        tracks = by_resource[span.resource]
        track = next((track for track in tracks if track.takes(span)), None)
        if track is None:
            number = f" {len(tracks) + 1}" if tracks else ""
            track = _Track(
                name=span.resource.value + number, tid=100 * (_ORDER.index(span.resource) + 1) + len(tracks)
            )
            tracks.append(track)
        track.put(span)
    return [track for resource in _ORDER for track in by_resource[resource]]


def _names(trace: Trace, tracks: Sequence[_Track]) -> Iterator[_ChromeEvent]:
    title = " on ".join(part for part in (trace.name or "cold start", trace.backend) if part)
    yield {"ph": "M", "name": "process_name", "pid": _PID, "tid": 0, "args": {"name": title}}
    for track in tracks:
        meta = {"ph": "M", "pid": _PID, "tid": track.tid}
        yield {**meta, "name": "thread_name", "args": {"name": track.name}}
        yield {**meta, "name": "thread_sort_index", "args": {"sort_index": track.tid}}


def _slice(span: Span, track: _Track, clock: _Clock) -> _ChromeEvent:
    known = {
        key: fact
        for key, fact in record.to_data(span).items()
        if key not in {"name", "start_s", "end_s", "progress"} and fact not in (None, [], "")
    }
    start_us = clock.us(span.start_s)
    return {
        "ph": "X",
        "name": span.name,
        "cat": span.resource.value,
        "pid": _PID,
        "tid": track.tid,
        "ts": start_us,
        "dur": max(0.0, round(clock.us(span.end_s) - start_us, 3)),
        "args": known,
        **({"cname": "terrible"} if span.critical else {}),
    }


def _arrows(tracks: Sequence[_Track], clock: _Clock) -> Iterator[_ChromeEvent]:
    steps = [(span, track.tid) for track in tracks for span in track.spans if span.parent is None]
    placed: Mapping[str, tuple[Span, int]] = {span.name: (span, tid) for span, tid in steps}
    number = 0
    for span, tid in steps:
        for before, before_tid in (placed[name] for name in span.after if name in placed):
            number += 1
            arrow = {"name": "after", "cat": "after", "id": number, "pid": _PID}
            # An arrow leaves from within its slice: its very end already belongs to the next one.
            leaves_us = max(clock.us(before.start_s), clock.us(before.end_s) - 1.0)
            yield {**arrow, "ph": "s", "tid": before_tid, "ts": min(leaves_us, clock.us(span.start_s))}
            yield {**arrow, "ph": "f", "bp": "e", "tid": tid, "ts": clock.us(span.start_s)}


def _counters(trace: Trace, clock: _Clock) -> Iterator[_ChromeEvent]:
    """Bytes moved so far by all steps together, and how fast."""
    moved: list[tuple[float, int, str]] = sorted(
        (at_s, count, step.name) for step in trace.steps for at_s, count in step.progress
    )
    so_far: dict[str, int] = {}
    last_s, last_total = 0.0, 0
    for at_s, count, name in moved:
        so_far[name] = count
        total = sum(so_far.values())
        yield _counter("MB so far", at_s, total / 1e6, clock)
        if at_s > last_s:
            yield _counter("MB/s", at_s, max(0, total - last_total) / (at_s - last_s) / 1e6, clock)
            last_s, last_total = at_s, total
    if moved:
        yield _counter("MB/s", moved[-1][0], 0.0, clock)


def _counter(name: str, at_s: float, figure: float, clock: _Clock) -> _ChromeEvent:
    return {
        "ph": "C",
        "name": name,
        "pid": _PID,
        "tid": 0,
        "ts": clock.us(at_s),
        "args": {name: round(figure, 3)},
    }


def _instant(name: str, at_s: float, clock: _Clock) -> _ChromeEvent:
    return {"ph": "i", "s": "g", "name": name, "pid": _PID, "tid": 0, "ts": clock.us(at_s), "args": {}}


def _moments(trace: Trace) -> dict[str, float]:
    return {
        name.removesuffix("_s"): at_s
        for name, at_s in record.to_data(trace.anchors).items()
        if at_s is not None
    }
