"""What a rule may look at, and the questions that rules ask of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from coldstart_sdk.events import Outcome
from coldstart_sdk.explain.graph import QUOTA, Graph, Stretch
from coldstart_sdk.plan import Plan, StepKind
from coldstart_sdk.recorder.names import DOWNLOAD
from coldstart_sdk.trace import metrics
from coldstart_sdk.trace.build import declared
from coldstart_sdk.trace.model import Request, Span, Trace
from coldstart_sdk.trace.path import before_ready

REQUEST = "request"
"""The parent of what was recorded while a request was answered."""


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """One start, and where they are known its plan and its surroundings."""

    trace: Trace
    plan: Plan | None = None
    packages: Mapping[str, int] = field(default_factory=dict)
    """Bytes of each installed distribution, by its top-level packages: `torch/torchgen`."""
    link_bytes_per_s: float | None = None
    """What the network was measured to bring, by somebody else."""

    @cached_property
    def graph(self) -> Graph:
        return Graph.of(self.trace)

    @cached_property
    def steps(self) -> tuple[Span, ...]:
        """Those that READY could have waited for, and that ended well."""
        return tuple(step for step in before_ready(self.trace) if step.outcome is Outcome.DONE)

    @cached_property
    def declared(self) -> Mapping[str, str]:
        """What the plan said of idle times and snapshots; empty of a trace that does not tell."""
        return declared(self.plan) if self.plan else self.trace.declared

    @property
    def backend(self) -> str | None:
        return self.plan.backend if self.plan else self.trace.backend

    def of_kind(self, *kinds: StepKind) -> tuple[Span, ...]:
        return tuple(step for step in self.steps if kind_of(step) in {kind.value for kind in kinds})

    def not_of_kind(self, *kinds: StepKind) -> tuple[Span, ...]:
        return tuple(step for step in self.steps if kind_of(step) not in {kind.value for kind in kinds})

    def parts(self, owner: Span | str, kind: str | None = None) -> tuple[Span, ...]:
        """What was seen inside a step, or inside requests: `import:numpy` is of kind `import`."""
        name = owner if isinstance(owner, str) else owner.name
        within = (float("-inf"), float("inf")) if isinstance(owner, str) else (owner.start_s, owner.end_s)
        return tuple(
            part
            for part in self.trace.spans
            if part.parent == name
            and (kind is None or kind_of(part) == kind)
            and part.start_s < within[1]
            and part.end_s > within[0]
        )

    def fact(self, name: str) -> str | None:
        return self.trace.machine.get(name)

    def number(self, name: str) -> float | None:
        try:
            return float(self.trace.machine[name])
        except (KeyError, ValueError):
            return None

    def words(self, name: str) -> tuple[str, ...]:
        """A fact that is a list."""
        return tuple(word for word in (self.fact(name) or "").split(",") if word)

    @property
    def cores(self) -> float | None:
        return self.number(QUOTA) or self.number("cores")

    @property
    def answered(self) -> tuple[Request, ...]:
        """Requests that were answered, in order."""
        done = (request for request in self.trace.requests if request.outcome is Outcome.DONE)
        return tuple(sorted(done, key=lambda request: request.end_s))

    def downloaded_s(self, within: Stretch) -> float:
        """How long requests downloaded in that stretch: a cost of its own, whatever else was slow there."""
        parts = stretches(self.parts(REQUEST, DOWNLOAD))
        clipped = ((max(start, within[0]), min(end, within[1])) for start, end in parts)
        return metrics.union_s((start, end) for start, end in clipped if end > start)

    def worked_s(self, request: Request) -> float:
        """How long it took once both it and the worker were there."""
        return metrics.worked_s(self.trace, request)


def kind_of(span: Span) -> str:
    return span.name.partition(":")[0]


def what_of(span: Span) -> str:
    """The second half of its name."""
    return span.name.partition(":")[2]


def outermost(parts: Iterable[Span]) -> tuple[Span, ...]:
    """Those that lie in none of the others."""
    kept: list[Span] = []
    for part in sorted(parts, key=lambda part: (part.start_s, -part.end_s)):
        if not kept or part.end_s > kept[-1].end_s:
            kept.append(part)
    return tuple(kept)


def stretches(parts: Iterable[Span]) -> tuple[Stretch, ...]:
    return tuple((part.start_s, part.end_s) for part in parts)


def lasted_s(parts: Iterable[Span]) -> float:
    """How long at least one of them ran."""
    return metrics.union_s(stretches(parts))


def without(whole: Iterable[Stretch], gone: Iterable[Stretch]) -> tuple[Stretch, ...]:
    """What is left of the stretches."""
    left = list(whole)
    for start, end in gone:
        left = [
            piece
            for begin, stop in left
            for piece in ((begin, min(stop, start)), (max(begin, end), stop))
            if piece[1] > piece[0]
        ]
    return tuple(left)


def until_first_byte_s(fetch: Span) -> float:
    """How long it asked and connected; told from how fast it was once bytes came, 0 where it tells none."""
    whole = fetch.bytes or 0
    first = next(((at_s, count) for at_s, count in fetch.progress if count), None)
    if first is None or first[1] >= whole or first[0] >= fetch.end_s:
        return 0.0
    rate = (whole - first[1]) / (fetch.end_s - first[0])
    return max(0.0, first[0] - first[1] / rate - fetch.start_s)
