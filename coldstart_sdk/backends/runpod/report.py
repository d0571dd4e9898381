"""What a worker says in its log: one line of JSON about its start, and tracebacks without secrets."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterable, Mapping

from coldstart_sdk.events import (
    Anchor,
    AnchorSet,
    Event,
    Outcome,
    State,
    StateChanged,
    StepEnded,
    StepStarted,
)
from coldstart_sdk.journal import Journal
from coldstart_sdk.plan import Plan
from coldstart_sdk.redact import redact


class Report:
    """Reads events, and says how the start ended the moment it did."""

    def __init__(self, plan: Plan, journal: Journal, *, strike: int) -> None:
        self._plan = plan
        self._journal = journal
        self._strike = strike
        self._said = False

    def __call__(self, event: Event) -> None:
        over = isinstance(event, StateChanged) and event.state in {State.READY, State.FAILED}
        if isinstance(event, StateChanged) and over and not self._said:
            self._said = True
            say(self._line(event))

    def _line(self, ended: StateChanged) -> Mapping[str, object]:
        events = self._journal.events
        line: dict[str, object] = {
            "name": self._plan.spec.name,
            "state": ended.state.value,
            "after_s": round(ended.at_s - _zero(events, ended.at_s), 3),
            "steps": steps(events),
        }
        if ended.degraded:
            line["degraded"] = list(ended.degraded)
        if ended.state is State.FAILED:
            line |= {"reason": ended.reason, "where": ended.where, "fix": ended.fix, "strike": self._strike}
        return line


def say(line: Mapping[str, object]) -> None:
    sys.stdout.write(redact(json.dumps({"coldstart": line})) + "\n")
    sys.stdout.flush()


def steps(events: Iterable[Event]) -> dict[str, float]:
    """Seconds of every step that has ended well."""
    began: dict[str, float] = {}
    took: dict[str, float] = {}
    for event in events:
        if isinstance(event, StepStarted):
            began[event.step] = event.at_s
        elif isinstance(event, StepEnded) and event.outcome is Outcome.DONE and event.step in began:
            took[event.step] = round(event.at_s - began[event.step], 3)
    return took


def log_to_stderr() -> None:
    """Tracebacks of hooks and endpoints, as a person reads them, without what is secret."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Redacted("%(levelname)s %(name)s: %(message)s"))
    logger = logging.getLogger("coldstart")
    logger.addHandler(handler)
    logger.propagate = False


class _Redacted(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return redact(super().format(record))


def _zero(events: Iterable[Event], at_s: float) -> float:
    """Where the start began: with our process, or where this is a later try of the same, with us."""
    anchors = {event.anchor: event.at_s for event in events if isinstance(event, AnchorSet)}
    return anchors.get(Anchor.PROCESS, anchors.get(Anchor.SDK, at_s))
