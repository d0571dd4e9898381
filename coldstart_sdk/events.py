"""What happened, one frozen record each.

Time is seconds on the system's boot clock, so that a process's own start, read from the kernel, lies on the
same axis. A worker emits events; a supervisor, a log, a page and a trace read them. None of them talks
back.
"""

from __future__ import annotations

import enum
import time
from collections.abc import Callable, Mapping
from typing import ClassVar, TypeAlias

from coldstart_sdk.frozen import dataclass


class Outcome(str, enum.Enum):
    """How a step or a request ended."""

    DONE = "done"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    CANCELLED = "cancelled"
    SKIPPED = "skipped"
    REFUSED = "refused"


class State(str, enum.Enum):
    """Where a worker is in its life."""

    STARTING = "starting"
    READY = "ready"
    DRAINING = "draining"
    STOPPED = "stopped"
    FAILED = "failed"


class Anchor(str, enum.Enum):
    """The moments of a start that other clocks can be held against."""

    REQUEST = "request"
    CONTAINER = "container"
    PROCESS = "process"
    SDK = "sdk"
    """The first line of ours."""
    READY = "ready"
    FIRST_BYTE = "first_byte"


class Resource(str, enum.Enum):
    """What a span of time was spent on."""

    NET = "net"
    CPU = "cpu"
    GPU = "gpu"
    DISK = "disk"
    WAIT = "wait"


@dataclass(frozen=True, kw_only=True)
class _Event:
    tagged: ClassVar[bool] = True
    at_s: float


@dataclass(frozen=True, kw_only=True)
class AnchorSet(_Event):
    """A moment that a start is measured from or to."""

    anchor: Anchor


@dataclass(frozen=True, kw_only=True)
class FactsSeen(_Event):
    """What this machine is: cores, quota, memory, GPU, driver, versions."""

    facts: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class StepStarted(_Event):
    step: str


@dataclass(frozen=True, kw_only=True)
class StepProgress(_Event):
    """Bytes so far of a step that moves bytes; `total_bytes` is None while nobody knows."""

    step: str
    done_bytes: int
    total_bytes: int | None


@dataclass(frozen=True, kw_only=True)
class StepEnded(_Event):
    step: str
    outcome: Outcome
    reason: str | None = None
    """Why it did not end `done`, safe to show."""
    where: str | None = None
    fix: str | None = None
    cpu_s: float | None = None
    """CPU time of the step's own thread, where it had one."""


@dataclass(frozen=True, kw_only=True)
class SpanRecorded(_Event):
    """A stretch of time inside a step, seen from within: an import, a file, a kernel."""

    step: str
    name: str
    resource: Resource
    end_s: float
    bytes: int | None = None
    tier: str | None = None


@dataclass(frozen=True, kw_only=True)
class Counted(_Event):
    """What was counted inside a step, too small or too many for spans: page faults, sources compiled."""

    step: str
    counts: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class TierTried(_Event):
    """One place that was asked for a weight; a miss is an event, not a failure."""

    step: str
    tier: str
    hit: bool
    reason: str | None = None


@dataclass(frozen=True, kw_only=True)
class StateChanged(_Event):
    state: State
    reason: str | None = None
    where: str | None = None
    fix: str | None = None
    degraded: tuple[str, ...] = ()
    """Optional steps that did not end well."""


@dataclass(frozen=True, kw_only=True)
class RequestEnded(_Event):
    id: str
    endpoint: str
    started_s: float
    """When it was accepted."""
    queued_s: float
    first_s: float | None
    """From acceptance to the first byte or chunk of the answer; None if there was none."""
    outcome: Outcome
    reason: str | None = None


@dataclass(frozen=True, kw_only=True)
class Noted(_Event):
    """Something a person should know that is neither a step nor a state."""

    message: str
    step: str | None = None


Event: TypeAlias = (
    AnchorSet
    | FactsSeen
    | StepStarted
    | StepProgress
    | StepEnded
    | SpanRecorded
    | Counted
    | TierTried
    | StateChanged
    | RequestEnded
    | Noted
)
Emit: TypeAlias = Callable[[Event], None]


def now() -> float:
    """Seconds on the boot clock; where a system has none, on the monotonic one."""
    return time.clock_gettime(_CLOCK)


def ignore(event: Event) -> None:
    """Emit to nobody."""


_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
