"""How often, and after how long, a request is made again.

Full jitter on an exponential delay, never before a Retry-After, a few attempts without a byte of progress,
and one budget for the whole sync, so that a sick origin sees few requests more than a healthy one.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from coldstart_sdk.storage.cancel import Cancelled
from coldstart_sdk.storage.transient import TransientError

T = TypeVar("T")

IDLE_ATTEMPTS = 6
"""Attempts in a row without a byte of progress."""
FIRST_DELAY_S = 0.1
LONGEST_DELAY_S = 8.0
LONGEST_RETRY_AFTER_S = 120.0
"""An origin that asks for more is given up."""
FREE_RETRIES = 24


class Patience:
    """The retries that one sync may still spend; shared by its streams."""

    def __init__(self, *, requests: int, stopped: threading.Event, free: int = FREE_RETRIES) -> None:
        self._left = free + requests // 5
        self._stopped = stopped
        self._not_before = 0.0
        self._lock = threading.Lock()

    def wait(self, failed: TransientError, attempt: int) -> bool:
        """Wait before attempt number `attempt` + 1; False where there must be none."""
        asked = failed.retry_after_s
        if attempt >= IDLE_ATTEMPTS or (asked is not None and asked > LONGEST_RETRY_AFTER_S):
            return False
        with self._lock:
            if self._left <= 0:
                return False
            self._left -= 1
            if asked is not None:
                self._not_before = max(self._not_before, time.monotonic() + asked)
        self._sleep(delay_s(attempt))
        self.hold()
        return True

    def hold(self) -> None:
        """Wait while the origin has asked for silence; every stream does before every request."""
        self._sleep(self._not_before - time.monotonic())

    def _sleep(self, seconds: float) -> None:
        if self._stopped.wait(max(0.0, seconds)):
            raise Cancelled


def persist(call: Callable[[], T], patience: Patience) -> T:
    """What `call` gives, asked again while it fails in passing."""
    attempt = 0
    while True:
        try:
            patience.hold()
            return call()
        except TransientError as failed:  # noqa: PERF203 - what it is for
            attempt += 1
            if not patience.wait(failed, attempt):
                raise


def delay_s(attempt: int) -> float:
    return random.uniform(0, min(LONGEST_DELAY_S, FIRST_DELAY_S * 2**attempt))  # noqa: S311 - jitter, not a secret


def retry_after_s(value: str | None) -> float | None:
    """Seconds from a Retry-After header, given as seconds or as a date; None where it says neither."""
    if not value:
        return None
    if value.strip().isdigit():
        return float(value)
    from email.utils import parsedate_to_datetime  # noqa: PLC0415 - rare, and it brings much of mail along

    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, TypeError):
        return None
