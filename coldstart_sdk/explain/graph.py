"""A start as a graph that can be played again with something changed. Pure.

Each step begins when what held it up has ended, plus the delay that was seen; played unchanged it is ready at
the very moment that it was. Steps of a lane that runs one at a time keep their order, so that no change can
make the start longer by shuffling it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from coldstart_sdk.events import Resource
from coldstart_sdk.plan import Lane
from coldstart_sdk.trace import metrics
from coldstart_sdk.trace.model import CORES, Span, Trace
from coldstart_sdk.trace.path import BEGINNING, before_ready

Stretch: TypeAlias = tuple[float, float]

QUOTA = "cpu_quota"
"""Machine fact: the cores that this process was granted, which may be fewer than it sees."""

_ONE_AT_A_TIME = frozenset({Lane.MODEL, Lane.IMPORTS})
_SLACK_S = 2e-6


@dataclass(frozen=True, kw_only=True)
class Cut:
    """These stretches of the step's time would not be spent."""

    step: str
    stretches: tuple[Stretch, ...]


@dataclass(frozen=True, kw_only=True)
class Less:
    """So many seconds of the step, spread all over it, would not be spent."""

    step: str
    seconds: float


@dataclass(frozen=True, kw_only=True)
class AtMost:
    """The step would take no longer than this."""

    step: str
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Takes:
    """The step would take just this long, be it more or less than it took."""

    step: str
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Drop:
    """READY would not wait for the step: it is left out, or put after it."""

    step: str


@dataclass(frozen=True, kw_only=True)
class Free:
    """The step would not wait for that other one."""

    step: str
    of: str


@dataclass(frozen=True, kw_only=True)
class Move:
    """So much of the step would be a step of its own, on the lane of imports or on a thread."""

    step: str
    name: str
    stretches: tuple[Stretch, ...]
    lane: Lane
    before: tuple[str, ...] = ()
    """Who waits for that; without any the step itself does."""


Change: TypeAlias = Cut | Less | AtMost | Takes | Drop | Free | Move


@dataclass(frozen=True, kw_only=True)
class Node:
    """One step, as long as it was, and what was changed about it."""

    name: str
    start_s: float
    end_s: float
    after: tuple[str, ...]
    delay_s: float
    """From when the last of those had ended to its start."""
    lane: Lane | None
    resource: Resource
    bytes: int
    cpu_s: float
    beginning: bool = False
    cut: tuple[Stretch, ...] = ()
    less_s: float = 0.0
    at_most_s: float = float("inf")
    takes_s: float | None = None

    @property
    def was_s(self) -> float:
        return self.end_s - self.start_s

    @property
    def lasts_s(self) -> float:
        """How long it takes now that it was changed."""
        if self.takes_s is not None:
            return self.takes_s
        gone_s = metrics.union_s(_within(self.cut, (self.start_s, self.end_s)))
        return max(0.0, min(self.was_s - gone_s - self.less_s, self.at_most_s))

    @property
    def works_s(self) -> float:
        """Its CPU time, in proportion."""
        return self.cpu_s * min(1.0, self.lasts_s / self.was_s) if self.was_s > 0 else 0.0


@dataclass(frozen=True, kw_only=True)
class Graph:
    """The steps that READY waited for."""

    nodes: Mapping[str, Node]
    """By the order in which they started."""
    tail_s: float
    """From the end of the last one to READY."""
    was_s: float
    """When it really was ready."""
    cores: float | None

    @classmethod
    def of(cls, trace: Trace) -> Graph:
        """The graph of a start that was ready."""
        ready_s = trace.anchors.ready_s
        assert ready_s is not None  # noqa: S101 - whoever asks has looked
        spans = sorted(_latest_of_each(before_ready(trace)), key=lambda span: (span.start_s, span.end_s))
        nodes: dict[str, Node] = {}
        for span in spans:
            nodes[span.name] = _node(span, nodes)
        last_s = max((node.end_s for node in nodes.values()), default=0.0)
        return cls(nodes=nodes, tail_s=max(0.0, ready_s - last_s), was_s=ready_s, cores=_cores(trace))

    def ready_s(self) -> float:
        """When it would be ready."""
        path_s = max(self.ends().values(), default=0.0) + self.tail_s
        return max(path_s, min(self._floor_s(), self.was_s))

    def ends(self) -> dict[str, float]:
        """When each step would end."""
        ends: dict[str, float] = {}
        for node in self.nodes.values():
            begins_s = max((ends[name] for name in node.after if name in ends), default=0.0)
            ends[node.name] = begins_s + node.delay_s + node.lasts_s
        return ends

    def after(self, changes: Sequence[Change]) -> Graph:
        """The same start with these changes."""
        graph = self
        for change in changes:
            graph = graph._changed(change)
        return graph

    def saves_s(self, changes: Sequence[Change]) -> float:
        """How much sooner it would be ready."""
        return self.ready_s() - self.after(changes).ready_s()

    def lasts_s(self) -> float:
        """All steps together, whether READY waited for them or not."""
        return sum(node.lasts_s for node in self.nodes.values())

    def _changed(self, change: Change) -> Graph:  # noqa: PLR0911 - one return a form of change
        node = self.nodes.get(change.step)
        if node is None:
            return self
        match change:
            case Cut():
                return self._with(replace(node, cut=(*node.cut, *change.stretches)))
            case Less():
                return self._with(replace(node, less_s=node.less_s + change.seconds))
            case AtMost():
                return self._with(replace(node, at_most_s=min(node.at_most_s, change.seconds)))
            case Takes():
                return self._with(replace(node, takes_s=change.seconds))
            case Drop():
                return self._without(node)
            case Free():
                return self._with(self._freed(node, change.of))
            case Move():
                return self._moved(node, change)

    def _with(self, node: Node) -> Graph:
        return replace(self, nodes={**self.nodes, node.name: node})

    def _without(self, gone: Node) -> Graph:
        """What waited for it waits for what it had waited for."""
        rest = {
            name: replace(node, after=_instead(node.after, gone.name, gone.after))
            for name, node in self.nodes.items()
            if name != gone.name
        }
        return replace(self, nodes=rest)

    def _freed(self, node: Node, of: str) -> Node:
        before = self.nodes.get(of)
        if before is None or of not in node.after:
            return node
        return replace(node, after=_instead(node.after, of, before.after))

    def _moved(self, node: Node, change: Move) -> Graph:
        """A new step at the end of the lane's queue, which the old one waits for."""
        stretches = _within(change.stretches, (node.start_s, node.end_s))
        cut = replace(node, cut=(*node.cut, *stretches))
        lasts_s = node.lasts_s - cut.lasts_s
        if lasts_s <= 0:
            return self
        earlier = list(self.nodes.values())[: list(self.nodes).index(node.name)]
        queue = [other.name for other in earlier if other.lane is change.lane is Lane.IMPORTS]
        roots = [other.name for other in earlier if other.beginning]
        fresh = Node(
            name=change.name,
            start_s=0.0,
            end_s=lasts_s,
            after=tuple((queue or roots)[-1:]),
            delay_s=0.0,
            lane=change.lane,
            resource=node.resource,
            bytes=0,
            cpu_s=node.works_s - cut.works_s,
        )
        nodes = {**_inserted(self.nodes, fresh, before=cut.name), cut.name: cut}
        for name in change.before or (cut.name,):
            if waiting := nodes.get(name):
                nodes[name] = replace(waiting, after=(*waiting.after, fresh.name))
        return replace(self, nodes=nodes)

    def _floor_s(self) -> float:
        """No start is over before its CPU time on all cores is."""
        if not self.cores:
            return 0.0
        first_s = sum(node.lasts_s for node in self.nodes.values() if node.beginning)
        return first_s + sum(node.works_s for node in self.nodes.values() if not node.beginning) / self.cores


def _inserted(nodes: Mapping[str, Node], fresh: Node, *, before: str) -> Mapping[str, Node]:
    """In their order, with the fresh one just before that other."""
    found: dict[str, Node] = {}
    for name, node in nodes.items():
        if name == before:
            found[fresh.name] = fresh
        found[name] = node
    return found


def _node(span: Span, before: Mapping[str, Node]) -> Node:
    after = [name for name in span.after if name in before]
    after += [
        node.name
        for node in before.values()
        if node.name not in after
        and (
            (span.lane in _ONE_AT_A_TIME and node.lane is span.lane and node.end_s <= span.start_s + _SLACK_S)
            or (node.beginning and not after)
        )
    ]
    released_s = max((before[name].end_s for name in after), default=0.0)
    return Node(
        name=span.name,
        start_s=span.start_s,
        end_s=span.end_s,
        after=tuple(after),
        delay_s=max(0.0, span.start_s - released_s),
        lane=span.lane,
        resource=span.resource,
        bytes=span.bytes or 0,
        cpu_s=span.cpu_s or 0.0,
        beginning=span.name in BEGINNING,
    )


def _latest_of_each(spans: Sequence[Span]) -> tuple[Span, ...]:
    """A name that ran twice stands for its last run."""
    return tuple({span.name: span for span in spans}.values())


def _instead(names: Sequence[str], gone: str, by: Sequence[str]) -> tuple[str, ...]:
    kept = [name for name in names if name != gone]
    return tuple(dict.fromkeys((*kept, *by) if gone in names else kept))


def _within(stretches: Sequence[Stretch], whole: Stretch) -> tuple[Stretch, ...]:
    """What of them lies in the whole."""
    clipped = ((max(start, whole[0]), min(end, whole[1])) for start, end in stretches)
    return tuple((start, end) for start, end in clipped if end > start)


def _cores(trace: Trace) -> float | None:
    for known in (trace.machine.get(fact, "") for fact in (QUOTA, CORES)):
        if known.replace(".", "", 1).isdigit():
            return float(known)
    return None
