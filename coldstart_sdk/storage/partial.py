"""A file on its way: its bytes so far, and a journal of the chunks that are whole.

Each process writes into a file of its own, so a lock that lies costs bytes and never breaks a file. Whoever
comes after a killed process copies the chunks that its journal vouches for, each checked against the
digest written beside it. The journal says nothing about a chunk before all of it was written.
"""

from __future__ import annotations

import errno
import fcntl
import json
import mmap
import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from coldstart_sdk import manifest
from coldstart_sdk.storage import chunks, disk
from coldstart_sdk.storage.cancel import Cancelled, stop_if
from coldstart_sdk.storage.pour import CAN_POUR, Pipe

CHUNK_BYTES = manifest.CHUNK_BYTES
STALE_S = 24 * 3600.0
"""After so long what nobody holds is removed."""
_PLACED_BYTES = 64 << 20
_GIVE_PLACES = frozenset({"btrfs", "ext4", "f2fs", "overlay", "xfs"})


class Part:
    """One file of one process, open for writing at any place.

    Once it is let go of, whoever still works on it is cancelled.
    """

    def __init__(
        self, partial: Path, key: str, size_bytes: int | None, *, write_bytes: int = 1 << 20
    ) -> None:
        self.path = partial / f"{key}.{os.urandom(6).hex()}.part"
        self.size_bytes = size_bytes
        self._write_bytes = write_bytes
        self.takes_pipes = CAN_POUR and disk.is_our_own(partial)
        """Whether what is written can be looked at where it lies: no other machine writes to this disk."""
        self.whole: dict[int, str] = {}
        """The digest of each chunk that is written."""
        self._file = _Opened(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644))
        self._journal: _Opened | None = None
        self._lock = threading.Lock()
        self._turn = threading.Lock()
        if size_bytes is not None:
            with self._file.used() as descriptor:
                _allocate(descriptor, size_bytes, disk.kind(partial))

    @property
    def chunks(self) -> int:
        return chunks.count(self.size_bytes or 0)

    def span(self, index: int) -> tuple[int, int]:
        """Where a chunk begins and ends."""
        return chunks.span(index, self.size_bytes or 0)

    @property
    def digests(self) -> tuple[str, ...]:
        """Of all chunks in order, once all are written; none for a file of one."""
        return tuple(self.whole[index] for index in range(self.chunks)) if self.chunks > 1 else ()

    def write(self, offset: int, data: memoryview) -> None:
        written = 0
        # One at a time, as the kernel has it anyway; whoever waits there may keep a core busy with waiting.
        with self._file.used() as descriptor, self._turn:
            while written < len(data):
                piece = data[written : written + self._write_bytes]
                written += os.pwrite(descriptor, piece, offset + written)

    def drain(self, pipe: Pipe, count: int, offset: int) -> None:
        with self._file.used() as descriptor, self._turn:
            pipe.drain(count, descriptor, offset)

    @contextmanager
    def seen(self, offset: int, count: int) -> Iterator[memoryview]:
        """Written bytes, as they lie in the kernel's memory."""
        begin = offset - offset % mmap.ALLOCATIONGRANULARITY
        with (
            self._file.used() as descriptor,
            mmap.mmap(descriptor, offset + count - begin, access=mmap.ACCESS_READ, offset=begin) as mapped,
            memoryview(mapped) as whole,
            whole[offset - begin :] as wanted,
        ):
            yield wanted

    def read_into(self, offset: int, buffer: memoryview) -> int:
        with self._file.used() as descriptor:
            return os.preadv(descriptor, [buffer], offset)

    def mark(self, index: int, digest: str) -> None:
        """Vouch for a chunk that is written."""
        with self._lock, self._file.used():
            self.whole[index] = digest
            if self._journal is None:
                self._journal = self._start_journal()
            with self._journal.used() as journal:
                os.write(journal, f"{index} {digest}\n".encode("ascii"))

    def close(self) -> None:
        """Let go of it; what is journaled waits for the next process."""
        self._file.close()
        with self._lock:
            if self._journal is not None:
                self._journal.close()
        if not _journal_of(self.path).exists():
            self.path.unlink(missing_ok=True)

    def discard(self) -> None:
        self.close()
        _journal_of(self.path).unlink(missing_ok=True)
        self.path.unlink(missing_ok=True)

    def adopt(self, expected: Sequence[str], cancelled: threading.Event) -> int:
        """Copy what others of the same key left behind; how many bytes that gave.

        `expected` are the digests that the chunks must have, where they are known.
        """
        gained = 0
        for left in sorted(self.path.parent.glob(f"{self.path.name.partition('.')[0]}.*.part")):
            if left != self.path:
                gained += self._copy(left, expected, cancelled)
        return gained

    def _copy(self, left: Path, expected: Sequence[str], cancelled: threading.Event) -> int:
        gained = 0
        try:
            source = left.open("rb", buffering=0)
        except OSError:
            return 0
        with source:
            for index, digest in _vouched(left, size_bytes=self.size_bytes):
                stop_if(cancelled)
                if index in self.whole or not 0 <= index < self.chunks:
                    continue
                if expected and expected[index] != digest:
                    continue
                start, end = self.span(index)
                chunk = os.pread(source.fileno(), end - start, start)
                if len(chunk) == end - start and _digest(chunk) == digest:
                    self.write(start, memoryview(chunk))
                    self.mark(index, digest)
                    gained += len(chunk)
        return gained

    def _start_journal(self) -> _Opened:
        descriptor = os.open(_journal_of(self.path), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        head = json.dumps(_head(self.size_bytes))
        os.write(descriptor, f"{head}\n".encode("ascii"))
        return _Opened(descriptor)


class _Opened:
    """A descriptor that threads share, closed by the last of them.

    Closed under a thread, its number could at once be that of another file, which would then be written into.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._users = 1
        """Whoever holds it open, and each that uses it."""
        self._is_open = True
        self._lock = threading.Lock()

    @contextmanager
    def used(self) -> Iterator[int]:
        with self._lock:
            if not self._is_open:
                raise Cancelled
            self._users += 1
        try:
            yield self._descriptor
        finally:
            self._leave()

    def close(self) -> None:
        with self._lock:
            was_open, self._is_open = self._is_open, False
        if was_open:
            self._leave()

    def _leave(self) -> None:
        with self._lock:
            self._users -= 1
            is_last = not self._users
        if is_last:
            os.close(self._descriptor)


class Turn:
    """A hint that somebody works on a key. It may lie: then two fetch the same, and both are right."""

    def __init__(self, partial: Path, key: str) -> None:
        self._path = partial / f"{key}.lock"
        self._descriptor: int | None = None

    def take(self) -> bool:
        """Whether it is ours now; where a file system has no locks, it always is."""
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        except OSError:
            os.close(descriptor)
            return True
        self._descriptor = descriptor
        return True

    def give(self) -> None:
        if self._descriptor is not None:
            self._path.unlink(missing_ok=True)
            os.close(self._descriptor)
            self._descriptor = None


def last_sign_of_life_s(partial: Path, key: str) -> float:
    """How long ago anybody wrote a chunk of this key."""
    times = []
    for path in (*partial.glob(f"{key}.*.part"), *partial.glob(f"{key}.lock")):
        with suppress(OSError):
            times.append(path.stat().st_mtime)
    return time.time() - max(times, default=0.0)


def clear(partial: Path, key: str) -> None:
    """Remove what is left of a key once its blob is published."""
    for left in partial.glob(f"{key}.*"):
        if left.suffix in {".part", ".journal"}:
            left.unlink(missing_ok=True)


def sweep(partial: Path) -> None:
    """Remove what nobody has touched for a day."""
    oldest = time.time() - STALE_S
    for left in partial.iterdir():
        with suppress(OSError):
            if left.stat().st_mtime < oldest:
                left.unlink()


def _head(size_bytes: int | None) -> dict[str, object]:
    return {"chunk": CHUNK_BYTES, "size": size_bytes, "digest": "blake3"}


def _digest(chunk: bytes) -> str:
    hashed = chunks.hasher()
    hashed.update(chunk)
    return hashed.hexdigest()


def _allocate(descriptor: int, size_bytes: int, kind: str | None) -> None:
    """Give a file its length, and its place on the disk where that is cheap.

    Writing into a place that is there costs the kernel much less; and a disk that fills up says so now. Where
    a file system cannot, libc's own stand-in would write into each block of the file, so it is not asked. In
    memory a place would be cleared, to be written over.
    """
    os.ftruncate(descriptor, size_bytes)
    if size_bytes < _PLACED_BYTES or kind not in _GIVE_PLACES:
        return
    try:
        os.posix_fallocate(descriptor, 0, size_bytes)
    except OSError as refused:
        if refused.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise


def _vouched(left: Path, *, size_bytes: int | None) -> Iterator[tuple[int, str]]:
    try:
        lines = _journal_of(left).read_text(encoding="ascii").split("\n")
        head = json.loads(lines[0])
    except (OSError, ValueError):
        return
    if head != _head(size_bytes):
        return
    # The last piece has no newline after it: the line that a killed process did not finish.
    for line in lines[1:-1]:
        index, _, digest = line.partition(" ")
        with suppress(ValueError):
            yield int(index), digest


def _journal_of(part: Path) -> Path:
    return part.with_suffix(".journal")
