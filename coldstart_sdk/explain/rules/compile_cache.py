"""Graphs that were compiled although a cache could have held them, and what kept it from that."""

from __future__ import annotations

from collections.abc import Iterator

from coldstart_sdk.explain.evidence import Evidence, lasted_s, outermost, stretches
from coldstart_sdk.explain.finding import Finding
from coldstart_sdk.explain.graph import Change, Cut, Less
from coldstart_sdk.recorder.names import (
    CACHE_BYPASSES,
    CACHE_HITS,
    CACHE_MISSES,
    CACHEABLE_S,
    COMPILE,
    KEY,
    KEY_BEFORE,
    LATE_ENV,
    RECOMPILES,
)
from coldstart_sdk.trace import figures
from coldstart_sdk.trace.model import Span

_NOTICED_S = 0.05


def missed(evidence: Evidence) -> Iterator[Finding]:
    steps = [step for step in evidence.steps if step.counts.get(CACHE_MISSES)]
    spent = {step.name: parts for step in steps if (parts := _compiles(evidence, step))}
    if not spent:
        return
    count = sum(step.counts[CACHE_MISSES] for step in steps)
    hits = sum(step.counts.get(CACHE_HITS, 0) for step in steps)
    yield Finding(
        rule="compile-cache-missed",
        what=f"{count:.0f} graphs compiled again in {', '.join(spent)}",
        why=_changed(evidence),
        evidence=tuple(
            f"{name}: {figures.duration(lasted_s(parts))} compiling; {hits:.0f} hits, {count:.0f} misses"
            for name, parts in spent.items()
        ),
        fix=(
            "Keep TORCHINDUCTOR_CACHE_DIR and TRITON_CACHE_DIR at one fixed path that outlives "
            "the worker (a volume, "
            "or filled in the image by Container.run), set in env= so that it stands before torch is imported"
        ),
        changes=tuple(_spared(step, spent[step.name]) for step in steps if step.name in spent),
        supposes="a hit costs little beside a compilation",
    )


def bypassed(evidence: Evidence) -> Iterator[Finding]:
    steps = [step for step in evidence.steps if step.counts.get(CACHE_BYPASSES)]
    if not steps:
        return
    yield Finding(
        rule="compile-cache-bypassed",
        what=f"{', '.join(step.name for step in steps)} compiled what no cache may hold",
        why="A bypassed graph is compiled on each start, however warm the cache is.",
        evidence=tuple(f"{step.name}: {step.counts[CACHE_BYPASSES]:.0f} bypasses" for step in steps),
        fix=(
            "Move custom autograd functions and torch.autocast out of the compiled part, or set "
            "TORCHINDUCTOR_AUTOGRAD_CACHE_ALLOW_CUSTOM_AUTOGRAD=1 in env="
        ),
    )


def per_shape(evidence: Evidence) -> Iterator[Finding]:
    steps = {step.name: step for step in evidence.steps if step.counts.get(RECOMPILES)}
    spent = {name: parts[1:] for name, step in steps.items() if len(parts := _compiles(evidence, step)) > 1}
    if not spent or lasted_s(part for parts in spent.values() for part in parts) < _NOTICED_S:
        return
    yield Finding(
        rule="compiled-per-shape",
        what=f"{', '.join(spent)} compiled the same code for several shapes",
        why="A graph that is fixed to one shape is compiled again for the next.",
        evidence=tuple(f"{name}: {steps[name].counts[RECOMPILES]:.0f} recompilations" for name in spent),
        fix="torch.compile(…, dynamic=True), mark_dynamic on the length, or pad inputs to a few sizes",
        changes=tuple(Cut(step=name, stretches=stretches(parts)) for name, parts in spent.items()),
    )


def late_environment(evidence: Evidence) -> Iterator[Finding]:
    late = [pair.partition(">") for pair in evidence.words(LATE_ENV)]
    if not late:
        return
    yield Finding(
        rule="late-environment",
        what=f"{', '.join(name for name, _, _ in late)} set too late to count",
        why="The library read it when it was imported; what is set afterwards is for nobody.",
        evidence=tuple(f"{name} set after {package} was imported" for name, _, package in late),
        fix="Set it in the declaration, env={…}: it stands before the first import of anything",
    )


def _spared(step: Span, parts: tuple[Span, ...]) -> Change:
    """What a hit would not do: torch counts it by itself where it can."""
    cacheable_s = step.counts.get(CACHEABLE_S)
    if cacheable_s:
        return Less(step=step.name, seconds=cacheable_s)
    return Cut(step=step.name, stretches=stretches(parts))


def _changed(evidence: Evidence) -> str:
    """Which part of the key is another than at the last start."""
    now, before = _key(evidence.fact(KEY)), _key(evidence.fact(KEY_BEFORE))
    changed = [
        f"{part} ({before[part]}, now {now[part]})"
        for part in now
        if part in before and now[part] != before[part]
    ]
    if changed:
        return f"The cache's key has changed since the last start here: {', '.join(changed)}."
    if before:
        return "The key is that of the last start: the cache itself is gone, or is written to elsewhere."
    return "No start before this one is known here: the cache was empty, or did not come along."


def _key(fact: str | None) -> dict[str, str]:
    parts = (pair.partition("=") for pair in (fact or "").split(";") if pair)
    return {name: value for name, _, value in parts}


def _compiles(evidence: Evidence, step: Span) -> tuple[Span, ...]:
    parts = outermost(evidence.parts(step, COMPILE))
    return parts if lasted_s(parts) >= _NOTICED_S else ()
