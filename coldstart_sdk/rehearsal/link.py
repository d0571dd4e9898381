"""A link of a chosen speed, shared by every connection of a server.

Bytes are paced where they are sent: a small piece waits until the link would have carried it. Falling
behind by a moment is made up for, so the average holds; an idle link saves nothing up.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable

from coldstart_sdk.errors import UsageError

_CATCH_UP_S = 0.05
_PIECE_S = 0.005
_SMALLEST_PIECE = 1 << 10
_LARGEST_PIECE = 1 << 20
_RATES = {"kbit": 1e3 / 8, "mbit": 1e6 / 8, "gbit": 1e9 / 8, "kb/s": 1e3, "mb/s": 1e6, "gb/s": 1e9}


class Bucket:
    """One rate; whoever takes from it waits for its turn."""

    def __init__(self, rate_bytes_s: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.rate_bytes_s = rate_bytes_s
        self._clock = clock
        self._free_at_s = clock()
        self._lock = threading.Lock()

    @property
    def piece_bytes(self) -> int:
        """As much as may be sent in one go without the rate becoming coarse."""
        return max(_SMALLEST_PIECE, min(_LARGEST_PIECE, int(self.rate_bytes_s * _PIECE_S)))

    def take(self, count: int) -> float:
        """Seconds to wait before `count` bytes have been carried."""
        with self._lock:
            now = self._clock()
            self._free_at_s = max(self._free_at_s, now - _CATCH_UP_S) + count / self.rate_bytes_s
            return max(0.0, self._free_at_s - now)


class Link:
    """A server's speed, in total and for each connection, and how long an answer takes to start."""

    def __init__(
        self,
        *,
        rate_bytes_s: float | None = None,
        per_connection_bytes_s: float | None = None,
        latency_s: float = 0.0,
    ) -> None:
        self.latency_s = latency_s
        self._per_connection_bytes_s = per_connection_bytes_s
        self._total = Bucket(rate_bytes_s) if rate_bytes_s else None

    def connect(self) -> tuple[Bucket, ...]:
        """The rates that hold for one new connection."""
        own = Bucket(self._per_connection_bytes_s) if self._per_connection_bytes_s else None
        return tuple(bucket for bucket in (self._total, own) if bucket is not None)


def speed(name: str, text: str) -> float:
    """Bytes a second, as people write them: 1Gbit, 300 Mbit, 100MB/s. `name` is the option that said it."""
    said = text.lower().replace(" ", "")
    unit = next((unit for unit in _RATES if said.endswith(unit)), "")
    try:
        rate = float(said.removesuffix(unit)) * _RATES[unit]
    except (ValueError, KeyError):
        rate = 0.0
    if not 0 < rate < math.inf:
        raise UsageError(f"{name}={text[:40]} is no speed", fix="Write 1Gbit, 300Mbit or 100MB/s.")
    return rate
