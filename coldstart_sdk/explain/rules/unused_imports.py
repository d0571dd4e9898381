"""Heavy packages that the project imports and never uses."""

from __future__ import annotations

from collections.abc import Iterator

from coldstart_sdk.explain.evidence import Evidence, outermost, stretches, what_of, without
from coldstart_sdk.explain.finding import Finding
from coldstart_sdk.explain.graph import Cut
from coldstart_sdk.recorder.names import IMPORT, UNUSED, USED
from coldstart_sdk.trace import figures

_NOTICED_S = 0.05


def find(evidence: Evidence) -> Iterator[Finding]:
    unused, used = set(evidence.words(UNUSED)), set(evidence.words(USED))
    cuts: list[Cut] = []
    took_s: dict[str, float] = {}
    for step in evidence.steps:
        parts = evidence.parts(step, IMPORT)
        idle = outermost(part for part in parts if what_of(part) in unused)
        # What it imported itself and the project uses too would have to be imported all the same.
        needed = stretches(part for part in parts if what_of(part) in used)
        for part in idle:
            own = without(stretches([part]), needed)
            took_s[what_of(part)] = sum(end - start for start, end in own)
            cuts.append(Cut(step=step.name, stretches=own))
    named = {name: seconds for name, seconds in took_s.items() if seconds >= _NOTICED_S}
    if not named:
        return
    yield Finding(
        rule="unused-imports",
        what=f"{', '.join(named)} imported and never used",
        why="No line of the project names it again after the import, and its import is not free.",
        evidence=tuple(f"import {name}: {figures.duration(seconds)}" for name, seconds in named.items()),
        fix="; ".join(f"delete `import {name}`" for name in named),
        changes=tuple(cuts),
        supposes="it is not imported for what the import itself does",
    )
