"""A platform's own SDK that is imported before READY."""

from __future__ import annotations

from collections.abc import Iterator

from coldstart_sdk.explain.evidence import Evidence, lasted_s, outermost, stretches, what_of
from coldstart_sdk.explain.finding import Finding
from coldstart_sdk.explain.graph import Cut
from coldstart_sdk.recorder.names import IMPORT
from coldstart_sdk.trace import figures

VENDORS = frozenset(
    {"runpod", "modal", "boto3", "botocore", "google", "azure", "wandb", "sentry_sdk", "sagemaker"}
)
_NOTICED_S = 0.05


def find(evidence: Evidence) -> Iterator[Finding]:
    found = {
        step.name: parts
        for step in evidence.steps
        if (parts := outermost(part for part in evidence.parts(step, IMPORT) if what_of(part) in VENDORS))
    }
    if lasted_s(part for parts in found.values() for part in parts) < _NOTICED_S:
        return
    names = ", ".join(dict.fromkeys(what_of(part) for parts in found.values() for part in parts))
    yield Finding(
        rule="vendor-sdk",
        what=f"{names} imported before READY",
        why=(
            "A platform's client brings its whole network stack, and a model has no use for it "
            "while it loads."
        ),
        evidence=tuple(
            f"{name}: {what_of(part)} {figures.duration(part.duration_s)}"
            for name, parts in found.items()
            for part in parts
        ),
        fix=f"Import {names} inside the function that needs it, or drop it: coldstart talks to the platform",
        changes=tuple(Cut(step=name, stretches=stretches(parts)) for name, parts in found.items()),
    )
