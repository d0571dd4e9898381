"""A start told while it happens: a line for each step as it ends; on a terminal, a bar while bytes move."""

from __future__ import annotations

import time
from collections.abc import Mapping

from coldstart_sdk.cli.console import GREEN, RED, YELLOW, Console
from coldstart_sdk.events import (
    Event,
    Noted,
    Outcome,
    State,
    StateChanged,
    StepEnded,
    StepProgress,
    StepStarted,
    TierTried,
)
from coldstart_sdk.plan import StepKind
from coldstart_sdk.trace import figures

_FETCHED = "fetched"
_DONE: Mapping[str, str] = {
    StepKind.BUILD.value: "built",
    StepKind.FETCH.value: _FETCHED,
    StepKind.IMPORT.value: "imported",
    StepKind.CUDA_INIT.value: "opened",
    StepKind.CONSTRUCT.value: "constructed",
    StepKind.LOAD.value: "loaded",
    StepKind.RESTORED.value: "restored",
    StepKind.WARMUP.value: "warmed up",
    StepKind.CANARY.value: "answered as before",
    StepKind.BACKGROUND.value: "ran in the background",
    StepKind.CLOSE.value: "closed",
    "push": "sent",
    "verify": "read",
}
_ELSE: Mapping[Outcome, str] = {
    Outcome.DONE: "ended",
    Outcome.FAILED: "failed",
    Outcome.TIMED_OUT: "timed out",
    Outcome.CANCELLED: "was cancelled",
    Outcome.SKIPPED: "was skipped",
    Outcome.REFUSED: "was refused",
}
_CLOSES = f"{StepKind.CLOSE.value}:"
_REDRAW_S = 0.1
_BAR = 24


class Story:
    """Reads one worker's events in order, and says what a person wants to know of them."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._started_s: dict[str, float] = {}
        self._moved: dict[str, StepProgress] = {}
        self._tiers: dict[str, list[str]] = {}
        self._is_ready = False
        self._degraded: set[str] = set()
        self._drawn_s = 0.0

    def __call__(self, event: Event) -> None:
        match event:
            case StepStarted():
                self._started_s[event.step] = event.at_s
            case StepProgress():
                self._moved[event.step] = event
                self._draw(event.at_s)
            case TierTried(hit=True):
                self._tiers.setdefault(event.step, []).append(event.tier)
            case StepEnded():
                self._ended(event)
            case Noted():
                self._console.did(event.step or "note", event.message)
            case StateChanged():
                self._became(event)
            case _:
                pass

    def _ended(self, event: StepEnded) -> None:
        started_s = self._started_s.pop(event.step, event.at_s)
        lasted_s = event.at_s - started_s
        moved = self._moved.pop(event.step, None)
        if event.outcome is Outcome.CANCELLED and lasted_s == 0:
            return
        said = _ELSE[event.outcome]
        if event.outcome is Outcome.DONE:
            said = _DONE.get(event.step.partition(":")[0], said)
            if moved is not None and moved.done_bytes:
                speed = f" at {figures.speed(moved.done_bytes, lasted_s)}" if lasted_s > 0 else ""
                said += f" {figures.size(moved.done_bytes)}{speed}"
            if tiers := self._tiers.get(event.step):
                said += f" from {'+'.join(dict.fromkeys(tiers))}"
            elif said == _FETCHED:
                said = "arranged"  # by the user's own hook
        elif event.reason:
            said += f": {event.reason}"
        bad = event.outcome in {Outcome.FAILED, Outcome.TIMED_OUT}
        self._console.did(
            event.step,
            said,
            figures.duration(lasted_s),
            style=RED if bad else "",
            insist=bad and event.step.startswith(_CLOSES),  # nothing else will tell of it
        )

    def _became(self, event: StateChanged) -> None:
        if event.state is not State.READY:
            return
        if not self._is_ready:
            self._is_ready = True
            self._console.did("ready", "takes requests", style=GREEN)
        for step in event.degraded:
            if step not in self._degraded:
                self._degraded.add(step)
                self._console.did("degraded", f"goes on without {step}", style=YELLOW)

    def _draw(self, at_s: float) -> None:
        if not self._console.live or time.monotonic() - self._drawn_s < _REDRAW_S:
            return
        self._drawn_s = time.monotonic()
        moving = [seen for seen in self._moved.values() if seen.step in self._started_s]
        done = sum(seen.done_bytes for seen in moving)
        total = (
            sum(seen.total_bytes or 0 for seen in moving) if all(seen.total_bytes for seen in moving) else 0
        )
        since_s = min((self._started_s[seen.step] for seen in moving), default=at_s)
        speed = figures.speed(done, at_s - since_s) if at_s > since_s else ""
        full, empty = ("█", "░") if self._console.unicode else ("#", ".")
        filled = int(_BAR * done / total) if total else 0
        bar = f"{full * filled}{empty * (_BAR - filled)} " if total else ""
        of = f" of {figures.size(total)}" if total else ""
        left = (
            f", {figures.duration((total - done) * (at_s - since_s) / done)} left" if total and done else ""
        )
        names = ", ".join(seen.step for seen in moving)
        self._console.draw(f"{names}  {bar}{figures.size(done)}{of}  {speed}{left}")
