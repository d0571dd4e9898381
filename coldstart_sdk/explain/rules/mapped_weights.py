"""Weights that are mapped from a network volume, and come in page by page."""

from __future__ import annotations

from collections.abc import Iterator

from coldstart_sdk import machine
from coldstart_sdk.explain.evidence import Evidence
from coldstart_sdk.explain.finding import Finding
from coldstart_sdk.explain.graph import AtMost, Less
from coldstart_sdk.plan import StepKind
from coldstart_sdk.recorder.names import FAULTS, WEIGHTS_ON
from coldstart_sdk.trace import figures
from coldstart_sdk.trace.model import Span

_MANY = 200
_SLOW_FAULT_S = 0.0008
"""A local disk brings a page, and those after it, in less."""
_SEQUENTIAL_BYTES_PER_S = 500e6
"""What a network volume brings to large reads side by side; a volume's own figure is better."""


def find(evidence: Evidence) -> Iterator[Finding]:
    kind = evidence.fact(WEIGHTS_ON) or ""
    for load in evidence.of_kind(StepKind.LOAD):
        faults, waited_s = load.counts.get(FAULTS, 0), load.duration_s - (load.cpu_s or 0.0)
        if faults < _MANY or not (machine.is_far(kind) or waited_s / faults > _SLOW_FAULT_S):
            continue
        yield Finding(
            rule="mapped-weights",
            what=f"{load.name} read its weights page by page",
            why="A mapped file comes in small pieces, each a round trip to the volume, one after another.",
            evidence=(
                f"{faults:.0f} pages waited for",
                f"{figures.duration(waited_s)} of {figures.duration(load.duration_s)} without using the CPU",
                f"the weights lie on {kind or 'a disk of unknown kind'}",
            ),
            fix=(
                'Read the file whole before it is used: weights["name"].tensors(device=device), '
                'torch.load(path, mmap=False); or place="store", which brings it to the local disk'
            ),
            changes=(
                AtMost(step=load.name, seconds=_read_whole_s(load, evidence)),
                *_held_up(load, evidence),
            ),
            supposes=f"the volume brings {figures.speed(_SEQUENTIAL_BYTES_PER_S, 1)} to large reads",
        )


def _held_up(load: Span, evidence: Evidence) -> Iterator[Less]:
    """Imports beside it: whoever waits for a page in Python's own code holds its lock meanwhile."""
    for step in evidence.of_kind(StepKind.IMPORT):
        beside_s = min(step.end_s, load.end_s) - max(step.start_s, load.start_s)
        waited_s = min(beside_s, step.duration_s - (step.cpu_s or 0.0))
        if waited_s > 0:
            yield Less(step=step.name, seconds=waited_s)


def _read_whole_s(load: Span, evidence: Evidence) -> float:
    moved = load.bytes or sum(fetch.bytes or 0 for fetch in evidence.of_kind(StepKind.FETCH))
    return (load.cpu_s or 0.0) + moved / _SEQUENTIAL_BYTES_PER_S
