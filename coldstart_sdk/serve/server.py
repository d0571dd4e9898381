"""Answer over HTTP from the first moment, and go down in order.

The port answers while the model is still starting: `/health`, `/ready`, and requests that wait. A signal
drains: what was accepted is answered, what comes now is refused, the hooks `close`, and the process ends; a
second signal ends it at once. A start that fails ends the server too.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import queue
import signal
import socket
import sys
import threading
from collections.abc import Callable, Generator
from types import FrameType
from typing import Any

import uvicorn

from coldstart_sdk.calls import Calls
from coldstart_sdk.events import State
from coldstart_sdk.lifecycle import Lifecycle, Status
from coldstart_sdk.serve.app import App
from coldstart_sdk.serve.options import Options
from coldstart_sdk.serve.witness import Witness

LAST_WORDS_S = 2
"""How long, after the end of the lifecycle, answers may still be on their way to their callers."""
KEEP_ALIVE_S = 20
"""How long a connection may rest between requests."""
BACKLOG = 2048


def run(  # noqa: PLR0913 - a worker, how it answers, and the two ends of its life
    life: Lifecycle,
    options: Options,
    witness: Witness,
    *,
    fd: int,
    drain_s: float,
    until: Callable[[], object] | None = None,
) -> bool:
    """Serve on an inherited socket until a signal comes, `until` returns, or the start fails.

    Whether a signal came: who begins anew after a failed start has to know.
    """
    loop = _new_loop()
    asyncio.set_event_loop(loop)
    life.lanes.use_loop(loop)
    calls = Calls(life, emit=witness, waits=options.waits)
    calls.watch_loop(thread_id=threading.get_ident())
    server = _Server(config(App(life, calls, witness, options)))
    end = _End(life, drain_s, ended=lambda: loop.call_soon_threadsafe(_stop, server))
    end.watch(until)
    try:
        loop.run_until_complete(server.serve(sockets=[socket.socket(fileno=fd)]))
        loop.run_until_complete(_end_all())
    finally:
        asyncio.set_event_loop(None)
        loop.close()
    return end.was_signalled


async def _end_all() -> None:
    """Leave nothing half-way when the loop closes; what does not end in its time goes with the process."""
    rest = asyncio.all_tasks() - {asyncio.current_task()}
    for task in rest:
        task.cancel()
    if rest:
        await asyncio.wait(rest, timeout=LAST_WORDS_S)
    await asyncio.get_running_loop().shutdown_asyncgens()


def config(app: App) -> uvicorn.Config:
    """How uvicorn runs the app; a figure that is not here is its own default."""
    return uvicorn.Config(
        app,
        http=_protocol(),
        ws="none",
        lifespan="off",
        proxy_headers=False,
        server_header=False,
        access_log=False,
        log_config=None,
        log_level=logging.WARNING,
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=LAST_WORDS_S,
    )


def _new_loop() -> asyncio.AbstractEventLoop:
    """The fastest that there is."""
    try:
        import uvloop  # noqa: PLC0415 - not on every system
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


class _Server(uvicorn.Server):
    """uvicorn's server; signals are ours."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


class _End:
    """Brings the worker down once, on a thread of its own, whoever asks for it."""

    def __init__(self, life: Lifecycle, drain_s: float, *, ended: Callable[[], object]) -> None:
        self._life = life
        self._drain_s = drain_s
        self._ended = ended
        self._asked: queue.SimpleQueue[None] = queue.SimpleQueue()
        """The one queue that a signal's handler may put into, wherever the main thread stands."""
        self.was_signalled = False

    def watch(self, until: Callable[[], object] | None) -> None:
        """Listen for signals, for `until`, and for a start that fails."""
        threading.Thread(target=self._live, name="coldstart-end", daemon=True).start()
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, self._signalled)
        if until:  # after the signals: it may tell of one that came before
            threading.Thread(target=self._wait, args=(until,), name="coldstart-until", daemon=True).start()
        self._life.watch(self._changed)

    def _wait(self, until: Callable[[], object]) -> None:
        until()
        self._asked.put(None)

    def _signalled(self, number: int, _frame: FrameType | None) -> None:
        if self.was_signalled:
            os._exit(128 + number)
        self.was_signalled = True
        self._asked.put(None)

    def _changed(self, status: Status) -> None:
        if status.state is State.FAILED:
            self._asked.put(None)

    def _live(self) -> None:
        self._asked.get()
        self._life.drain(self._drain_s)
        self._ended()


def _stop(server: uvicorn.Server) -> None:
    server.should_exit = True


def _protocol() -> Any:  # noqa: ANN401 - a class, or uvicorn's name for one
    """Ours, bounded; where httptools is missing uvicorn's own, whose parser bounds the head by itself."""
    if sys.platform == "win32":
        return "auto"
    try:
        from coldstart_sdk.serve import connections  # noqa: PLC0415 - needs httptools
    except ImportError:
        return "auto"
    connections.BoundedProtocol.most = connections.most_connections()
    return connections.BoundedProtocol
