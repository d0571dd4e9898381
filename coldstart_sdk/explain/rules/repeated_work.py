"""The same file read, or the same host asked for the same bytes, more than once."""

from __future__ import annotations

from collections.abc import Iterator

from coldstart_sdk.explain.evidence import Evidence, lasted_s, stretches
from coldstart_sdk.explain.finding import Finding
from coldstart_sdk.explain.graph import Cut
from coldstart_sdk.recorder.names import DOWNLOAD, READ
from coldstart_sdk.trace import figures
from coldstart_sdk.trace.model import Span

_NOTICED_S = 0.05
_SAME_BYTES = 1_000_000
"""Downloads of one size from one host are taken for the same from here on."""


def find(evidence: Evidence) -> Iterator[Finding]:
    seen: dict[tuple[str, int], Span] = {}
    again: dict[str, list[Span]] = {}
    for step in evidence.steps:
        for part in (*evidence.parts(step, READ), *evidence.parts(step, DOWNLOAD)):
            if part.name.startswith(DOWNLOAD) and (part.bytes or 0) < _SAME_BYTES:
                continue
            if seen.setdefault((part.name, part.bytes or 0), part) is not part:
                again.setdefault(step.name, []).append(part)
    repeats = [part for parts in again.values() for part in parts]
    if lasted_s(repeats) < _NOTICED_S:
        return
    yield Finding(
        rule="repeated-work",
        what=f"{len(repeats)} times the same was read again",
        why="What was read once is in memory, or can be kept there.",
        evidence=tuple(
            f"{name}: {part.name} again, {figures.size(part.bytes or 0)} in "
            f"{figures.duration(part.duration_s)}"
            for name, parts in again.items()
            for part in parts[:4]
        ),
        fix="Read it once and keep it on self, or pass it on",
        changes=tuple(Cut(step=name, stretches=stretches(parts)) for name, parts in again.items()),
    )
