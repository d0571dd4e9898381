"""Loads that wait for one another, though each could run on a thread of its own."""

from __future__ import annotations

from collections.abc import Iterator

from coldstart_sdk.explain.evidence import Evidence
from coldstart_sdk.explain.finding import Finding
from coldstart_sdk.explain.graph import Free
from coldstart_sdk.plan import StepKind
from coldstart_sdk.trace import figures


def find(evidence: Evidence) -> Iterator[Finding]:
    loads = {load.name: load for load in evidence.of_kind(StepKind.LOAD)}
    pairs = [(load, loads[name]) for load in loads.values() for name in load.after if name in loads]
    if not pairs:
        return
    names = ", ".join(load.name for load, _ in pairs)
    yield Finding(
        rule="serial-loads",
        what=f"{names} waited for another load",
        why="Loads run side by side unless after= orders them; then the slower one hides the others.",
        evidence=tuple(
            f"{load.name} began {figures.duration(load.start_s)} in, when {before.name} had ended after "
            f"{figures.duration(before.duration_s)}"
            for load, before in pairs
        ),
        fix="; ".join(
            f"drop after= {before.name.partition(':')[2]!r} from @hook.load on {load.name.partition(':')[2]}"
            for load, before in pairs
        ),
        changes=tuple(Free(step=load.name, of=before.name) for load, before in pairs),
        supposes="no load uses what the other made",
    )
