"""Bytes that are fetched where nobody expects them: in an import, a load or a warm-up, and in a request."""

from __future__ import annotations

from collections.abc import Iterator

from coldstart_sdk.explain.evidence import REQUEST, Evidence, lasted_s, outermost, stretches, what_of
from coldstart_sdk.explain.finding import Finding
from coldstart_sdk.explain.graph import Move
from coldstart_sdk.plan import Lane, StepKind
from coldstart_sdk.recorder.names import DOWNLOAD
from coldstart_sdk.trace import figures
from coldstart_sdk.trace.model import Span

_NOTICED_BYTES = 100_000
"""Less is a question, not a download."""
_FIX = (
    'Declare it: weights={"name": Weights.hf(…) or Weights.url(…)}, and read weights["name"].path in load; '
    "then it is fetched beside the imports, kept, and pinned"
)


def in_load(evidence: Evidence) -> Iterator[Finding]:
    hidden = {
        step.name: parts
        for step in evidence.not_of_kind(StepKind.FETCH)
        if (parts := _downloads(evidence, step))
    }
    if not hidden:
        return
    yield Finding(
        rule="hidden-download",
        what=f"{', '.join(hidden)} downloads {figures.size(_bytes(*hidden.values()))}",
        why=(
            "What a library fetches by itself is fetched alone, after all else, and again on "
            "each new machine."
        ),
        evidence=tuple(_shown(name, parts) for name, parts in hidden.items()),
        fix=_FIX,
        changes=tuple(
            Move(step=name, name=f"fetch for {name}", stretches=stretches(parts), lane=Lane.OWN)
            for name, parts in hidden.items()
        ),
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


def _bytes(*parts: tuple[Span, ...]) -> int:
    return sum(part.bytes or 0 for some in parts for part in some)


def _shown(name: str, parts: tuple[Span, ...]) -> str:
    hosts = ", ".join(dict.fromkeys(what_of(part) for part in parts))
    return f"{name}: {figures.size(_bytes(parts))} from {hosts} in {figures.duration(lasted_s(parts))}"
