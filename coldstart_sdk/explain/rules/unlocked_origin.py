"""An origin that is asked for news on each start, because nothing says which revision is meant."""

from __future__ import annotations

from collections.abc import Iterator

from coldstart_sdk.explain.evidence import Evidence
from coldstart_sdk.explain.finding import Finding
from coldstart_sdk.explain.graph import Cut
from coldstart_sdk.plan import StepKind
from coldstart_sdk.trace import figures
from coldstart_sdk.trace.model import Span

_ORIGIN = "origin"
_NOTICED_S = 0.05


def find(evidence: Evidence) -> Iterator[Finding]:
    asked = [step for step in evidence.of_kind(StepKind.FETCH) if _asked_in_vain(step)]
    if sum(_asking_s(step, evidence) for step in asked) < _NOTICED_S:
        return
    yield Finding(
        rule="unlocked-origin",
        what=f"{', '.join(step.name for step in asked)} asked the origin for files that were here",
        why="Without a pinned revision each start asks what is newest, and waits for the answer.",
        evidence=tuple(
            f"{step.name}: {figures.duration(_asking_s(step, evidence))} before the first file, all of them "
            f"from {step.tier}"
            for step in asked
        ),
        fix='Pin it: revision="<commit>" on Weights.hf, sha256= on Weights.url; or `coldstart lock`.',
        changes=tuple(
            Cut(step=step.name, stretches=((step.start_s, step.start_s + _asking_s(step, evidence)),))
            for step in asked
        ),
    )


def _asked_in_vain(step: Span) -> bool:
    """It found its bytes here, and had asked the network first."""
    return any(tried.tier == _ORIGIN and not tried.hit for tried in step.tried) and any(
        tried.tier != _ORIGIN and tried.hit for tried in step.tried
    )


def _asking_s(step: Span, evidence: Evidence) -> float:
    first_s = min((part.start_s for part in evidence.parts(step) if part.bytes), default=step.end_s)
    return max(0.0, first_s - step.start_s)
