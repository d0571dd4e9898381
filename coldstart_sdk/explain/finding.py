"""What a rule says, and what is made of it: frozen data."""

from __future__ import annotations

from dataclasses import dataclass

from coldstart_sdk.explain.graph import Change


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One waste that one rule found in one start."""

    rule: str
    what: str
    """In one line, subject first."""
    why: str
    """What makes it a waste."""
    evidence: tuple[str, ...]
    """What the trace shows, figure by figure."""
    fix: str
    """The exact change to make."""
    changes: tuple[Change, ...] = ()
    """What would be otherwise about the start."""
    first_s: float = 0.0
    """Seconds that the first answer, not READY, would gain."""
    supposes: str | None = None
    """What must be so for the saving to come true, where the trace cannot tell."""

    @property
    def is_remark(self) -> bool:
        """It costs no time in this start, and should be known all the same."""
        return not self.changes and self.first_s <= 0


@dataclass(frozen=True, kw_only=True)
class Advice:
    """One finding and what it is worth, after all the advice before it was taken."""

    finding: Finding
    saves_s: float
    """Of the time to READY, or of the first answer."""
    of_ready: bool
    together_with: Finding | None = None
    """Only both save this: each alone leaves the other as the critical path."""


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """One start, and what could be saved of it."""

    name: str | None
    ready_s: float
    answer_s: float | None
    """The first answer, from READY or from its acceptance, whichever was later."""
    advice: tuple[Advice, ...]
    """The most worth first, each counted after those of READY before it."""
    beside: tuple[Finding, ...]
    """True, and worth nothing: READY did not wait for it."""
    remarks: tuple[Finding, ...]

    @property
    def avoidable_s(self) -> float:
        """Of the time to READY."""
        return sum(advice.saves_s for advice in self.advice if advice.of_ready)

    @property
    def avoidable_first_s(self) -> float:
        """Of the first answer."""
        return sum(advice.saves_s for advice in self.advice if not advice.of_ready)
