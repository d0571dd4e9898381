"""The process beside a start: reads what it is told to, and ends with whoever started it.

Orders come on standard input, replies go to standard output. It imports the byte path and nothing else.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from coldstart_sdk.errors import StorageError
from coldstart_sdk.events import Event
from coldstart_sdk.manifest import FileEntry
from coldstart_sdk.storage import orders, streams
from coldstart_sdk.storage.cancel import Cancelled, stop_if
from coldstart_sdk.storage.home import Home
from coldstart_sdk.storage.http import Address
from coldstart_sdk.storage.orders import End, Fetch, Found, Reply, Stop
from coldstart_sdk.storage.remote import ChangedError, Limits
from coldstart_sdk.storage.report import Report

_TICK_S = 0.05
_LOOK_S = 1.0
_WRITE_BYTES = 64 << 10
"""The kernel finds room for small pieces much sooner than for large ones, once memory is in pieces. Beside an
import each of them would wait for the interpreter; here they need not."""


def main() -> None:
    # Whoever started us decides what Ctrl-C means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    mouth = _Mouth()
    jobs: dict[int, _Job] = {}
    for text in sys.stdin.buffer:
        match orders.read_order(text):
            case Fetch() as asked:
                jobs[asked.job] = _Job(asked, mouth.say)
            case Found() as found:
                jobs[found.job].found[found.index] = Address(url=found.url, headers=found.headers)
            case Stop() as stop:
                jobs[stop.job].stopped.set()
            case End():
                break
    # No more orders: whoever gave them is done, or dead. Nothing is lost that is not in a journal.
    os._exit(0)


class _Mouth:
    """Standard output, kept from whatever else may print."""

    def __init__(self) -> None:
        self._pipe = os.fdopen(os.dup(1), "wb")
        os.dup2(2, 1)
        self._lock = threading.Lock()

    def say(self, reply: Reply) -> None:
        with self._lock:
            self._pipe.write(orders.line(reply))
            self._pipe.flush()


class _Job:
    """One fetch, in a thread of its own."""

    def __init__(self, asked: Fetch, say: Callable[[Reply], None]) -> None:
        self._asked = asked
        self._say = say
        self.stopped = threading.Event()
        self.found: dict[int, Address] = {
            index: Address(url=file.url, headers=file.headers) for index, file in enumerate(asked.files)
        }
        threading.Thread(target=self._work, name=f"coldstart-job-{asked.job}", daemon=True).start()

    def _work(self) -> None:
        job = self._asked.job
        try:
            self._say(orders.Fetched(job=job, entries=self._fetched()))
        except ChangedError as changed:
            self._say(orders.Changed(job=job, path=changed.path))
        except Cancelled:
            self._say(orders.Stopped(job=job))
        except StorageError as failed:
            problem = failed.problems[0]
            self._say(
                orders.Failed(job=job, message=problem.message, where=problem.where, fix=problem.fix or "")
            )

    def _fetched(self) -> tuple[FileEntry, ...]:
        asked = self._asked
        entries = streams.read(
            [orders.remote(file, self._locating(index)) for index, file in enumerate(asked.files)],
            home=Home(Path(asked.home)),
            limits=Limits(streams=asked.streams, stall_s=asked.stall_s, write_bytes=_WRITE_BYTES),
            report=Report(asked.step, self._tell),
            cancelled=self.stopped,
            tier=asked.tier,
            partly=asked.partly,
        )
        return tuple(entries.values())

    def _tell(self, event: Event) -> None:
        self._say(orders.Told(job=self._asked.job, event=event))

    def _locating(self, index: int) -> Callable[[], Address]:
        """The address that came with the order; after that, one asked for anew each time."""
        uses = iter([True])

        def locate() -> Address:
            if next(uses, False):
                return self.found[index]
            self.found.pop(index, None)
            self._say(orders.Lost(job=self._asked.job, index=index))
            while index not in self.found:
                stop_if(self.stopped)
                time.sleep(_TICK_S)
            return self.found[index]

        return locate


def _end_with(parent: int) -> None:
    """A process that our parent forked may hold the pipe open; its death shows all the same."""
    while os.getppid() == parent:
        time.sleep(_LOOK_S)
    os._exit(0)


if __name__ == "__main__":
    main()
