"""Run a user's code for a caller, on a thread or on the loop, for so long and no longer.

A thread cannot be ended: the caller is told in time, and the thread is given back when its code returns.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from types import FrameType
from typing import TypeVar, cast

from coldstart_sdk.lanes import Lanes, Thread
from coldstart_sdk.plan import Lane

T = TypeVar("T")


class OutOfTimeError(Exception):
    """It did not end in its time."""


class Threads:
    """As many threads as requests may run at once; with one place it is the model thread."""

    def __init__(self, lanes: Lanes, places: int) -> None:
        self._lanes = lanes
        self._pool = [Thread(f"coldstart-request-{n}") for n in range(places)] if places > 1 else None

    def take(self) -> Thread:
        """A free thread; the gate sees to it that there is one."""
        return self._lanes.thread(Lane.MODEL) if self._pool is None else self._pool.pop()

    def give_back(self, thread: Thread) -> None:
        if self._pool is not None:
            self._pool.append(thread)


LATE_S = 1.0
"""A loop that does not answer for so long is held up."""
_EVERY_S = 0.5


def watch_loop(lanes: Lanes, held_up: Callable[[FrameType], object], *, thread_id: int | None = None) -> None:
    """Tell, while the shared loop is held up, by which frames; two wake-ups a second, none a request.

    `thread_id` is the loop's thread, where a server brings it; our own loop tells it.
    """

    def watch() -> None:
        tick = threading.Event()
        loop = lanes.loop
        with suppress(RuntimeError):  # the loop is closed, and the watch over
            while not tick.wait(_EVERY_S):
                _ask(loop, held_up, thread_id)

    threading.Thread(target=watch, name="coldstart-loop-watch", daemon=True).start()


def _ask(
    loop: asyncio.AbstractEventLoop, held_up: Callable[[FrameType], object], thread_id: int | None
) -> None:
    answers = threading.Event()
    loop.call_soon_threadsafe(answers.set)
    # Looked at again and again: on a busy machine the first look may come before the frame that will not end.
    while not answers.wait(LATE_S) and not loop.is_closed():
        on = thread_id or getattr(loop, "_thread_id", None)  # a loop has none before it runs
        if frame := sys._current_frames().get(on or 0):  # noqa: SLF001 - the documented way to see where a thread stands
            held_up(frame)


async def on_thread(thread: Thread, function: Callable[[], T], timeout_s: float) -> T:
    """What the function returns or raises; `OutOfTimeError` when that takes too long."""
    loop = asyncio.get_running_loop()
    ends: asyncio.Future[T] = loop.create_future()
    timer = loop.call_later(timeout_s, _fail, ends, OutOfTimeError())

    def call() -> None:
        try:
            result = function()
        except StopIteration as exc:
            _tell(loop, _fail, ends, RuntimeError(f"StopIteration: {exc.value}"))
        except BaseException as exc:  # noqa: BLE001 - it is the caller's to look at, sys.exit included
            _tell(loop, _fail, ends, exc)
        else:
            _tell(loop, _succeed, ends, result)

    thread.call(call)
    try:
        return await ends
    finally:
        timer.cancel()


async def within(awaitable: Awaitable[T], timeout_s: float) -> T:
    """What the awaitable gives; cancelled, and `OutOfTimeError`, when that takes too long.

    `asyncio.timeout` does the same at three times the cost, and not before Python 3.11.
    """
    task = cast("asyncio.Task[object]", asyncio.current_task())
    others = _cancellations(task)
    is_over = False

    def end() -> None:
        nonlocal is_over
        is_over = True
        task.cancel()

    timer = task.get_loop().call_later(timeout_s, end)
    try:
        return await awaitable
    except asyncio.CancelledError as exc:
        if is_over and _take_back(task) <= others:
            raise OutOfTimeError from exc
        raise
    finally:
        timer.cancel()


def _cancellations(task: asyncio.Task[object]) -> int:
    if sys.version_info >= (3, 11):
        return task.cancelling()
    return 0


def _take_back(task: asyncio.Task[object]) -> int:
    """One cancellation less; how many are left."""
    if sys.version_info >= (3, 11):
        return task.uncancel()
    return 0


def _tell(loop: asyncio.AbstractEventLoop, say: Callable[..., None], *what: object) -> None:
    """From a thread to the loop; a loop that is closed has nobody left to be told."""
    with suppress(RuntimeError):
        loop.call_soon_threadsafe(say, *what)


def _succeed(ends: asyncio.Future[T], result: T) -> None:
    if not ends.done():
        ends.set_result(result)


def _fail(ends: asyncio.Future[T], raised: BaseException) -> None:
    if not ends.done():
        ends.set_exception(raised)
