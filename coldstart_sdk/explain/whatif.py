"""What a start would be under other circumstances: the same graph, played with them.

An answer says what it took for granted. What no trace can tell, such as how long a platform restores, is
left out and named.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from coldstart_sdk.errors import UsageError
from coldstart_sdk.events import Resource
from coldstart_sdk.explain.evidence import Evidence, lasted_s, outermost, stretches, until_first_byte_s
from coldstart_sdk.explain.graph import Change, Cut, Drop, Takes
from coldstart_sdk.plan import StepKind
from coldstart_sdk.recorder.names import MOVE, READ
from coldstart_sdk.spec import Snapshot
from coldstart_sdk.trace import figures
from coldstart_sdk.trace.model import Span
from coldstart_sdk.trace.path import INTERPRETER, SDK

_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_BEFORE_CPU_CUT = frozenset({"fetch", "import", "construct", "load", INTERPRETER, SDK})
_AFTER_GPU_CUT = frozenset({"reload", "restored", "canary"})


@dataclass(frozen=True, kw_only=True)
class Supposed:
    """Other circumstances."""

    net_bytes_per_s: float | None = None
    gpu_fetch: bool = False
    """Weights go to the device as they come, instead of after all of them have."""
    snapshot: Snapshot | None = None
    without: tuple[str, ...] = ()
    """Steps by name or kind."""


@dataclass(frozen=True, kw_only=True)
class Otherwise:
    """When it would have been ready."""

    ready_s: float
    was_s: float
    suppositions: tuple[str, ...]
    """What was changed, and what was taken for granted."""

    @property
    def saves_s(self) -> float:
        return self.was_s - self.ready_s


def suppose(evidence: Evidence, supposed: Supposed) -> Otherwise:
    """The same start under these circumstances."""
    graph = evidence.graph
    said: list[str] = []
    for change in (_without, _snapshot, _net, _gpu_fetch):
        changes, words = change(evidence, supposed)
        graph = graph.after(changes)
        said += words
    return Otherwise(ready_s=graph.ready_s(), was_s=evidence.graph.was_s, suppositions=tuple(said))


def before_cut(evidence: Evidence) -> tuple[str, ...]:
    """What a CPU snapshot has behind it."""
    return tuple(name for name in evidence.graph.nodes if name.partition(":")[0] in _BEFORE_CPU_CUT)


def bytes_per_s(text: str) -> float:
    """`10Gbit`, `900Mbit/s`, `1.2GB/s`, `80MB`."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(bit|b|B)(?:/s|ps)?", text.strip(), re.IGNORECASE)
    if not match or float(match[1]) <= 0:
        raise UsageError(f"{text[:40]!r} is not a speed", fix="Write 10Gbit, 900Mbit/s or 1.2GB/s.")
    size = 1 if match[3] in {"B", "Byte"} else 8
    return float(match[1]) * _UNITS[match[2].lower()] / size


_Made = tuple[Sequence[Change], Sequence[str]]


def _without(evidence: Evidence, supposed: Supposed) -> _Made:
    gone: list[str] = []
    for word in supposed.without:
        named = [name for name in evidence.graph.nodes if word in {name, name.partition(":")[0]}]
        if not named:
            have = ", ".join(evidence.graph.nodes)
            raise UsageError(f"no step is called {word!r}", fix=f"Name one of these: {have}.")
        gone += named
    return [Drop(step=name) for name in gone], [f"without {name}" for name in gone]


def _snapshot(evidence: Evidence, supposed: Supposed) -> _Made:
    if supposed.snapshot in {None, Snapshot.NONE, Snapshot.AUTO}:
        return (), ()
    names = evidence.graph.nodes
    if supposed.snapshot is Snapshot.CPU:
        gone = [*before_cut(evidence)]
        said = "load is on the CPU, and the move to the device in hook.restored"
    else:
        gone = [name for name in names if name.partition(":")[0] not in _AFTER_GPU_CUT]
        said = "everything but restored and the canary is in the snapshot"
    return (
        [Drop(step=name) for name in gone],
        [f"snapshot {supposed.snapshot.value}: {said}; the platform's own restore comes on top"],
    )


def _net(evidence: Evidence, supposed: Supposed) -> _Made:
    """Fetches that run at once share the link."""
    rate = supposed.net_bytes_per_s
    if rate is None:
        return (), ()
    fetches = [
        step for step in evidence.of_kind(StepKind.FETCH) if step.resource is Resource.NET and step.bytes
    ]
    changes = [
        Takes(step=step.name, seconds=until_first_byte_s(step) + _shared_bytes(step, fetches) / rate)
        for step in fetches
    ]
    return changes, [f"the link brings {figures.speed(rate, 1)}, and the origin as much"]


def _shared_bytes(step: Span, fetches: Sequence[Span]) -> float:
    """Its own, and what of the others crosses the link meanwhile: no more of each than it has itself."""
    own = step.bytes or 0
    beside = (
        min(own, other.bytes or 0)
        for other in fetches
        if other is not step and other.start_s < step.end_s and other.end_s > step.start_s
    )
    return own + sum(beside)


def _gpu_fetch(evidence: Evidence, supposed: Supposed) -> _Made:
    if not supposed.gpu_fetch:
        return (), ()
    changes: list[Change] = []
    loads = evidence.of_kind(StepKind.LOAD)
    unseen = []
    for load in loads:
        moving = outermost((*evidence.parts(load, READ), *evidence.parts(load, MOVE)))
        if lasted_s(moving):
            changes.append(Cut(step=load.name, stretches=stretches(moving)))
        else:
            unseen.append(load.name)
    said = ["tensors are read and moved to the device while they are fetched"]
    if unseen:
        said.append(f"what {', '.join(unseen)} reads and moves was not seen, and is counted in full")
    return changes, said
