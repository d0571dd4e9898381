"""Parameters that are filled with random numbers, only to be overwritten by the weights."""

from __future__ import annotations

from collections.abc import Iterator

from coldstart_sdk.explain.evidence import Evidence
from coldstart_sdk.explain.finding import Finding
from coldstart_sdk.explain.graph import Less
from coldstart_sdk.plan import StepKind
from coldstart_sdk.recorder.names import INITS, INITS_S
from coldstart_sdk.trace import figures

_NOTICED_S = 0.05


def find(evidence: Evidence) -> Iterator[Finding]:
    steps = evidence.of_kind(StepKind.IMPORT, StepKind.CONSTRUCT, StepKind.LOAD, StepKind.RESTORED)
    filled = [step for step in steps if step.counts.get(INITS_S, 0) >= _NOTICED_S]
    if not filled:
        return
    yield Finding(
        rule="random-init",
        what=f"{', '.join(step.name for step in filled)} drew random parameters",
        why="A module built the plain way draws every parameter, which the weights then overwrite.",
        evidence=tuple(
            f"{step.name}: {step.counts[INITS]:.0f} tensors in {figures.duration(step.counts[INITS_S])}"
            for step in filled
        ),
        fix=(
            'Build it without storage: with torch.device("meta"): model = Model(); then '
            "model.load_state_dict(state, assign=True), and make buffers that are not in the file anew"
        ),
        changes=tuple(Less(step=step.name, seconds=step.counts[INITS_S]) for step in filled),
        supposes="the weights hold every parameter",
    )
