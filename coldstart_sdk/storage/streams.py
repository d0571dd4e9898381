"""Read files in parallel streams into blobs: ranges, verified as they come, resumable, bounded.

Streams are threads that take tasks from one list: open a file, read a run of its chunks, or read a small one
whole. A chunk whose digest is known is judged as it arrives; where only the whole file's is, a follower
computes it behind the streams. A file becomes a blob only when all of it matched. The calling thread alone
reports, and ends everything when it is cancelled.
"""

from __future__ import annotations

import functools
import hashlib
import mmap
import queue
import threading
from collections import deque
from collections.abc import Callable, Sequence

from coldstart_sdk import machine, record
from coldstart_sdk.errors import StorageError
from coldstart_sdk.events import Resource, now
from coldstart_sdk.frozen import dataclass
from coldstart_sdk.manifest import FileEntry
from coldstart_sdk.storage import blobs, chunks, partial, seen, space, suspicion
from coldstart_sdk.storage.cancel import Cancelled, stop_if
from coldstart_sdk.storage.follower import Follower
from coldstart_sdk.storage.home import Home, mending
from coldstart_sdk.storage.http import Answer, Channel, Network
from coldstart_sdk.storage.partial import CHUNK_BYTES, Part, Turn
from coldstart_sdk.storage.pour import Pipe
from coldstart_sdk.storage.remote import FileError, Limits, RemoteFile, known
from coldstart_sdk.storage.report import DISK, ORIGIN, Report
from coldstart_sdk.storage.retry import Patience
from coldstart_sdk.storage.source import Source
from coldstart_sdk.storage.transient import TransientError

BUFFER_BYTES = 1 << 20
LONGEST_RUN_CHUNKS = 4
SIDE_BY_SIDE = 4
"""Files that are read at once, at least: who writes into a file keeps others out of it."""
SHARED_BYTES = 1 << 20
"""From here on it pays to wait for another process that fetches the same."""
RUNS_EACH = 8
"""Requests for each stream, at least, where a file has so many chunks: the last ones end close together."""
_FIRST_STREAMS = 4
"""At once, however few cores there are; with more of them two for each."""
_LOOK_S, _PLENTY_BYTES_S = 0.2, 400e6
"""When to ask whether the link is what all wait for, and from which speed on it is not."""
_FIRST_STEP_BYTES = 64 << 10
_LITTLE_BYTES = 256 << 10
"""What a fast connection brings at once, at least."""
_SHORT_S, _LONG_S = 0.02, 0.1
_TICK_S = 0.05
_REFETCHES = 1


@dataclass(frozen=True, kw_only=True)
class _Arrived:
    entry: FileEntry
    started_s: float
    ended_s: float
    tier: str


@dataclass(frozen=True, kw_only=True)
class _LeftOut:
    why: FileError


class _File:
    """One file on its way; what streams share of it is guarded by `lock`."""

    def __init__(self, remote: RemoteFile) -> None:
        self.source = Source(remote)
        self.key = key_of(remote)
        self.started_s = 0.0
        self.part: Part | None = None
        self.turn: Turn | None = None
        self.refetches = 0
        self.left = 0
        """Chunks still to come."""
        self.runs: deque[range] = deque()
        """Neighbouring chunks that nobody has asked for yet; these and `readers` are the transfer's."""
        self.readers = 0
        self.waits = False
        """For somebody else who fetches the same."""
        self.is_refused = False
        """What came of it is worth nothing to whoever comes next."""
        self.is_left_out = False
        self.expected = remote.chunks
        """The digest that each chunk must have; none where they are not known."""
        self.follower: Follower | None = None
        self.lock = threading.Lock()

    @property
    def remote(self) -> RemoteFile:
        return self.source.remote


def read(  # noqa: PLR0913 - what a transfer needs, each by its name
    files: Sequence[RemoteFile],
    *,
    home: Home,
    limits: Limits,
    report: Report,
    cancelled: threading.Event,
    tier: str = ORIGIN,
    partly: bool = False,
) -> dict[str, FileEntry]:
    """Bring these files into blobs; each one's entry by its path. `tier` is who serves them.

    Partly: one that cannot be had is a note, and the others still come.
    """
    with mending(home.root):
        partial.sweep(home.partial)
        space.refuse_too_large(home.partial, sum(remote.size_bytes or 0 for remote in files))
        transfer = _Transfer(files, home=home, limits=limits, report=report, tier=tier, partly=partly)
        return transfer.run(cancelled)


def key_of(remote: RemoteFile) -> str:
    """Under which name a file is on its way: the same for every process that wants the same bytes."""
    if remote.identity is None:
        return record.digest([remote.path, id(remote), now()])[7:39]
    return record.digest([remote.identity, remote.size_bytes])[7:39]


class _Transfer:
    def __init__(  # noqa: PLR0913 - as of `read`
        self,
        files: Sequence[RemoteFile],
        *,
        home: Home,
        limits: Limits,
        report: Report,
        tier: str,
        partly: bool,
    ) -> None:
        self._home = home
        self._tier = tier
        self._partly = partly
        self._report = report
        self._limits = limits
        self._stopped = threading.Event()
        self._network = Network(stall_s=limits.stall_s)
        chunks = sum(-(-(remote.size_bytes or 1) // CHUNK_BYTES) for remote in files)
        self._patience = Patience(requests=chunks, stopped=self._stopped)
        self._files = [_File(remote) for remote in files]
        sizes = [remote.size_bytes for remote in files]
        self._total = None if None in sizes else sum(size for size in sizes if size is not None)
        self._run_chunks = _run_chunks(sum(size or 0 for size in sizes), limits.streams)
        self._done_bytes = 0
        self._began_s = now()
        self._streams: list[threading.Thread] = []
        self._unopened = deque(self._files)
        self._started: list[_File] = []
        """Those of which there are runs to read."""
        self._ready = threading.Condition()
        self._news: queue.SimpleQueue[_Arrived | _LeftOut | BaseException] = queue.SimpleQueue()

    # ---- the calling thread

    def run(self, cancelled: threading.Event) -> dict[str, FileEntry]:
        self._widen(max(_FIRST_STREAMS, 2 * machine.cpu_quota()))
        try:
            return self._gather(cancelled)
        finally:
            self._stopped.set()
            self._network.close()
            with self._ready:
                self._ready.notify_all()
            for stream in self._streams:
                stream.join(timeout=5)
            self._let_go()

    def _gather(self, cancelled: threading.Event) -> dict[str, FileEntry]:
        arrived: dict[str, FileEntry] = {}
        left_out: list[FileError] = []
        while len(arrived) + len(left_out) < len(self._files):
            stop_if(cancelled)
            self._report.progress(self._done_bytes, self._total)
            if self._waits_for_the_network():
                self._widen(self._limits.streams)
            try:
                news = self._news.get(timeout=_TICK_S)
            except queue.Empty:
                continue
            if isinstance(news, BaseException):
                stop_if(cancelled)
                raise news
            if isinstance(news, _LeftOut):
                left_out.append(news.why)
                continue
            arrived[news.entry.path] = news.entry
            self._report.span(
                news.entry.path,
                resource=Resource.DISK if news.tier == DISK else Resource.NET,
                started_s=news.started_s,
                ended_s=news.ended_s,
                count=news.entry.size_bytes,
                tier=news.tier,
            )
        self._report.progress(self._done_bytes, self._total, last=True)
        if left_out:
            said = f"{len(left_out)} of {len(self._files)} files do not come from here"
            self._report.noted(f"{self._tier}: {said}: {left_out[0].message}")
        return arrived

    def _widen(self, most: int) -> None:
        """Read in so many streams, as far as they are allowed and of use."""
        for index in range(len(self._streams), min(most, self._limits.streams, self._most_useful)):
            stream = threading.Thread(target=self._work, name=f"coldstart-fetch-{index}", daemon=True)
            self._streams.append(stream)
            stream.start()

    def _waits_for_the_network(self) -> bool:
        """Else it is the processor that is short, and one stream more would cost time and bring none."""
        took_s = now() - self._began_s
        return took_s >= _LOOK_S and self._done_bytes < _PLENTY_BYTES_S * took_s

    @functools.cached_property
    def _most_useful(self) -> int:
        return sum(-(-max(file.remote.size_bytes or 1, 1) // CHUNK_BYTES) for file in self._files)

    def _let_go(self) -> None:
        for file in self._files:
            if file.part is not None and file.is_refused:
                file.part.discard()
            elif file.part is not None:
                file.part.close()
            if file.turn is not None:
                file.turn.give()

    # ---- the streams

    def _work(self) -> None:
        stream = _Stream(Channel(self._network))
        try:
            while (task := self._next_task()) is not None:
                file, work = task
                try:
                    work(stream)
                except FileError as failed:
                    stream.channel.drop()
                    self._leave_out(file, failed)
        except BaseException as failed:  # noqa: BLE001 - handed to the calling thread, which raises it
            self._news.put(failed)
        finally:
            stream.close()

    def _leave_out(self, file: _File, failed: FileError) -> None:
        """Go on without it, where that will do."""
        if not self._partly:
            raise failed
        with self._ready:
            is_news, file.is_left_out = not file.is_left_out, True
            file.runs.clear()
            if file in self._started:
                self._started.remove(file)
        if is_news:
            self._news.put(_LeftOut(why=failed))

    def _next_task(self) -> tuple[_File, Callable[[_Stream], None]] | None:
        with self._ready:
            while not self._stopped.is_set():
                if self._may_open():
                    return self._opening(self._unopened.popleft())
                if self._started:
                    return self._next_run()
                self._ready.wait()
        return None

    def _may_open(self) -> bool:
        if not self._unopened or len(self._started) >= SIDE_BY_SIDE:
            return False
        # It may wait for what we are reading ourselves.
        return not (self._unopened[0].waits and self._started)

    def _next_run(self) -> tuple[_File, Callable[[_Stream], None]]:
        """Of the file that the fewest streams read."""
        file = min(self._started, key=lambda file: file.readers)
        file.readers += 1
        run = file.runs.popleft()
        if not file.runs:
            self._started.remove(file)
        return file, lambda stream: self._read_run(file, run, stream)

    def _opening(self, file: _File) -> tuple[_File, Callable[[_Stream], None]]:
        return file, lambda stream: self._open(file, stream)

    def _put_off(self, file: _File) -> None:
        """Until there is nothing better to do."""
        with self._ready:
            file.waits = True
            self._unopened.append(file)
            self._ready.notify_all()

    def _open(self, file: _File, stream: _Stream) -> None:
        file.started_s = file.started_s or now()
        if self._is_here(file):
            return
        in_ranges = _is_in_ranges(file.remote)
        if (in_ranges or _is_worth_waiting_for(file.remote)) and not self._is_ours(file):
            return
        if in_ranges:
            self._start(file)
        else:
            self._read_whole(file, stream)

    def _is_ours(self, file: _File) -> bool:
        """Whether nobody else is fetching it, or has done so by now."""
        turn = Turn(self._home.partial, file.key)
        if turn.take():
            file.turn = turn
            # Whoever had the turn before us was fetching this very file.
            return not self._is_here(file)
        if partial.last_sign_of_life_s(self._home.partial, file.key) >= self._limits.stall_s:
            return True
        self._put_off(file)
        if self._stopped.wait(_TICK_S):
            raise Cancelled
        return False

    def _is_here(self, file: _File) -> bool:
        """Whether this very object became a blob before: for another set, or by another process."""
        entry = known(file.remote) or seen.read(self._home, file.key, file.remote.path)
        if entry is None or not blobs.has(self._home, entry, self._stopped):
            return False
        self._count(entry.size_bytes)
        if file.turn is not None:
            file.turn.give()
        self._news.put(_Arrived(entry=entry, started_s=file.started_s, ended_s=now(), tier=DISK))
        return True

    def _start(self, file: _File) -> None:
        part = self._part(file, file.remote.size_bytes)
        with file.lock:
            file.part = part
        if len(file.expected) != part.chunks or file.remote.digest is None:
            file.expected = ()
        self._count(part.adopt(file.expected, self._stopped))
        missing = [index for index in range(part.chunks) if index not in part.whole]
        file.left = len(missing)
        if not file.expected:
            file.follower = Follower(part, self._stopped)
        if not missing:
            self._complete(file, part)
            return
        with self._ready:
            file.runs.extend(_runs(missing, self._run_chunks))
            self._started.append(file)
            self._ready.notify_all()

    def _part(self, file: _File, size_bytes: int | None) -> Part:
        write_bytes = self._limits.write_bytes
        return Part(self._home.partial, file.key, size_bytes, write_bytes=write_bytes)

    def _read_run(self, file: _File, run: range, stream: _Stream) -> None:
        try:
            self._read_chunks(file, run, stream)
        finally:
            with self._ready:
                file.readers -= 1

    def _read_chunks(self, file: _File, run: range, stream: _Stream) -> None:
        """Read these chunks into their places. A broken answer goes on where it broke."""
        part = file.part
        if part is None:
            raise Cancelled
        end = part.span(run[-1])[1]
        at = _Place(index=run[0], position=part.span(run[0])[0])
        attempt = wrong = 0
        while at.position < end:
            before = at.position
            try:
                answer = self._ask(file, stream, (at.position, end))
                while at.position < end:
                    self._read_chunk(file, part, at, answer, stream)
            except TransientError as failed:
                stream.channel.drop()
                attempt = 1 if at.position > before else attempt + 1
                self._try_again(file, failed, attempt)
            except _WrongChunkError as failed:
                stream.channel.drop()
                wrong += 1
                if wrong > _REFETCHES:
                    # Other streams write into it: it is cleared away when they have ended.
                    file.is_refused = True
                    raise _refused(file, failed.expected, failed.came) from failed
                self._count(part.span(at.index)[0] - at.position)
                at.begin(part.span(at.index)[0])

    def _read_chunk(self, file: _File, part: Part, at: _Place, answer: Answer, stream: _Stream) -> None:
        """The rest of one chunk, and its digest."""
        end = part.span(at.index)[1]
        while at.position < end:
            count = stream.bring(answer, end - at.position, part, at)
            at.position += count
            self._count(count)
        digest = at.hashed.hexdigest()
        if file.expected and file.expected[at.index] != digest:
            raise _WrongChunkError(file.expected[at.index], digest)
        part.mark(at.index, digest)
        at.index += 1
        at.begin(end)
        if file.follower is not None:
            file.follower.wake()
        with file.lock:
            file.left -= 1
            last = file.left == 0
        if last:
            self._complete(file, part)

    def _read_whole(self, file: _File, stream: _Stream) -> None:
        """One plain GET, hashed as it comes; a broken one starts again."""
        attempt = 0
        while True:
            part = self._part(file, None)
            file.part = part
            counted = 0
            try:
                answer = self._ask(file, stream, None)
                hashed = hashlib.sha256()
                while count := answer.read_into(stream.buffer):
                    stop_if(self._stopped)
                    got = stream.buffer[:count]
                    hashed.update(got)
                    part.write(counted, got)
                    counted += count
                    self._count(count)
                _refuse_short(file.remote, answer, counted)
            except TransientError as failed:
                stream.channel.drop()
                part.discard()
                self._count(-counted)
                attempt += 1
                self._try_again(file, failed, attempt)
                continue
            self._publish(file, part, f"sha256:{hashed.hexdigest()}", counted)
            return

    def _try_again(self, file: _File, failed: TransientError, attempt: int) -> None:
        stop_if(self._stopped)
        if not self._patience.wait(failed, attempt):
            raise StorageError(
                f"{file.remote.path!r} could not be fetched: {failed}",
                where=file.source.where,
                fix="Try again later; what was verified so far is kept.",
            ) from failed

    def _ask(self, file: _File, stream: _Stream, span: tuple[int, int] | None) -> Answer:
        self._patience.hold()
        stop_if(self._stopped)
        return file.source.ask(stream.channel, span)

    # ---- from bytes to a blob

    def _complete(self, file: _File, part: Part) -> None:
        # Without a follower each chunk is what whoever names the digest said; so the file is.
        digest = file.remote.digest or "" if file.follower is None else file.follower.digest()
        self._publish(file, part, digest, part.size_bytes or 0)

    def _publish(self, file: _File, part: Part, digest: str, size: int) -> None:
        remote = file.remote
        if not file.expected and not _is_announced(remote, part, digest):
            self._refetch(file, part, digest)
            return
        if remote.digest is None and remote.git_sha1 is None:
            try:
                suspicion.refuse_disguised(part.path, remote.path, file.source.where)
            except StorageError:
                part.discard()
                raise
        chunked = part.digests if part.size_bytes is not None else ()
        entry = FileEntry(path=remote.path, size_bytes=size, digest=digest, chunks=chunked)
        try:
            blobs.publish(self._home, part.path, digest)
        except FileNotFoundError:
            # Somebody who also holds the turn was first, and cleared up after us.
            if not blobs.has(self._home, entry, self._stopped):
                self._refetch(file, part, "nothing")
                return
        part.close()
        if remote.identity is not None and remote.digest is None and size >= SHARED_BYTES:
            seen.note(self._home, file.key, entry)
        partial.clear(self._home.partial, file.key)
        if file.turn is not None:
            file.turn.give()
        self._news.put(_Arrived(entry=entry, started_s=file.started_s, ended_s=now(), tier=self._tier))

    def _refetch(self, file: _File, part: Part, digest: str) -> None:
        """Nobody knows which byte is wrong, so all of them are asked for again, once."""
        part.discard()
        partial.clear(self._home.partial, file.key)
        if file.turn is not None:
            file.turn.give()
        if file.refetches >= _REFETCHES:
            raise _refused(file, file.remote.digest or f"git blob {file.remote.git_sha1}", digest)
        file.refetches += 1
        self._count(-(part.size_bytes or 0))
        self._put_off(file)

    def _count(self, count: int) -> None:
        with self._ready:
            self._done_bytes += count


class _WrongChunkError(Exception):
    def __init__(self, expected: str, came: str) -> None:
        super().__init__(expected, came)
        self.expected = f"blake3:{expected}"
        self.came = f"blake3:{came}"


class _Place:
    """How far a run has come."""

    def __init__(self, *, index: int, position: int) -> None:
        self.index = index
        self.begin(position)

    def begin(self, position: int) -> None:
        """A chunk, from its first byte."""
        self.position = position
        self.hashed = chunks.hasher()


class _Stream:
    """One connection, and one buffer or pipe between it and a file."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        # Not a bytearray: that would be cleared first, and the interpreter held meanwhile.
        private = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
        self.buffer = memoryview(mmap.mmap(-1, BUFFER_BYTES, flags=private))
        self._pipe = Pipe()
        self._step = _FIRST_STEP_BYTES

    def bring(self, answer: Answer, wanted: int, part: Part, at: _Place) -> int:
        """The next bytes into their place and into the chunk's digest; how many."""
        if self._step == BUFFER_BYTES and answer.body.pours and part.takes_pipes:
            return self._pour(answer, wanted, part, at)
        got = self._read(answer, wanted)
        at.hashed.update(got)
        part.write(at.position, got)
        return len(got)

    def close(self) -> None:
        self.channel.drop()
        self._pipe.close()

    def _pour(self, answer: Answer, wanted: int, part: Part, at: _Place) -> int:
        """Past this process, from a connection that brings much in a moment."""
        count = answer.pour(self._pipe.inlet, min(wanted, BUFFER_BYTES))
        part.drain(self._pipe, count, at.position)
        with part.seen(at.position, count) as poured:
            at.hashed.update(poured)
        if count < min(wanted, _LITTLE_BYTES):
            self._step //= 2  # a read waits for more
        return count

    def _read(self, answer: Answer, wanted: int) -> memoryview:
        """The next bytes. As many at once as come in a moment: a slow link still shows progress."""
        began_s = now()
        asked = min(self._step, wanted)
        count = answer.read_into(self.buffer[:asked])
        _refuse_end(count)
        took_s = now() - began_s
        if took_s < _SHORT_S:
            self._step = min(self._step * 2, BUFFER_BYTES)
        elif took_s > _LONG_S:
            self._step = max(self._step // 2, _FIRST_STEP_BYTES)
        return self.buffer[:count]


def _is_in_ranges(remote: RemoteFile) -> bool:
    return remote.ranges and (remote.size_bytes or 0) > CHUNK_BYTES


def _is_worth_waiting_for(remote: RemoteFile) -> bool:
    return remote.identity is not None and (remote.size_bytes is None or remote.size_bytes >= SHARED_BYTES)


def _run_chunks(total_bytes: int, streams: int) -> int:
    """How many chunks one request asks for: the more there are, the fewer waits for a first byte."""
    return max(1, min(LONGEST_RUN_CHUNKS, chunks.count(total_bytes) // (streams * RUNS_EACH)))


def _runs(indexes: Sequence[int], longest: int) -> list[range]:
    """Neighbours together."""
    runs: list[range] = []
    for index in indexes:
        if runs and runs[-1].stop == index and len(runs[-1]) < longest:
            runs[-1] = range(runs[-1].start, index + 1)
        else:
            runs.append(range(index, index + 1))
    return runs


def _refused(file: _File, expected: str, came: str) -> FileError:
    return FileError(
        f"{file.remote.path!r} is not what was announced: {expected} expected, {came} came, twice",
        where=file.source.where,
        fix="If it was replaced on purpose, declare the new digest; else mistrust this origin.",
    )


def _refuse_end(count: int) -> None:
    if count == 0:
        raise TransientError("the answer ended early")


def _refuse_short(remote: RemoteFile, answer: Answer, counted: int) -> None:
    told = answer.headers.get("Content-Length")
    announced = int(told) if told is not None and told.isdigit() else None
    if (
        announced is None
        and "chunked" not in answer.headers.get("Transfer-Encoding", "")
        and remote.digest is None
    ):
        raise StorageError(
            f"the origin does not say how long {remote.path!r} is, so a cut file would look whole",
            where=answer.address.shown,
            fix="Declare its sha256=, or use an origin that sends Content-Length.",
        )
    if counted != (announced if announced is not None else counted):
        raise TransientError("the answer ended early")
    if remote.size_bytes is not None and counted != remote.size_bytes:
        raise TransientError(f"{counted} bytes came where {remote.size_bytes} were announced")


def _is_announced(remote: RemoteFile, part: Part, digest: str) -> bool:
    if remote.digest is not None:
        return digest == remote.digest
    if remote.git_sha1 is not None:
        return suspicion.git_blob_sha1(part.path) == remote.git_sha1
    return True
