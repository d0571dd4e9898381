"""What the first call of each endpoint costs by the shape of its input: in a hook, and in a first request."""

from __future__ import annotations

import shlex
import statistics
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from coldstart_sdk.cli import inputs
from coldstart_sdk.cli.console import Console
from coldstart_sdk.cli.measure import Call, Requests
from coldstart_sdk.cli.spread import Spread, time, times
from coldstart_sdk.errors import UsageError
from coldstart_sdk.events import Outcome
from coldstart_sdk.recorder.endpoints import shape
from coldstart_sdk.recorder.names import CALL, REQUEST
from coldstart_sdk.spec import Spec
from coldstart_sdk.trace import metrics
from coldstart_sdk.trace.model import Request, Span, Trace

HEADS = ("endpoint and shape", "first in a hook", "first request", "warm", "penalty")


@dataclass(frozen=True, kw_only=True)
class Shape:
    """One endpoint with input of one shape, in one state of the machine."""

    state: str
    variant: str
    shape: str
    """`speak(text=12)`: lengths, values of numbers."""
    hook: str | None
    """The step that called it first, where one did."""
    hooked_s: Spread | None
    """That call."""
    first_s: Spread | None
    """The first request of this shape; None where none was sent."""
    warm_s: Spread | None
    penalty: Spread | None
    """The first request over the median of the later ones, start by start."""


@dataclass
class _Seen:
    hook: str | None = None
    hooked_s: list[float] = field(default_factory=list)
    first_s: list[float] = field(default_factory=list)
    warm_s: list[float] = field(default_factory=list)
    penalty: list[float] = field(default_factory=list)


class Shapes:
    """Those of all starts of one kind."""

    def __init__(self) -> None:
        self._seen: defaultdict[str, _Seen] = defaultdict(_Seen)

    def add(self, trace: Trace, requests: Requests | None) -> None:
        for name, call in _hooked(trace).items():
            self._seen[name].hook = call.parent
            self._seen[name].hooked_s.append(call.duration_s)
        if requests is None:
            return
        for kind, answered in zip((requests, *requests.also), turns(trace, requests), strict=True):
            if not answered:
                continue
            seen = self._seen[_name(kind, answered[0], trace)]
            first, *later = answered
            seen.first_s.append(metrics.worked_s(trace, first))
            seen.warm_s += [request.duration_s for request in later]
            if (penalty := metrics.penalty(trace, answered)) is not None:
                seen.penalty.append(penalty)

    def lines(self, state: str, variant: str) -> Iterator[Shape]:
        """The worst first request first; what only hooks called is last."""
        worst = sorted(self._seen.items(), key=lambda pair: -_median(pair[1].first_s))
        for name, seen in worst:
            yield Shape(
                state=state,
                variant=variant,
                shape=name,
                hook=seen.hook,
                hooked_s=Spread.of(seen.hooked_s),
                first_s=Spread.of(seen.first_s),
                warm_s=Spread.of(seen.warm_s),
                penalty=Spread.of(seen.penalty),
            )


def others(spec: Spec, given: Sequence[str], first: Call) -> tuple[Call, ...]:
    """`[ENDPOINT] NAME=VALUE …`, quoted as in a shell; without an endpoint it is that of the first."""
    return tuple(_other(spec, text, first) for text in given)


def turns(trace: Trace, requests: Requests) -> list[list[Request]]:
    """The answered requests of each kind: they were sent in turns, one after another."""
    answered = [request for request in trace.requests if request.outcome is Outcome.DONE]
    kinds = 1 + len(requests.also)
    return [answered[kind::kinds] for kind in range(kinds)]


def table(shapes: Sequence[Shape], console: Console) -> str:
    """Where and how are named only where there is more than one."""
    named = {name: len({getattr(line, name) for line in shapes}) > 1 for name in ("state", "variant")}
    left = [name for name, many in named.items() if many]
    rows = [
        (
            *(getattr(line, name) for name in left),
            line.shape,
            f"{time(line.hooked_s)} {line.hook}" if line.hook else "",
            time(line.first_s),
            time(line.warm_s),
            times(line.penalty),
        )
        for line in shapes
    ]
    heads = [*("hooks" if name == "variant" else name for name in left), *HEADS]
    used = [at for at in range(len(heads)) if any(row[at] for row in rows)]
    return console.table([[row[at] for at in used] for row in rows], heads=[heads[at] for at in used])


def _other(spec: Spec, text: str, first: Call) -> Call:
    try:
        words = shlex.split(text)
    except ValueError as exc:
        raise UsageError(
            f"--also cannot be read: {exc}", fix="Close the quotes: --also 'text=\"a b\"'."
        ) from exc
    name = words.pop(0) if words and "=" not in words[0] else None
    endpoint = inputs.endpoint_of(spec, name) if name else first.endpoint
    return Call(endpoint=endpoint, arguments=inputs.arguments(endpoint, words))


def _hooked(trace: Trace) -> dict[str, Span]:
    """The first call of each shape that a hook made."""
    found: dict[str, Span] = {}
    for span in trace.spans:
        kind, _, name = span.name.partition(":")
        if kind == CALL and span.parent not in {None, REQUEST}:
            found.setdefault(name, span)
    return found


def _name(call: Call, request: Request, trace: Trace) -> str:
    """As the worker saw it, else as it was sent."""
    for span in trace.spans:
        kind, _, name = span.name.partition(":")
        within = request.start_s <= span.start_s and span.end_s <= request.end_s
        if kind == CALL and span.parent == REQUEST and within:
            return name
    return shape(call.endpoint, (), dict(call.arguments))


def _median(points: Sequence[float]) -> float:
    return statistics.median(points) if points else 0.0
