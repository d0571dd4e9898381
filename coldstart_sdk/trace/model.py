"""One start as data: where its time went, and on what.

Every moment is in seconds after the process started, read from the kernel; moments before it are negative.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import field

from coldstart_sdk import record
from coldstart_sdk.errors import UsageError
from coldstart_sdk.events import Outcome, Resource, State
from coldstart_sdk.frozen import dataclass
from coldstart_sdk.plan import Lane, Note, Stage

FORMAT = 1

CORES = "cores"
"""Machine fact: how many cores this process may use; a quota counts."""
GPU_MEMORY = "gpu_memory_used_bytes"
"""Machine fact: bytes in use on the device, seen last."""
IDLE, LEAST, SNAPSHOT = "idle_s", "least_workers", "snapshot"
"""What of a plan a trace keeps: how long a worker idles, how many are never let go, what is kept of one."""
STILL_RUNNING = "still running at the last event"
"""Reason of a span whose end nobody saw."""


@dataclass(frozen=True, kw_only=True)
class Anchors:
    """The moments that other clocks can be held against; None where nobody saw one."""

    request_s: float | None = None
    container_s: float | None = None
    process_s: float | None = None
    """0, or None when the process's start could not be read and time counts from the first line of ours."""
    sdk_s: float | None = None
    ready_s: float | None = None
    first_byte_s: float | None = None


@dataclass(frozen=True, kw_only=True)
class Tried:
    """One tier that was asked for a weight."""

    tier: str
    hit: bool
    reason: str | None = None


@dataclass(frozen=True, kw_only=True)
class Span:
    """A stretch of time with a name: a step, a part of one, or what came before the first."""

    name: str
    start_s: float
    end_s: float
    resource: Resource
    outcome: Outcome = Outcome.DONE
    reason: str | None = None
    where: str | None = None
    fix: str | None = None
    after: tuple[str, ...] = ()
    """Spans that had to end first."""
    parent: str | None = None
    """The step that this is a part of."""
    lane: Lane | None = None
    stage: Stage | None = None
    required: bool = True
    bytes: int | None = None
    progress: tuple[tuple[float, int], ...] = ()
    """(moment, bytes so far), thinned."""
    tier: str | None = None
    """Who served the bytes; several are joined by `+`."""
    tried: tuple[Tried, ...] = ()
    cpu_s: float | None = None
    counts: Mapping[str, float] = field(default_factory=dict)
    """What was counted inside it; `recorder` says what there is."""
    critical: bool = False
    """Whether READY came when it did because of this."""

    @property
    def duration_s(self) -> float:
        return self.end_s - self.start_s

    @property
    def ending(self) -> str:
        """Its outcome in words; a step that nobody ended is running, not cancelled."""
        if self.outcome is Outcome.CANCELLED and self.reason == STILL_RUNNING:
            return "still running"
        return self.outcome.value.replace("_", " ")


@dataclass(frozen=True, kw_only=True)
class Request:
    """One request, from its acceptance to the end of its answer."""

    id: str
    endpoint: str
    start_s: float
    end_s: float
    queued_s: float
    first_s: float | None
    """From acceptance to the first byte or chunk of the answer; None if there was none."""
    outcome: Outcome
    reason: str | None = None

    @property
    def duration_s(self) -> float:
        return self.end_s - self.start_s


@dataclass(frozen=True, kw_only=True)
class Trace:
    """Everything that is known of one start."""

    format: int = FORMAT
    name: str | None
    spec_digest: str | None
    backend: str | None
    sdk: str | None
    """Version of coldstart that planned it."""
    state: State
    """The last one that was reached."""
    reason: str | None = None
    """Why it failed."""
    where: str | None = None
    fix: str | None = None
    degraded: tuple[str, ...] = ()
    """Optional steps that did not end well."""
    started_at: str | None = None
    """Wall-clock time of the process's start: ISO 8601, UTC."""
    end_s: float
    """The last moment that is known."""
    anchors: Anchors
    machine: Mapping[str, str]
    spans: tuple[Span, ...]
    """By start."""
    requests: tuple[Request, ...] = ()
    never_started: tuple[str, ...] = ()
    """Steps that a start which did not get to READY owed."""
    notes: tuple[Note, ...] = ()
    declared: Mapping[str, str] = field(default_factory=dict)
    """What of its plan explains it: IDLE, LEAST, SNAPSHOT."""

    @property
    def steps(self) -> tuple[Span, ...]:
        """The spans that are not parts of another."""
        return tuple(span for span in self.spans if span.parent is None)

    def to_json(self) -> str:
        return json.dumps(record.to_data(self), indent=1, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str, *, where: str | None = None) -> Trace:
        """The trace that `to_json` wrote; another format is refused before anything else of it is read."""
        try:
            data = json.loads(text)
        except ValueError as exc:
            raise _unreadable(f"it is not JSON: {exc}", where) from exc
        if not isinstance(data, dict) or "format" not in data or "spans" not in data:
            raise _unreadable("it has no format and no spans", where)
        if data["format"] != FORMAT:
            raise UsageError(
                f"this trace has format {data['format']!r}; this version of coldstart reads format {FORMAT}",
                fix="Open it with the version of coldstart that wrote it, or record it again.",
                where=where,
            )
        try:
            return record.from_data(cls, {"declared": {}, **data})  # which the first traces had not
        except ValueError as exc:
            raise _unreadable(str(exc), where) from exc


def _unreadable(why: str, where: str | None) -> UsageError:
    return UsageError(
        f"this is not a trace: {why}",
        fix="Name a file that `coldstart run FILE --trace PATH` wrote.",
        where=where,
    )
