"""Python files that are compiled on each start, because the image holds no bytecode for them."""

from __future__ import annotations

from collections.abc import Iterator

from coldstart_sdk.explain.evidence import Evidence
from coldstart_sdk.explain.finding import Finding
from coldstart_sdk.explain.graph import Less
from coldstart_sdk.recorder.names import SOURCES, SOURCES_S
from coldstart_sdk.trace import figures

_NOTICED_S = 0.05


def find(evidence: Evidence) -> Iterator[Finding]:
    compiled = [step for step in evidence.steps if step.counts.get(SOURCES_S, 0) > 0]
    took_s = sum(step.counts[SOURCES_S] for step in compiled)
    if took_s < _NOTICED_S:
        return
    count = sum(step.counts.get(SOURCES, 0) for step in compiled)
    yield Finding(
        rule="missing-bytecode",
        what=f"{count:.0f} Python files compiled while importing",
        why="A file without bytecode is compiled again by each worker that starts from the same image.",
        evidence=tuple(
            f"{step.name}: {step.counts.get(SOURCES, 0):.0f} files, "
            f"{figures.duration(step.counts[SOURCES_S])}"
            for step in compiled
        ),
        fix=(
            "Compile when the image is built: python -m compileall -q -j0 on site-packages and the project, "
            "UV_COMPILE_BYTECODE=1 for uv; unset PYTHONDONTWRITEBYTECODE there"
        ),
        changes=tuple(Less(step=step.name, seconds=step.counts[SOURCES_S]) for step in compiled),
    )
