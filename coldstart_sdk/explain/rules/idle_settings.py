"""An idle time that lets the worker go just before the next request comes."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise

from coldstart_sdk.explain.evidence import Evidence
from coldstart_sdk.explain.finding import Finding
from coldstart_sdk.trace import figures
from coldstart_sdk.trace.model import IDLE, LEAST

_ENOUGH = 3
_LONGEST_S = 1800.0
"""A worker that is kept for longer costs more than it saves."""


def find(evidence: Evidence) -> Iterator[Finding]:
    ready_s = evidence.trace.anchors.ready_s
    if IDLE not in evidence.declared or evidence.declared.get(LEAST) != "0" or not ready_s:
        return
    idle_s = float(evidence.declared[IDLE])
    gaps = [max(0.0, after.start_s - before.end_s) for before, after in pairwise(evidence.answered)]
    cold = sorted(gap for gap in gaps if idle_s < gap <= _LONGEST_S)
    if len(gaps) < _ENOUGH or not cold or len(cold) * 4 < len(gaps):
        return
    enough_s = math.ceil(cold[(len(cold) * 9 - 1) // 10] * 1.1 - 1e-9)
    yield Finding(
        rule="idle-too-short",
        what=(
            f"{len(cold)} of {len(gaps)} pauses between requests were longer than "
            f"idle={figures.duration(idle_s)}"
        ),
        why=f"After each of them the next caller waits for a cold start of {figures.duration(ready_s)}.",
        evidence=(f"pauses up to {figures.duration(cold[-1])}",),
        fix=f'Scale(idle="{enough_s}s"), or Scale(min=1) if callers must never wait',
    )
