"""Who may come in: as many requests at once as declared, a bounded queue behind them, a word for the rest.

Belongs to one event loop; nothing here locks.
"""

from __future__ import annotations

import asyncio
import collections
import math

RETRY_S = 1.0
"""What to tell a caller before any request has shown how long one takes."""


class FullError(Exception):
    """Every place and the whole queue are taken."""

    def __init__(self, retry_after_s: int) -> None:
        super().__init__(f"try again in {retry_after_s} s")
        self.retry_after_s = retry_after_s


class Gate:
    """Places and a queue; first come, first served."""

    def __init__(self, *, places: int, queue: int) -> None:
        self._places = places
        self._free = places
        self._limit = places + queue
        self._inside = 0
        self._late = 0
        self._waiting: collections.deque[asyncio.Future[None]] = collections.deque()
        self._usual_s = RETRY_S

    @property
    def waiting(self) -> int:
        """How many were let in and have no place yet."""
        return self._inside - self.running

    @property
    def running(self) -> int:
        """How many have a place."""
        return self._places - self._free

    @property
    def is_blocked(self) -> bool:
        """Whether code that is past its time keeps every place."""
        return self._late >= self._places

    def check(self) -> None:
        """`FullError` when too many are inside."""
        if self._inside >= self._limit:
            raise FullError(max(1, math.ceil(self._usual_s * self._inside / self._places)))

    def enter(self) -> None:
        """Be counted, if one more may come in."""
        self.check()
        self._inside += 1

    def take(self) -> bool:
        """Take a place if there is a free one."""
        if self._free and not self._waiting:
            self._free -= 1
            return True
        return False

    async def place(self) -> None:
        """Wait for a place."""
        if self.take():
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._hand_on()  # the place came just as its owner left
            raise

    def free(self, took_s: float) -> None:
        """Give the place to who waits longest."""
        self._usual_s += (took_s - self._usual_s) / 8
        self._hand_on()

    def leave(self) -> None:
        """Be counted no more."""
        self._inside -= 1

    def late(self, count: int) -> None:
        """One more is past its time and keeps its place, or with -1 one less."""
        self._late += count

    def _hand_on(self) -> None:
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1
