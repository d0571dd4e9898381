"""A fetch over fewer connections than an origin serves at full speed."""

from __future__ import annotations

from collections.abc import Iterator

from coldstart_sdk.events import Resource
from coldstart_sdk.explain.evidence import Evidence, until_first_byte_s
from coldstart_sdk.explain.finding import Finding
from coldstart_sdk.explain.graph import AtMost
from coldstart_sdk.plan import StepKind
from coldstart_sdk.recorder.names import CONNECTIONS, DOWNLOAD
from coldstart_sdk.trace import figures
from coldstart_sdk.trace.model import Span

STREAMS = 8
"""What our own fetch uses unless it is told otherwise."""
_PART_BYTES = 8_000_000
"""Smaller pieces do not fill a connection."""


def find(evidence: Evidence) -> Iterator[Finding]:
    slow = [
        step
        for step in evidence.of_kind(StepKind.FETCH)
        if (step.resource is Resource.NET or evidence.parts(step, DOWNLOAD))
        and 0 < step.counts.get(CONNECTIONS, 0) < _useful(step)
        and _with_all_s(step, evidence) < step.duration_s
    ]
    if not slow:
        return
    yield Finding(
        rule="few-streams",
        what=f"{', '.join(step.name for step in slow)} used too few connections",
        why=(
            "Most origins limit each connection, not the client: more of them are faster until "
            "the link is full."
        ),
        evidence=tuple(
            f"{step.name}: {figures.size(step.bytes or 0)} over {step.counts[CONNECTIONS]:.0f} at "
            f"{figures.speed(step.bytes or 0, step.duration_s)}"
            for step in slow
        ),
        fix=(
            f"Unset COLDSTART_FETCH_STREAMS, or set it to {STREAMS} or more; bytes that a "
            "hook.fetch brings itself "
            "belong in weights="
        ),
        changes=tuple(AtMost(step=step.name, seconds=_with_all_s(step, evidence)) for step in slow),
        supposes="the origin limits each connection and the link has room",
    )


def _useful(step: Span) -> int:
    return min(STREAMS, (step.bytes or 0) // _PART_BYTES)


def _with_all_s(step: Span, evidence: Evidence) -> float:
    """What it asked first takes as long with any number of them."""
    asked_s = until_first_byte_s(step)
    several_s = (step.duration_s - asked_s) * step.counts[CONNECTIONS] / _useful(step)
    if evidence.link_bytes_per_s:
        several_s = max(several_s, (step.bytes or 0) / evidence.link_bytes_per_s)
    return asked_s + several_s
