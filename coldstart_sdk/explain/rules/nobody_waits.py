"""Work before READY that nobody waits for: uploads, clean-up, optional steps at the very end."""

from __future__ import annotations

from collections.abc import Iterator

from coldstart_sdk.explain.evidence import Evidence, lasted_s, outermost, stretches, what_of
from coldstart_sdk.explain.finding import Finding
from coldstart_sdk.explain.graph import Change, Cut, Drop
from coldstart_sdk.plan import StepKind
from coldstart_sdk.recorder.names import DELETE, UPLOAD
from coldstart_sdk.trace import figures
from coldstart_sdk.trace.model import Span

_NOTICED_S = 0.05
_WORDS = {UPLOAD: "uploads to", DELETE: "deletes"}


def find(evidence: Evidence) -> Iterator[Finding]:
    told: list[str] = []
    changes: list[Change] = []
    for step in evidence.steps:
        parts = outermost((*evidence.parts(step, UPLOAD), *evidence.parts(step, DELETE)))
        if lasted_s(parts) >= _NOTICED_S:
            told.append(f"{step.name} {_said(parts)}: {figures.duration(lasted_s(parts))}")
            changes.append(Cut(step=step.name, stretches=stretches(parts)))
    for step in evidence.of_kind(StepKind.LOAD, StepKind.RESTORED):
        if not step.required and not any(step.name in other.after for other in evidence.steps):
            told.append(f"{step.name} may fail, nothing uses it: {figures.duration(step.duration_s)}")
            changes.append(Drop(step=step.name))
    if not told:
        return
    yield Finding(
        rule="nobody-waits",
        what="READY waited for work that no request needs",
        why="Uploads, clean-up and optional extras are as good behind READY, where they yield to requests.",
        evidence=tuple(told),
        fix="Move it to a @hook.background",
        changes=tuple(changes),
    )


def _said(parts: tuple[Span, ...]) -> str:
    return ", ".join(
        dict.fromkeys(f"{_WORDS[part.name.partition(':')[0]]} {what_of(part)}" for part in parts)
    )
