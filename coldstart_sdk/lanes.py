"""The threads that steps and requests run on.

A lane takes calls and reports each one's end to a callback, on the lane's own thread. A call that hangs
cannot be ended from here, only left behind: `Lanes.abandon` gives its lane a fresh thread.
"""

from __future__ import annotations

import os
import queue
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar, cast

from coldstart_sdk.plan import Lane

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Coroutine
    from concurrent.futures import Future
    from types import FrameType

T = TypeVar("T")


class Thread:
    """One daemon thread that makes calls in the order in which they came."""

    def __init__(self, name: str) -> None:
        self._calls: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def call(self, function: Callable[[], None]) -> None:
        """Make the call in its turn; `function` must not raise."""
        self._calls.put(function)

    @property
    def frame(self) -> FrameType | None:
        """Where it stands at this moment."""
        return sys._current_frames().get(self._thread.ident or 0)  # noqa: SLF001 - the documented way to see that

    def close(self) -> None:
        """End after the calls that are already waiting."""
        self._calls.put(None)

    def join(self, timeout_s: float) -> None:
        """Wait for that end."""
        self._thread.join(timeout_s)

    def _run(self) -> None:
        while (function := self._calls.get()) is not None:
            function()


class Lanes:
    """Every thread of one worker, and the loop that async hooks and endpoints share.

    A server brings its own loop (`own_loop=False`, then `use_loop`): whoever needs it earlier waits for it.
    """

    def __init__(self, *, own_loop: bool = True) -> None:
        self._own_loop = own_loop
        self._loop: asyncio.AbstractEventLoop | None = None
        self._loop_is_there = threading.Event()
        self._loop_thread: threading.Thread | None = None
        self._threads: dict[Lane, Thread] = {}
        self._lock = threading.Lock()

    def start(self, lane: Lane, name: str, function: Callable[[], None]) -> None:
        """Run `function` on the lane; a lane of its own is a new thread called `name`."""
        if lane is Lane.OWN:
            threading.Thread(target=function, name=name, daemon=True).start()
        else:
            self.thread(lane).call(function)

    def thread(self, lane: Lane) -> Thread:
        """The one thread of a shared lane."""
        with self._lock:
            if lane not in self._threads:
                self._threads[lane] = Thread(f"coldstart-{lane.value}")
            return self._threads[lane]

    def abandon(self, lane: Lane) -> None:
        """Leave the lane's thread to the call it hangs in; the next call gets a new one."""
        with self._lock:
            if thread := self._threads.pop(lane, None):
                thread.close()

    def close(self, timeout_s: float = 10.0) -> None:
        """End every thread that has nothing left to do; the next call gets new ones.

        A process is frozen more safely without threads. A loop that a server brought is left to it.
        """
        with self._lock:
            threads, self._threads = list(self._threads.values()), {}
            loop, thread = self._loop, self._loop_thread
            if thread is not None:
                self._loop, self._loop_thread = None, None
                self._loop_is_there.clear()
        for each in threads:
            each.close()
            each.join(timeout_s)
        if loop and thread:
            loop.call_soon_threadsafe(loop.stop)
            thread.join(timeout_s)
            if not thread.is_alive():
                loop.close()

    def run_async(self, coroutine: Coroutine[Any, Any, T]) -> Future[T]:
        """Run a coroutine on the loop that async hooks and endpoints share."""
        import asyncio  # noqa: PLC0415 - a start without async hooks does not pay for it

        return asyncio.run_coroutine_threadsafe(coroutine, self.loop)

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The shared loop, running on a thread."""
        with self._lock:
            if self._own_loop and self._loop is None:
                self._start_loop()
        self._loop_is_there.wait()
        return cast("asyncio.AbstractEventLoop", self._loop)

    def use_loop(self, loop: asyncio.AbstractEventLoop) -> None:
        """Share the loop that a server runs."""
        self._loop = loop
        self._loop_is_there.set()

    def _start_loop(self) -> None:
        import asyncio  # noqa: PLC0415 - as above

        loop = asyncio.new_event_loop()
        self._loop_thread = threading.Thread(target=loop.run_forever, name="coldstart-loop", daemon=True)
        self._loop_thread.start()
        self.use_loop(loop)


def yield_to_others() -> None:
    """Let every other thread of this worker go first."""
    with suppress(OSError, AttributeError):  # only Linux gives a thread a priority of its own
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 15)
