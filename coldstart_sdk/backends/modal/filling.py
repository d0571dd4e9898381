"""The story of a volume that is being filled, for the person who waits."""

from __future__ import annotations

import sys

from coldstart_sdk.events import Event, StepEnded, StepProgress
from coldstart_sdk.trace import figures

EVERY_S = 5.0
"""Between two lines about one weight."""


class Filling:
    """A sink like any other."""

    def __init__(self) -> None:
        self._told_s: dict[str, float] = {}
        self._total: dict[str, int] = {}

    def __call__(self, event: Event) -> None:
        match event:
            case StepProgress():
                self._moved(event)
            case StepEnded():
                size = f", {figures.size(self._total[event.step])}" if event.step in self._total else ""
                _say(f"{event.step:<18} {event.outcome.value}{size}")
            case _:
                pass

    def _moved(self, event: StepProgress) -> None:
        self._total[event.step] = event.done_bytes
        if event.at_s - self._told_s.setdefault(event.step, event.at_s) < EVERY_S:
            return
        self._told_s[event.step] = event.at_s
        of = f" of {figures.size(event.total_bytes)}" if event.total_bytes else ""
        _say(f"{event.step:<18} {figures.size(event.done_bytes)}{of}")


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
