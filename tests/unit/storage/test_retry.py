"""Retries: few, later each time, never before they are asked for, and out of one budget."""

from __future__ import annotations

import threading
import time
from email.utils import formatdate

import pytest

from coldstart_sdk.storage.cancel import Cancelled
from coldstart_sdk.storage.retry import (
    FREE_RETRIES,
    IDLE_ATTEMPTS,
    LONGEST_DELAY_S,
    Patience,
    delay_s,
    persist,
    retry_after_s,
)
from coldstart_sdk.storage.transient import TransientError

AT_ONCE = TransientError("busy", retry_after_s=0)


def test_a_delay_is_drawn_from_a_growing_range_with_an_end() -> None:
    assert all(0 <= delay_s(1) <= 0.2 for _ in range(200))
    assert all(0 <= delay_s(30) <= LONGEST_DELAY_S for _ in range(200))
    assert len({delay_s(5) for _ in range(20)}) > 1


def test_what_never_succeeds_is_tried_a_few_times() -> None:
    calls = []

    def fail() -> None:
        calls.append(1)
        raise TransientError("busy")

    with pytest.raises(TransientError):
        persist(fail, Patience(requests=0, stopped=threading.Event(), free=2))

    assert len(calls) == 3
    assert not Patience(requests=0, stopped=threading.Event()).wait(AT_ONCE, IDLE_ATTEMPTS)


def test_what_succeeds_later_is_had() -> None:
    calls = []

    def call() -> int:
        calls.append(1)
        if len(calls) == 1:
            raise TransientError("busy")
        return 7

    assert persist(call, Patience(requests=0, stopped=threading.Event())) == 7


def test_all_retries_of_a_sync_come_out_of_one_budget() -> None:
    patience = Patience(requests=100, stopped=threading.Event(), free=0)

    allowed = [patience.wait(AT_ONCE, 0) for _ in range(25)]

    assert allowed == [True] * 20 + [False] * 5
    assert FREE_RETRIES > 0


def test_one_streams_retry_after_holds_every_stream() -> None:
    patience = Patience(requests=0, stopped=threading.Event())
    asked_s = time.monotonic()
    patience.wait(TransientError("busy", retry_after_s=0.3), 0)

    patience.hold()

    assert time.monotonic() - asked_s >= 0.3


def test_cancelling_ends_a_wait() -> None:
    with pytest.raises(Cancelled):
        Patience(requests=0, stopped=_impatient()).wait(TransientError("busy", retry_after_s=60), 0)


@pytest.mark.parametrize(
    ("value", "seconds"), [("0", 0.0), ("120", 120.0), ("soon", None), ("-5", None), ("", None), (None, None)]
)
def test_retry_after_is_read_as_seconds(value: str | None, seconds: float | None) -> None:
    assert retry_after_s(value) == seconds


def test_retry_after_is_read_as_a_date() -> None:
    later = retry_after_s(formatdate(time.time() + 60, usegmt=True))

    assert later is not None
    assert 55 < later <= 61
    assert retry_after_s(formatdate(0, usegmt=True)) == 0.0


def _impatient() -> threading.Event:
    stopped = threading.Event()
    stopped.set()
    return stopped
