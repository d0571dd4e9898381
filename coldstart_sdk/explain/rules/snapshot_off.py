"""A start that could be restored from a snapshot, and is not."""

from __future__ import annotations

from collections.abc import Iterator

from coldstart_sdk.explain.evidence import Evidence
from coldstart_sdk.explain.finding import Finding
from coldstart_sdk.explain.graph import Drop
from coldstart_sdk.explain.whatif import before_cut
from coldstart_sdk.plan import StepKind
from coldstart_sdk.spec import Snapshot
from coldstart_sdk.trace import figures, metrics
from coldstart_sdk.trace.model import SNAPSHOT

_NOTICED_S = 1.0
_OFFERED_BY = frozenset({"modal"})


def find(evidence: Evidence) -> Iterator[Finding]:
    is_off = evidence.declared.get(SNAPSHOT) == Snapshot.NONE.value
    if evidence.backend not in _OFFERED_BY or not is_off:
        return
    steps = evidence.of_kind(StepKind.FETCH, StepKind.IMPORT, StepKind.CONSTRUCT, StepKind.LOAD)
    took_s = metrics.union_s((step.start_s, step.end_s) for step in steps)
    if took_s < _NOTICED_S:
        return
    splits = "" if evidence.of_kind(StepKind.RESTORED) else ", with the move to the device in @hook.restored"
    yield Finding(
        rule="snapshot-off",
        what=f"{figures.duration(took_s)} of fetch, imports and load run again on each start",
        why=f"{evidence.backend} can keep the process as it was after load, and restore it.",
        evidence=tuple(f"{step.name}: {figures.duration(step.duration_s)}" for step in steps[:6]),
        fix=f'Set snapshot="cpu"{splits}; compare with `coldstart explain … --snapshot cpu`',
        changes=tuple(Drop(step=name) for name in before_cut(evidence)),
        supposes="the platform restores at once; what it really takes comes on top",
    )
