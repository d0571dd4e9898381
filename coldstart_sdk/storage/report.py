"""Tell a step's story: what was asked, how far it is, which file took how long.

Emits only from the thread that called `sync`, so whoever listens needs no lock on our behalf.
"""

from __future__ import annotations

from coldstart_sdk.events import Emit, Event, Noted, Resource, SpanRecorded, StepProgress, TierTried, now

DISK = "disk"
ORIGIN = "origin"
_APART_S = 0.1


class Report:
    """The events of one sync."""

    def __init__(self, step: str, emit: Emit) -> None:
        self.step = step
        self._emit = emit
        self._next_s = 0.0
        self._files: set[str] = set()

    def pass_on(self, event: Event) -> None:
        """What another process of ours has to say of this step."""
        if isinstance(event, SpanRecorded):
            self._files.add(event.name)
        self._emit(event)

    def has_told(self, name: str) -> bool:
        """Whether it was said where this file came from."""
        return name in self._files

    def tried(self, tier: str, *, hit: bool, reason: str | None = None) -> None:
        self._emit(TierTried(at_s=now(), step=self.step, tier=tier, hit=hit, reason=reason))

    def noted(self, message: str) -> None:
        self._emit(Noted(at_s=now(), step=self.step, message=message))

    def progress(self, done_bytes: int, total_bytes: int | None, *, last: bool = False) -> None:
        """At most ten a second, and always the last."""
        at_s = now()
        if last or at_s >= self._next_s:
            self._next_s = at_s + _APART_S
            self._emit(
                StepProgress(at_s=at_s, step=self.step, done_bytes=done_bytes, total_bytes=total_bytes)
            )

    def span(  # noqa: PLR0913 - the fields of one event
        self, name: str, *, resource: Resource, started_s: float, ended_s: float, count: int, tier: str
    ) -> None:
        self.pass_on(
            SpanRecorded(
                at_s=started_s,
                end_s=ended_s,
                step=self.step,
                name=name,
                resource=resource,
                bytes=count,
                tier=tier,
            )
        )
