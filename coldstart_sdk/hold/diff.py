"""Two starts held against each other: what READY came later for, leg by leg.

The legs of a critical path fill the time to READY without a gap, so the differences of the legs add up to the
difference of the starts: nothing is left over, and nothing is counted twice.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from coldstart_sdk.errors import UsageError
from coldstart_sdk.trace import figures
from coldstart_sdk.trace.model import Trace
from coldstart_sdk.trace.path import critical_path

_NOTICED_S = 0.01
_FACTS_THAT_DRIFT = frozenset({"disk_free_bytes", "throttled_s", "quota_periods", "quota_periods_throttled"})


@dataclass(frozen=True, kw_only=True)
class Change:
    """One step in both starts."""

    name: str
    before_s: float | None
    """How long it took; None where it did not run."""
    after_s: float | None
    worth_s: float
    """How much later READY came because of it."""
    before_bytes: int | None = None
    after_bytes: int | None = None


@dataclass(frozen=True, kw_only=True)
class Diff:
    """The second start against the first."""

    before_s: float
    after_s: float
    changes: tuple[Change, ...]
    """What READY came later for first, then what it came earlier for."""
    surroundings: tuple[tuple[str, str, str], ...]
    """(fact, before, after) of the machines, versions and declarations."""

    @property
    def worth_s(self) -> float:
        return self.after_s - self.before_s


def diff(before: Trace, after: Trace) -> Diff:
    """What got slower, and by which step."""
    for trace in (before, after):
        if trace.anchors.ready_s is None:
            raise UsageError(
                f"one of them was never ready: {trace.reason or trace.state.value}",
                where=trace.started_at,
                fix="Compare two starts that were; `coldstart trace show` tells why this one was not.",
            )
    assert before.anchors.ready_s is not None and after.anchors.ready_s is not None  # noqa: PT018, S101 - as above
    changes = [change for change in _changes(before, after) if _is_noticed(change)]
    return Diff(
        before_s=before.anchors.ready_s,
        after_s=after.anchors.ready_s,
        changes=tuple(sorted(changes, key=lambda change: -change.worth_s)),
        surroundings=tuple(_surroundings(before, after)),
    )


def render(found: Diff, *, markdown: bool = False) -> str:
    """The whole text, ending in a newline."""
    head = (
        f"{figures.duration(found.after_s)} to ready, {signed(found.worth_s)} against "
        f"{figures.duration(found.before_s)}"
    )
    if markdown:
        return _markdown(head, found)
    lines = [head]
    if found.changes:
        wide = max(len(change.name) for change in found.changes)
        lines += [""]
        lines += [
            f"{signed(change.worth_s):>9}  {change.name:<{wide}}  {_took(change)}".rstrip()
            for change in found.changes
        ]
    if found.surroundings:
        lines += ["", *(f"{name}: {was} before, {is_now} now" for name, was, is_now in found.surroundings)]
    return "\n".join(lines) + "\n"


def signed(seconds: float) -> str:
    """`+1.20 s`, `-300 ms`, `±0 ms`."""
    if abs(seconds) < _NOTICED_S / 100:
        return "±0 ms"
    return ("+" if seconds > 0 else "") + figures.duration(seconds)


def _changes(before: Trace, after: Trace) -> Iterator[Change]:
    legs = [_legs(trace) for trace in (before, after)]
    took = [{step.name: step for step in trace.steps} for trace in (before, after)]
    for name in dict.fromkeys((*took[1], *took[0], *legs[1], *legs[0])):
        was, is_now = took[0].get(name), took[1].get(name)
        yield Change(
            name=name,
            before_s=was.duration_s if was else legs[0].get(name),
            after_s=is_now.duration_s if is_now else legs[1].get(name),
            worth_s=legs[1].get(name, 0.0) - legs[0].get(name, 0.0),
            before_bytes=was.bytes if was else None,
            after_bytes=is_now.bytes if is_now else None,
        )


def _legs(trace: Trace) -> dict[str, float]:
    total: dict[str, float] = {}
    for leg in critical_path(trace):
        total[leg.name] = total.get(leg.name, 0.0) + leg.duration_s
    return total


def _is_noticed(change: Change) -> bool:
    own_s = (change.after_s or 0.0) - (change.before_s or 0.0)
    return abs(change.worth_s) >= _NOTICED_S or abs(own_s) >= _NOTICED_S * 10


def _surroundings(before: Trace, after: Trace) -> Iterator[tuple[str, str, str]]:
    pairs = [
        ("declaration", before.spec_digest, after.spec_digest),
        ("target", before.backend, after.backend),
        ("coldstart", before.sdk, after.sdk),
    ]
    names = sorted({*before.machine, *after.machine} - _FACTS_THAT_DRIFT)
    pairs += [(name, before.machine.get(name), after.machine.get(name)) for name in names]
    for name, was, is_now in pairs:
        if was != is_now:
            yield name, was or "unknown", is_now or "unknown"


def _took(change: Change) -> str:
    if change.before_s is None:
        return f"new, {figures.duration(change.after_s or 0.0)}"
    if change.after_s is None:
        return f"gone, was {figures.duration(change.before_s)}"
    took = f"{figures.duration(change.before_s)} > {figures.duration(change.after_s)}"
    beside = "" if abs(change.worth_s) >= _NOTICED_S else ", beside the critical path"
    return took + _moved(change) + beside


def _moved(change: Change) -> str:
    if change.before_bytes == change.after_bytes:
        return ""
    return f", {figures.size(change.before_bytes or 0)} > {figures.size(change.after_bytes or 0)}"


def _markdown(head: str, found: Diff) -> str:
    rows = [f"**Cold start: {head}**"]
    if found.changes:
        rows += ["", "| ready | step | took |", "|---:|---|---|"]
        rows += [
            f"| {signed(change.worth_s)} | {_cell(change.name)} | {_took(change)} |"
            for change in found.changes
        ]
    rows += _folded([f"{name}: {was} → {is_now}" for name, was, is_now in found.surroundings])
    return "\n".join(rows) + "\n"


def _folded(lines: Sequence[str]) -> list[str]:
    if not lines:
        return []
    return [
        "",
        "<details><summary>surroundings</summary>",
        "",
        *(f"- {_cell(line)}" for line in lines),
        "",
        "</details>",
    ]


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")
