"""How many jobs to ask RunPod for.

Its worker asks for more only once a second while its places are taken, so with one place it never does more
than one job a second. A worker whose jobs are short asks for more than it runs at once; they wait here, where
the next one starts the moment a place is free. A worker whose jobs are long takes none that another could do.
"""

from __future__ import annotations

import math

SHORT_S = 0.5
LONG_S = 1.0
MOST = 32
_AT_LEAST = 3
"""Jobs to have seen before anything is changed."""


class Dispatch:
    """Decides from how long jobs take; between short and long nothing changes, so that nothing swings."""

    def __init__(self, places: int, queue: int) -> None:
        self._places = places
        self._most = min(max(places, MOST), places + queue)
        self._asked = places
        self._usual_s: float | None = None
        self._seen = 0

    def took(self, seconds: float) -> None:
        """One job's time, from its place to its end."""
        self._seen += 1
        self._usual_s = seconds if self._usual_s is None else self._usual_s + (seconds - self._usual_s) / 4

    def wanted(self, _current: int) -> int:
        """What RunPod's `concurrency_modifier` is asked for on every turn."""
        if self._usual_s is None or self._seen < _AT_LEAST:
            return self._asked
        if self._usual_s < SHORT_S:
            a_second = self._places * math.ceil(1 / max(self._usual_s, 1 / MOST))
            wanted = min(self._most, max(self._places, a_second))
            # To ask for fewer, the worker would have to run dry first.
            self._asked = max(self._asked, wanted)
        elif self._usual_s > LONG_S:
            self._asked = self._places
        return self._asked
