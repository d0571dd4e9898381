"""A user's code runs for so long and no longer, and nothing that it raises is lost."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from types import FrameType

import pytest

from coldstart_sdk.lanes import Lanes, Thread
from coldstart_sdk.running import OutOfTimeError, on_thread, watch_loop, within

LONG_S = 60.0


def _run_on_thread(function: Callable[[], object], timeout_s: float = LONG_S) -> object:
    thread = Thread("test")
    try:
        return asyncio.run(on_thread(thread, function, timeout_s))
    finally:
        thread.close()


def test_a_function_runs_on_the_thread_it_was_given() -> None:
    assert _run_on_thread(lambda: threading.current_thread().name) == "test"


@pytest.mark.parametrize("raised", [ValueError("no"), SystemExit(3), KeyboardInterrupt()])
def test_what_a_function_raises_comes_to_the_caller_and_the_thread_lives(raised: BaseException) -> None:
    thread = Thread("test")

    def raises() -> None:
        raise raised

    async def scene() -> object:
        with pytest.raises(type(raised)):
            await on_thread(thread, raises, LONG_S)
        return await on_thread(thread, lambda: "alive", LONG_S)

    assert asyncio.run(scene()) == "alive"
    thread.close()


def test_a_stop_iteration_is_an_error_and_not_an_end() -> None:
    def raises() -> None:
        raise StopIteration(7)

    with pytest.raises(RuntimeError, match="StopIteration: 7"):
        _run_on_thread(raises)


def test_a_caller_is_told_in_time_although_the_thread_goes_on() -> None:
    thread, may_end = Thread("test"), threading.Event()

    async def scene() -> bool:
        with pytest.raises(OutOfTimeError):
            await on_thread(thread, may_end.wait, 0.01)
        may_end.set()
        return await on_thread(thread, lambda: True, LONG_S)

    assert asyncio.run(scene())
    thread.close()


def test_a_thread_that_ends_after_its_loop_does_not_die_of_it() -> None:
    thread, may_end, survived = Thread("test"), threading.Event(), threading.Event()

    async def scene() -> None:
        with pytest.raises(OutOfTimeError):
            await on_thread(thread, may_end.wait, 0.01)

    asyncio.run(scene())
    may_end.set()
    thread.call(survived.set)

    assert survived.wait(LONG_S)
    thread.close()


def test_within_gives_what_comes_in_time() -> None:
    assert asyncio.run(within(asyncio.sleep(0, "here"), LONG_S)) == "here"


def test_within_cancels_what_takes_too_long() -> None:
    ended = []

    async def slow() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    with pytest.raises(OutOfTimeError):
        asyncio.run(within(slow(), 0.01))
    assert ended == [True]


def test_within_lets_a_timeout_of_the_code_itself_through() -> None:
    async def raises() -> None:
        raise TimeoutError

    with pytest.raises(TimeoutError):
        asyncio.run(within(raises(), LONG_S))


def test_within_leaves_a_cancellation_from_outside_what_it_is() -> None:
    async def scene() -> bool:
        task = asyncio.create_task(within(asyncio.Event().wait(), LONG_S))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        return task.cancelled()

    assert asyncio.run(scene())


def test_a_task_goes_on_after_a_time_that_ran_out() -> None:
    async def scene() -> str:
        with pytest.raises(OutOfTimeError):
            await within(asyncio.Event().wait(), 0.01)
        await asyncio.sleep(0)  # a cancellation that was left over would come here
        return await within(asyncio.sleep(0, "goes on"), LONG_S)

    assert asyncio.run(scene()) == "goes on"


def test_a_loop_that_stays_held_up_is_looked_at_again() -> None:
    """The first look may come before the code that will not end is reached."""
    lanes, twice = Lanes(), threading.Event()
    seen: list[FrameType] = []

    def held_up(frame: FrameType) -> None:
        seen.append(frame)
        if len(seen) > 1:
            twice.set()

    try:
        loop = lanes.loop
        watch_loop(lanes, held_up)
        loop.call_soon_threadsafe(lambda: twice.wait(LONG_S))

        assert twice.wait(LONG_S)
    finally:
        twice.set()
        lanes.close()
