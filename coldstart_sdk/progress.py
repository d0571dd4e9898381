"""How far a start is, and how long it will still take: from its events, and from how long the last one took.

Nothing is promised that was not seen: without a last start, and with no bytes to count, there is no ETA.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from coldstart_sdk.events import (
    Event,
    State,
    StateChanged,
    StepEnded,
    StepProgress,
    StepStarted,
    now,
)
from coldstart_sdk.plan import Plan, Stage, Step

_UNKNOWN_S = 1.0
"""The weight in the percentage of a step that nobody has seen before."""


@dataclass(frozen=True, kw_only=True)
class Reading:
    """The start at one moment."""

    percent: int
    eta_s: float | None
    """None: nobody can know."""
    running: tuple[str, ...]


@dataclass(kw_only=True)
class _Seen:
    started_s: float
    ended_s: float | None = None
    done_bytes: int = 0
    total_bytes: int | None = None


class Progress:
    """Reads a start's events; a sink like any other."""

    def __init__(self, plan: Plan, usual_s: Mapping[str, float]) -> None:
        self._steps = {s.name: s for s in plan.steps_in(Stage.BEFORE_SNAPSHOT, Stage.AFTER_SNAPSHOT)}
        self._usual_s = usual_s
        self._seen: dict[str, _Seen] = {}
        self._ready = False
        self._lock = threading.Lock()

    def __call__(self, event: Event) -> None:
        with self._lock:
            match event:
                case StepStarted():
                    self._seen[event.step] = _Seen(started_s=event.at_s)
                case StepProgress() if event.step in self._seen:
                    seen = self._seen[event.step]
                    seen.done_bytes, seen.total_bytes = event.done_bytes, event.total_bytes
                case StepEnded():
                    self._seen.setdefault(event.step, _Seen(started_s=event.at_s)).ended_s = event.at_s
                case StateChanged():
                    self._ready = event.state is State.READY
                case _:
                    pass

    def read(self) -> Reading:
        with self._lock:
            if self._ready:
                return Reading(percent=100, eta_s=0.0, running=())
            at_s = now()
            weights = {name: max(self._usual_s.get(name, _UNKNOWN_S), 0.001) for name in self._steps}
            done = sum(weight * self._share(name, at_s) for name, weight in weights.items())
            running = tuple(name for name, seen in self._seen.items() if seen.ended_s is None)
            return Reading(
                percent=min(99, int(100 * done / (sum(weights.values()) or 1.0))),
                eta_s=self._eta_s(at_s),
                running=running,
            )

    def took_s(self) -> dict[str, float]:
        """How long each step that has ended took."""
        with self._lock:
            ended = {name: seen for name, seen in self._seen.items() if name in self._steps}
            return {name: s.ended_s - s.started_s for name, s in ended.items() if s.ended_s is not None}

    def _share(self, name: str, at_s: float) -> float:
        """How much of a step is behind us: 0 to 1."""
        seen = self._seen.get(name)
        if seen is None or seen.ended_s is not None:
            return 0.0 if seen is None else 1.0
        if seen.total_bytes:
            return min(1.0, seen.done_bytes / seen.total_bytes)
        usual_s = self._usual_s.get(name)
        return min(0.95, (at_s - seen.started_s) / usual_s) if usual_s else 0.0

    def _eta_s(self, at_s: float) -> float | None:
        """The longest way to READY through what is left; None when a step on it is unknown."""
        left: dict[str, float | None] = {}

        def way(step: Step) -> float | None:
            if step.name not in left:
                before = [way(self._steps[name]) for name in step.after if name in self._steps]
                own = self._left_s(step.name, at_s)
                left[step.name] = (
                    None if own is None or None in before else own + max(_known(before), default=0.0)
                )
            return left[step.name]

        ways = [way(step) for step in self._steps.values()]
        return None if None in ways else max(_known(ways), default=0.0)

    def _left_s(self, name: str, at_s: float) -> float | None:
        seen = self._seen.get(name)
        if seen is not None and seen.ended_s is not None:
            return 0.0
        if seen is not None and seen.total_bytes and seen.done_bytes and at_s > seen.started_s:
            return (seen.total_bytes - seen.done_bytes) * (at_s - seen.started_s) / seen.done_bytes
        usual_s = self._usual_s.get(name)
        if usual_s is None:
            return None
        return usual_s if seen is None else max(0.0, usual_s - (at_s - seen.started_s))


def recall(home: Path, name: str) -> dict[str, float]:
    """How long each step of this model took the last time; empty when there was none."""
    with suppress(OSError, ValueError):
        stored = json.loads(_path(home, name).read_text())
        return {step: float(took_s) for step, took_s in stored.items()}
    return {}


def remember(home: Path, name: str, took_s: Mapping[str, float]) -> None:
    """Keep it for the next start; a home that cannot be written to only means no ETA."""
    path = _path(home, name)
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_suffix(f".{os.getpid()}")
        fresh.write_text(json.dumps(took_s))
        fresh.replace(path)


def _path(home: Path, name: str) -> Path:
    return home / "traces" / f"{name}.usual.json"


def _known(values: list[float | None]) -> list[float]:
    return [value for value in values if value is not None]
