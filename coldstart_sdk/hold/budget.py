"""What a start may cost: `ready=15s,first=1.1x,bytes=2GB,load:load=3s`."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from coldstart_sdk.declare import amounts
from coldstart_sdk.errors import Problem, UsageError
from coldstart_sdk.trace import figures, metrics
from coldstart_sdk.trace.model import Trace

SECONDS, TIMES, BYTES, SHARE = "s", "x", "B", "%"
_FORM = "Write it as ready=15s,first=1.1x,ttfb=20s,bytes=2GB or load:load=3s."


@dataclass(frozen=True, kw_only=True)
class Limit:
    """The most that one figure may be."""

    name: str
    most: float
    unit: str


@dataclass(frozen=True, kw_only=True)
class Budget:
    """Every limit that a start is held to."""

    limits: tuple[Limit, ...]


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What a start came to beside one limit."""

    limit: Limit
    was: float | None
    """None: nobody saw it, and so nobody can vouch for it."""

    @property
    def kept(self) -> bool:
        return self.was is not None and self.was <= self.limit.most

    @property
    def word(self) -> str:
        """`kept`, `over`, or `unseen`."""
        return "kept" if self.kept else "unseen" if self.was is None else "over"

    def __str__(self) -> str:
        was = "was not seen" if self.was is None else f"was {spelled(self.was, self.limit.unit)}"
        return f"{self.limit.name} {was}, the budget is {spelled(self.limit.most, self.limit.unit)}"


def budget(text: str) -> Budget:
    """The budget that the text spells; every mistake in it at once."""
    problems: list[Problem] = []
    limits: list[Limit] = []
    for item in filter(None, (part.strip() for part in text.split(","))):
        name, equals, amount = item.rpartition("=")
        try:
            limits.append(_limit(name.strip(), amount.strip() if equals else ""))
        except ValueError as wrong:
            problems.append(Problem(message=f"--budget {item[:60]}: {wrong}", fix=_FORM))
    if problems or not limits:
        raise UsageError.of(tuple(problems) or (Problem(message="the budget is empty", fix=_FORM),))
    return Budget(limits=tuple(limits))


def judge(trace: Trace, held: Budget) -> Iterator[Verdict]:
    """Each limit beside what was seen."""
    for limit in held.limits:
        yield Verdict(limit=limit, was=_figure(trace, limit))


def spelled(figure: float, unit: str) -> str:
    if unit == SECONDS:
        return figures.duration(figure)
    if unit == BYTES:
        return figures.size(figure)
    return f"{figure:.3g} x" if unit == TIMES else figures.percent(figure)


def _limit(name: str, amount: str) -> Limit:
    if not name:
        raise ValueError("it names no figure")
    if name not in _KNOWN and ":" not in name:
        near = difflib.get_close_matches(name, _KNOWN, n=1)
        raise ValueError(f"there is no figure {name!r}" + (f"; did you mean {near[0]}?" if near else ""))
    most, unit = _amount(amount)
    if unit not in (_KNOWN.get(name) or {SECONDS}):
        raise ValueError(f"{name} is not counted in {unit!r}")
    return Limit(name=name, most=most, unit=unit)


def _amount(text: str) -> tuple[float, str]:
    if times := re.fullmatch(r"(\d+(?:\.\d+)?)\s*x", text):
        return float(times[1]), TIMES
    if share := re.fullmatch(r"(\d+(?:\.\d+)?)\s*%", text):
        return float(share[1]) / 100, SHARE
    if (seconds := amounts.seconds(text)) is not None:
        return seconds, SECONDS
    if (size := amounts.size_bytes(text)) is not None:
        return float(size), BYTES
    raise ValueError(f"{text[:20]!r} is no amount")


def _figure(trace: Trace, limit: Limit) -> float | None:
    if limit.name in _KNOWN:
        return _KNOWN[limit.name][limit.unit](trace)
    steps = [step for step in trace.steps if step.name == limit.name]
    return steps[-1].duration_s if steps else None


def _first_s(trace: Trace) -> float | None:
    answer = metrics.first_answer(trace)
    if answer is None:
        return None
    return answer.end_s - max(answer.start_s, trace.anchors.ready_s or answer.start_s)


def _bytes(trace: Trace) -> float | None:
    return float(sum(step.bytes or 0 for step in trace.steps))


_KNOWN: Mapping[str, Mapping[str, Callable[[Trace], float | None]]] = {
    "ready": {SECONDS: metrics.ready_s},
    "first": {SECONDS: _first_s, TIMES: metrics.first_request_penalty},
    "ttfb": {SECONDS: metrics.cold_first_byte_s},
    "warm": {SECONDS: lambda trace: metrics.four_times(trace).warm_s},
    "load": {SECONDS: lambda trace: metrics.four_times(trace).model_load_s},
    "bytes": {BYTES: _bytes},
}
"""Figures that a budget may name, each with the units that it is counted in."""
