"""What one start came to, small enough for a log or a comment, and signed off by digest.

The digest covers every other field, so that a receipt which was edited shows; it is no proof of who wrote it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace

from coldstart_sdk import record
from coldstart_sdk.errors import BudgetError, Problem, UsageError
from coldstart_sdk.hold.budget import SECONDS, Budget, Verdict, judge
from coldstart_sdk.trace import metrics
from coldstart_sdk.trace.model import Trace

FORMAT = 1
_MACHINE = ("python", "machine", "cores", "cpu_quota", "memory_bytes", "gpu", "driver", "torch", "container")
_SIGNIFICANT = 6


@dataclass(frozen=True, kw_only=True)
class Receipt:
    """One start, signed off."""

    format: int = FORMAT
    name: str | None
    spec_digest: str | None
    backend: str | None
    sdk: str | None
    started_at: str | None
    state: str
    ready_s: float | None
    first_s: float | None
    """The first answer, from its acceptance."""
    first_penalty: float | None
    """The first answer over the median of later ones."""
    warm_s: float | None
    bytes: int
    steps: Mapping[str, float]
    """How long each took."""
    machine: Mapping[str, str]
    verdicts: tuple[Verdict, ...]
    trace: str
    """Digest of the trace that this was drawn from."""
    digest: str = ""

    @property
    def kept(self) -> bool:
        """Whether every limit was."""
        return all(verdict.kept for verdict in self.verdicts)

    def to_json(self) -> str:
        return json.dumps(record.to_data(self), indent=1, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str, *, where: str | None = None) -> Receipt:
        """The receipt that `to_json` wrote, its digest checked."""
        try:
            receipt = record.from_data(cls, json.loads(text))
        except ValueError as exc:
            raise UsageError(
                f"this is not a receipt: {exc}", fix="Name a file that --receipt wrote.", where=where
            ) from exc
        if receipt.digest != _signed(receipt).digest:
            raise UsageError(
                "this receipt is not what was signed off: its digest does not match",
                fix="Take the receipt as it was written, or draw it again from the trace.",
                where=where,
            )
        return receipt


def check(trace: Trace, budget: Budget | None = None) -> Receipt:
    """What the start came to, and whether that is within the budget."""
    answer = metrics.first_answer(trace)
    return _signed(
        Receipt(
            name=trace.name,
            spec_digest=trace.spec_digest,
            backend=trace.backend,
            sdk=trace.sdk,
            started_at=trace.started_at,
            state=trace.state.value,
            ready_s=trace.anchors.ready_s,
            first_s=_rounded(answer.duration_s) if answer else None,
            first_penalty=_rounded(metrics.first_request_penalty(trace)),
            warm_s=_rounded(metrics.four_times(trace).warm_s),
            bytes=sum(step.bytes or 0 for step in trace.steps),
            steps={step.name: round(step.duration_s, _SIGNIFICANT) for step in trace.steps},
            machine={name: trace.machine[name] for name in _MACHINE if name in trace.machine},
            verdicts=tuple(judge(trace, budget)) if budget else (),
            trace=record.digest(trace),
        )
    )


_OVER = "See `coldstart explain` for what could be saved, or give it more: --budget."
_UNSEEN = (
    "Look at a start with more in it: `coldstart check FILE --budget …` sends ten requests, "
    "`coldstart run` one; or leave this limit out."
)


def refuse_over(receipt: Receipt) -> None:
    """Raise where a limit was not kept, naming the steps that took longest."""
    over = [verdict for verdict in receipt.verdicts if not verdict.kept]
    if not over:
        return
    longest = sorted(receipt.steps, key=lambda name: -receipt.steps[name])[:3]
    raise BudgetError.of(
        tuple(
            Problem(
                message=str(verdict),
                where=", ".join(longest) if verdict.limit.unit == SECONDS else None,
                fix=_OVER if verdict.was is not None else _UNSEEN,
            )
            for verdict in over
        )
    )


def _signed(receipt: Receipt) -> Receipt:
    return replace(receipt, digest=record.digest(replace(receipt, digest="")))


def _rounded(figure: float | None) -> float | None:
    return None if figure is None else round(figure, _SIGNIFICANT)
