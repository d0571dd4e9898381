"""A start that could be restored from a snapshot, and is not."""

from __future__ import annotations

from collections.abc import Iterator

from coldstart_sdk.explain.evidence import Evidence
from coldstart_sdk.explain.finding import Finding
from coldstart_sdk.plan import StepKind
from coldstart_sdk.spec import Kind, Snapshot
from coldstart_sdk.trace import figures, metrics

_NOTICED_S = 1.0
_OFFERED_BY = frozenset({"modal"})


def find(evidence: Evidence) -> Iterator[Finding]:
    plan = evidence.plan
    if plan is None or plan.backend not in _OFFERED_BY or plan.snapshot is not Snapshot.NONE:
        return
    steps = evidence.of_kind(StepKind.FETCH, StepKind.IMPORT, StepKind.CONSTRUCT, StepKind.LOAD)
    took_s = metrics.union_s((step.start_s, step.end_s) for step in steps)
    if took_s < _NOTICED_S:
        return
    splits = "" if plan.spec.hooks_of(Kind.RESTORED) else ", with the move to the device in @hook.restored"
    yield Finding(
        rule="snapshot-off",
        what=f"{figures.duration(took_s)} of fetch, imports and load run again on each start",
        why=f"{plan.backend} can keep the process as it was after load, and restore it.",
        evidence=tuple(f"{step.name}: {figures.duration(step.duration_s)}" for step in steps[:6]),
        fix=f'Set snapshot="cpu"{splits}; compare with `coldstart explain … --snapshot cpu`',
    )
