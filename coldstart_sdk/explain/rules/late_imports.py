"""Packages that are imported inside a load, a warm-up or a request, where nothing else goes on."""

from __future__ import annotations

from collections.abc import Iterator

from coldstart_sdk.explain.evidence import Evidence, lasted_s, outermost, stretches, what_of
from coldstart_sdk.explain.finding import Finding
from coldstart_sdk.explain.graph import Move
from coldstart_sdk.plan import Lane, StepKind
from coldstart_sdk.recorder.names import IMPORT
from coldstart_sdk.trace import figures

_NOTICED_S = 0.05


def find(evidence: Evidence) -> Iterator[Finding]:
    late = {
        step.name: parts
        for step in evidence.not_of_kind(StepKind.IMPORT)
        if lasted_s(parts := outermost(evidence.parts(step, IMPORT))) >= _NOTICED_S
    }
    if not late:
        return
    packages = dict.fromkeys(
        what_of(part)
        for parts in late.values()
        for part in sorted(parts, key=lambda part: -part.duration_s)
        if part.duration_s >= _NOTICED_S / 5
    )
    named = ", ".join(f'"{package}"' for package in packages)
    yield Finding(
        rule="late-imports",
        what=f"{', '.join(packages)} imported inside {', '.join(late)}",
        why=(
            "Imports run beside the fetch and the device when they are known before; in a hook "
            "all else waits."
        ),
        evidence=tuple(
            f"{name}: {figures.duration(lasted_s(parts))} in imports, "
            + ", ".join(f"{what_of(part)} {figures.duration(part.duration_s)}" for part in parts[:4])
            for name, parts in late.items()
        ),
        fix=f"Import at the top of the file, or name them: @warm_model(imports=[{named}])",
        changes=tuple(
            Move(step=name, name=f"imports of {name}", stretches=stretches(parts), lane=Lane.IMPORTS)
            for name, parts in late.items()
        ),
    )
