"""More threads than the machine grants cores."""

from __future__ import annotations

from collections.abc import Iterator

from coldstart_sdk.explain.evidence import Evidence
from coldstart_sdk.explain.finding import Finding
from coldstart_sdk.explain.graph import Less
from coldstart_sdk.plan import StepKind
from coldstart_sdk.recorder.names import PERIODS, THREADS, THROTTLED_PERIODS
from coldstart_sdk.trace import figures
from coldstart_sdk.trace.model import Span

_TOO_MANY = 1.5
_THROTTLED = 0.1


def find(evidence: Evidence) -> Iterator[Finding]:
    threads, cores = evidence.number(THREADS), evidence.cores
    if not threads or not cores or threads < max(1.0, cores) * _TOO_MANY:
        return
    periods = evidence.number(PERIODS) or 0.0
    share = (evidence.number(THROTTLED_PERIODS) or 0.0) / periods if periods else 0.0
    busy = evidence.of_kind(StepKind.CONSTRUCT, StepKind.LOAD, StepKind.RESTORED, StepKind.WARMUP)
    yield Finding(
        rule="too-many-threads",
        what=f"{threads:.0f} threads on {cores:g} cores",
        why="A container shows the whole host; threads beyond the quota stop one another, all at once.",
        evidence=(
            f"the numeric libraries use {threads:.0f} threads, the quota is {cores:g} cores",
            f"stopped by the quota in {figures.percent(share)} of its periods",
        ),
        fix=(
            "Leave the number to coldstart: drop torch.set_num_threads(…) and OMP_NUM_THREADS, "
            f"or set {int(cores)}"
        ),
        changes=tuple(
            Less(step=step.name, seconds=_stopped_s(step, share, cores))
            for step in busy
            if share >= _THROTTLED
        ),
        supposes="threads that wait burn nothing; what they do burn is saved as well",
    )


def _stopped_s(step: Span, share: float, cores: float) -> float:
    """Its share of the stops; but its work takes its CPU time on the cores of the quota, whoever does it."""
    return max(0.0, min(step.duration_s * share, step.duration_s - (step.cpu_s or 0.0) / max(1.0, cores)))
