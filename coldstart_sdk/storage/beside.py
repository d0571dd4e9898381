"""A process beside this one that reads what a start needs, so that neither waits for the other's interpreter.

One serves all sets of a start. It is there while somebody holds it, ends with us however that happens, and
is done without where it cannot be had: whoever asked then reads for itself.
"""

from __future__ import annotations

import itertools
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NoReturn

from coldstart_sdk.errors import StorageError
from coldstart_sdk.manifest import FileEntry
from coldstart_sdk.storage import orders
from coldstart_sdk.storage.cancel import Cancelled
from coldstart_sdk.storage.home import Home
from coldstart_sdk.storage.orders import (
    Changed,
    End,
    Failed,
    Fetch,
    Fetched,
    Found,
    Lost,
    Order,
    Reply,
    Stop,
    Stopped,
    Told,
)
from coldstart_sdk.storage.remote import ChangedError, Limits, RemoteFile
from coldstart_sdk.storage.report import Report

_TICK_S = 0.05
_END_S = 5.0
# Without `site` and the environment: nothing of the user's is imported, and nothing that is not asked for.
_START = "import sys; sys.path[:0] = sys.argv[1:]; from coldstart_sdk.storage.reader import main; main()"


class GoneError(Exception):
    """There is no such process, or none any more."""


@contextmanager
def held() -> Iterator[Beside]:
    """The process, started if nobody else holds it; it ends when nobody does."""
    beside = _take()
    try:
        yield beside
    finally:
        _give_back(beside)


class Beside:
    """The process, as this one sees it."""

    def __init__(self) -> None:
        self.holders = 0
        self.owner = os.getpid()
        self._numbers = itertools.count()
        self._replies: dict[int, queue.SimpleQueue[Reply | None]] = {}
        self._lock = threading.Lock()
        self._is_gone = False
        self._was_asked = False
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", _START, *_module_path()],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )
        except OSError as refused:
            raise GoneError(f"no process can be started beside this one: {refused.strerror}") from refused
        self._reader = threading.Thread(target=self._listen, name="coldstart-beside", daemon=True)
        self._reader.start()

    @property
    def is_usable(self) -> bool:
        return not self._is_gone and self.owner == os.getpid()

    @property
    def code(self) -> int | None:
        """How it ended; None while it lives."""
        return self._process.poll()

    def fetch(  # noqa: PLR0913 - what a transfer needs, each by its name
        self,
        files: Sequence[RemoteFile],
        *,
        home: Home,
        limits: Limits,
        report: Report,
        cancelled: threading.Event,
        tier: str,
        partly: bool = False,
    ) -> dict[str, FileEntry]:
        replies: queue.SimpleQueue[Reply | None] = queue.SimpleQueue()
        with self._lock:
            job = next(self._numbers)
            self._replies[job] = replies
            if self._is_gone:
                raise GoneError("the process that reads beside this one is gone")
            self._was_asked = True
        self._say(
            Fetch(
                job=job,
                home=str(home.root),
                step=report.step,
                tier=tier,
                partly=partly,
                streams=limits.streams,
                stall_s=limits.stall_s,
                files=tuple(map(orders.wanted, files)),
            )
        )
        try:
            return self._followed(job, files, replies, report, cancelled)
        finally:
            del self._replies[job]

    def end(self) -> None:
        """No more orders; it ends at once, also if it has only begun."""
        process = self._process
        if self.owner == os.getpid() and not self._was_asked:
            process.kill()
        elif self.owner == os.getpid():
            with suppress(GoneError):
                self._say(End())
        for pipe in (process.stdin, process.stdout if self.owner != os.getpid() else None):
            with suppress(OSError):
                if pipe is not None:
                    pipe.close()
        if self.owner != os.getpid():
            process.returncode = 0  # a fork's copy: it is not ours to wait for
            return
        try:
            process.wait(_END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        self._reader.join(_END_S)
        if process.stdout is not None:
            process.stdout.close()

    def _followed(
        self,
        job: int,
        files: Sequence[RemoteFile],
        replies: queue.SimpleQueue[Reply | None],
        report: Report,
        cancelled: threading.Event,
    ) -> dict[str, FileEntry]:
        while True:
            if cancelled.is_set():
                self._stop(job, replies)
            try:
                reply = replies.get(timeout=_TICK_S)
            except queue.Empty:
                continue
            match reply:
                case Told():
                    report.pass_on(reply.event)
                case Lost():
                    address = files[reply.index].locate()
                    self._say(Found(job=job, index=reply.index, url=address.url, headers=address.headers))
                case Fetched():
                    return {entry.path: entry for entry in reply.entries}
                case _:
                    raise _raised(reply)

    def _stop(self, job: int, replies: queue.SimpleQueue[Reply | None]) -> NoReturn:
        """Once it has stopped, or has had the time to: nothing is written for us any more."""
        self._say(Stop(job=job))
        with suppress(queue.Empty):
            while isinstance(replies.get(timeout=_END_S), Told | Lost):
                pass
        raise Cancelled

    def _say(self, order: Order) -> None:
        pipe = self._process.stdin
        try:
            with self._lock:
                if pipe is not None:
                    pipe.write(orders.line(order))
                    pipe.flush()
        except (OSError, ValueError) as broken:
            raise GoneError("the process that reads beside this one ended") from broken

    def _listen(self) -> None:
        for line in self._process.stdout or ():
            reply = orders.read_reply(line)
            if (replies := self._replies.get(reply.job)) is not None:
                replies.put(reply)
        with self._lock:
            self._is_gone = True
            waiting = tuple(self._replies.values())
        for replies in waiting:
            replies.put(None)


def _raised(reply: Changed | Failed | Stopped | None) -> Exception:
    match reply:
        case Changed():
            return ChangedError(reply.path)
        case Failed():
            return StorageError(reply.message, where=reply.where, fix=reply.fix)
        case Stopped():
            return Cancelled()
        case None:
            return GoneError("the process that reads beside this one ended")


_LOCK = threading.Lock()
_HELD: list[Beside] = []
"""At most one."""


def _take() -> Beside:
    with _LOCK:
        if _HELD and not _HELD[0].is_usable:
            _HELD.clear()
        if not _HELD:
            _HELD.append(Beside())
        _HELD[0].holders += 1
        return _HELD[0]


def _give_back(beside: Beside) -> None:
    with _LOCK:
        beside.holders -= 1
        is_last = not beside.holders
        if is_last and beside in _HELD:
            _HELD.remove(beside)
    if is_last:
        beside.end()


def _module_path() -> tuple[str, ...]:
    """Where we are, and what we need besides the standard library: not the whole of the user's path."""
    import importlib.util  # noqa: PLC0415 - loaded long ago

    found = (importlib.util.find_spec(name) for name in ("coldstart_sdk", "blake3"))
    return tuple(dict.fromkeys(str(Path(spec.origin).parents[1]) for spec in found if spec and spec.origin))
