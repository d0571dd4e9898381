"""A device that is chosen while the file is imported, before there is one."""

from __future__ import annotations

from collections.abc import Iterator

from coldstart_sdk.explain.evidence import Evidence
from coldstart_sdk.explain.finding import Finding
from coldstart_sdk.plan import StepKind
from coldstart_sdk.recorder.names import DEVICE_ASKED


def find(evidence: Evidence) -> Iterator[Finding]:
    asked = [step for step in evidence.of_kind(StepKind.IMPORT) if step.counts.get(DEVICE_ASKED)]
    if not asked:
        return
    yield Finding(
        rule="device-at-import",
        what=f"{', '.join(step.name for step in asked)} asked for the GPU at import",
        why=(
            "An image is built and a snapshot is taken without a GPU: what is decided then stays "
            '"cpu" for ever; '
            "asking also opens the driver before its own step does."
        ),
        evidence=tuple(
            f"{step.name}: {step.counts[DEVICE_ASKED]:.0f} calls of torch.cuda.is_available()"
            for step in asked
        ),
        fix=(
            "Ask for `device` in the hook instead: def load(self, weights, device), and move "
            "what load makes there"
        ),
    )
