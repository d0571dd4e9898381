"""Bytes that are fetched where nobody expects them: in an import, a load or a warm-up, and in a request."""

from __future__ import annotations

from collections.abc import Iterator

from coldstart_sdk.explain.evidence import (
    REQUEST,
    Evidence,
    kind_of,
    lasted_s,
    outermost,
    stretches,
    what_of,
)
from coldstart_sdk.explain.finding import Finding
from coldstart_sdk.explain.graph import Cut, Move
from coldstart_sdk.plan import Lane, StepKind
from coldstart_sdk.recorder.names import DOWNLOAD, FETCHERS, INSTALLERS, RUN
from coldstart_sdk.trace import figures
from coldstart_sdk.trace.model import Span

_NOTICED_BYTES = 100_000
"""Less is a question, not a download."""
_NOTICED_S = 0.05
_FIX = (
    'Declare it: weights={"name": Weights.hf(…) or Weights.url(…)}, and read weights["name"].path in load; '
    "then it is fetched beside the imports, kept, and pinned"
)


def in_load(evidence: Evidence) -> Iterator[Finding]:
    hidden = [
        (step, parts)
        for step in evidence.not_of_kind(StepKind.FETCH)
        if (parts := (*_downloads(evidence, step), *_programs(evidence, step, FETCHERS)))
    ]
    if not hidden:
        return
    names = ", ".join(step.name for step, _ in hidden)
    total = _bytes(*(parts for _, parts in hidden))
    yield Finding(
        rule="hidden-download",
        what=f"{names} downloads {figures.size(total) if total else 'by a program of its own'}",
        why=(
            "What a library fetches by itself is fetched alone, after all else, and again on "
            "each new machine."
        ),
        evidence=tuple(_shown(step.name, parts) for step, parts in hidden),
        fix=_FIX,
        changes=tuple(
            Move(
                step=step.name,
                name=f"fetch for {step.name}",
                stretches=stretches(parts),
                lane=Lane.OWN,
                before=_users(evidence, step),
            )
            for step, parts in hidden
        ),
    )


def installed(evidence: Evidence) -> Iterator[Finding]:
    """Packages, which belong in the image."""
    found = {step.name: parts for step in evidence.steps if (parts := _programs(evidence, step, INSTALLERS))}
    if not found:
        return
    yield Finding(
        rule="installed-at-start",
        what=f"{', '.join(found)} installed packages",
        why="Each worker installs them again, from an index that may be slow or offer another version.",
        evidence=tuple(_shown(name, parts) for name, parts in found.items()),
        fix='Install them when the image is built: image=Container.python("3.11").pip("name==version")',
        changes=tuple(Cut(step=name, stretches=stretches(parts)) for name, parts in found.items()),
    )


def in_request(evidence: Evidence) -> Iterator[Finding]:
    parts = _downloads(evidence, REQUEST)
    if not parts:
        return
    yield Finding(
        rule="hidden-download-in-request",
        what=f"a request downloaded {figures.size(_bytes(parts))}",
        why="The first caller on each new machine waits for it.",
        evidence=(_shown("request", parts),),
        fix=_FIX,
        first_s=lasted_s(parts),
    )


def _downloads(evidence: Evidence, owner: Span | str) -> tuple[Span, ...]:
    return outermost(part for part in evidence.parts(owner, DOWNLOAD) if (part.bytes or 0) >= _NOTICED_BYTES)


def _programs(evidence: Evidence, step: Span, names: frozenset[str]) -> tuple[Span, ...]:
    parts = outermost(part for part in evidence.parts(step, RUN) if what_of(part) in names)
    return parts if lasted_s(parts) >= _NOTICED_S else ()


def _users(evidence: Evidence, step: Span) -> tuple[str, ...]:
    """Who reads the bytes once they are declared: not the import or `__init__` that brought them."""
    if kind_of(step) not in {StepKind.IMPORT.value, StepKind.CONSTRUCT.value}:
        return ()
    for kind in (StepKind.LOAD, StepKind.RESTORED, StepKind.WARMUP):
        if found := evidence.of_kind(kind):
            return tuple(user.name for user in found)
    return ()


def _bytes(*parts: tuple[Span, ...]) -> int:
    return sum(part.bytes or 0 for some in parts for part in some)


def _shown(name: str, parts: tuple[Span, ...]) -> str:
    sources = ", ".join(dict.fromkeys(what_of(part) for part in parts))
    if not (total := _bytes(parts)):
        return f"{name}: {sources} in {figures.duration(lasted_s(parts))}"
    return f"{name}: {figures.size(total)} from {sources} in {figures.duration(lasted_s(parts))}"
