"""A hub that slowed an unnamed client down."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from coldstart_sdk.explain.evidence import Evidence
from coldstart_sdk.explain.finding import Finding
from coldstart_sdk.explain.graph import Cut, Stretch
from coldstart_sdk.plan import StepKind
from coldstart_sdk.recorder.names import HF_TOKEN
from coldstart_sdk.spec import Origin
from coldstart_sdk.trace import figures
from coldstart_sdk.trace.model import Span

_STALL_S = 0.5


def find(evidence: Evidence) -> Iterator[Finding]:
    if evidence.fact(HF_TOKEN) != "no":
        return
    stalled = {
        step.name: found
        for step in evidence.of_kind(StepKind.FETCH)
        if _from_hub(step, evidence) and (found := tuple(_stalls(step)))
    }
    if not stalled:
        return
    yield Finding(
        rule="rate-limited",
        what=f"{', '.join(stalled)} stood still: the hub was asked without a token",
        why="The hub limits unnamed clients by address, and every worker of a platform shares a few.",
        evidence=tuple(
            f"{name}: no byte for {figures.duration(sum(end - start for start, end in found))}, "
            f"{len(found)} times"
            for name, found in stalled.items()
        ),
        fix=(
            'Set HF_TOKEN for the worker, and name it: secrets=["HF_TOKEN"]; or set store= to '
            "ask the hub once"
        ),
        changes=tuple(Cut(step=name, stretches=found) for name, found in stalled.items()),
        supposes="it stood still because of a limit",
    )


def _from_hub(step: Span, evidence: Evidence) -> bool:
    if "origin" not in (step.tier or ""):
        return False
    weight = evidence.plan.spec.weights.get(step.name.partition(":")[2]) if evidence.plan else None
    return weight is None or weight.origin is Origin.HF


def _stalls(step: Span) -> Iterator[Stretch]:
    seen = ((step.start_s, 0), *step.progress)
    still_since: float | None = None
    for (before_s, before), (_, count) in pairwise(seen):
        if count == before:
            still_since = before_s if still_since is None else still_since
            continue
        if still_since is not None and before_s - still_since >= _STALL_S:
            yield still_since, before_s
        still_since = None
