"""Native code that is compiled while a worker starts."""

from __future__ import annotations

from collections.abc import Iterator

from coldstart_sdk.explain.evidence import Evidence, lasted_s, outermost, stretches, what_of
from coldstart_sdk.explain.finding import Finding
from coldstart_sdk.explain.graph import Cut
from coldstart_sdk.recorder.names import CACHE_MISSES, COMPILE, COMPILERS, RUN
from coldstart_sdk.trace import figures
from coldstart_sdk.trace.model import Span

_NOTICED_S = 0.05


def find(evidence: Evidence) -> Iterator[Finding]:
    built = {
        step.name: parts
        for step in evidence.steps
        if not step.counts.get(CACHE_MISSES) and lasted_s(parts := _runs(evidence, step)) >= _NOTICED_S
    }
    if not built:
        return
    programs = ", ".join(dict.fromkeys(what_of(part) for parts in built.values() for part in parts))
    yield Finding(
        rule="extension-rebuilt",
        what=f"{', '.join(built)} ran a compiler: {programs}",
        why="What is built in a start is built by every worker, with a compiler that the image must carry.",
        evidence=tuple(
            f"{name}: {len(parts)} times, {figures.duration(lasted_s(parts))}"
            for name, parts in built.items()
        ),
        fix=(
            "Build it in Container.run(…) or @hook.build, into a TORCH_EXTENSIONS_DIR inside the "
            "image; copying a "
            "build elsewhere must keep the files' times to the nanosecond, or ninja builds it again"
        ),
        changes=tuple(Cut(step=name, stretches=stretches(parts)) for name, parts in built.items()),
    )


def _runs(evidence: Evidence, step: Span) -> tuple[Span, ...]:
    """Without what Inductor starts for a graph, which is told with the graph."""
    graphs = evidence.parts(step, COMPILE)
    return outermost(
        part
        for part in evidence.parts(step, RUN)
        if what_of(part) in COMPILERS
        and not any(graph.start_s <= part.start_s <= graph.end_s for graph in graphs)
    )
