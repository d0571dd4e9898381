"""A connection as http.client wants one, read in large pieces.

Sockets block, and the kernel bounds each wait: a timeout of Python's would ask the kernel twice for each
piece, and never for more than lies ready. TLS goes through `openssl` where that can be had, else through
memory here, because Python's own sockets ask the kernel twice for each record of 16 KB.
"""

from __future__ import annotations

import io
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

_RAW_BYTES = 256 << 10
_SENT_BYTES = 256 << 10


class Wire:
    """A plain connection."""

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected
        self._stall_s: float | None = None
        self._stalled = False
        self._readers = 0
        self._is_closing = False
        self._ending = threading.Lock()
        """Who shuts it down from another thread must not find another file under its number."""

    def bound(self, stall_s: float) -> None:
        """From now on nothing waits longer than this for a byte."""
        self._stall_s = stall_s
        self._socket.settimeout(None)
        wait_at_most(self._socket, stall_s)

    def setsockopt(self, level: int, name: int, value: int) -> None:
        self._socket.setsockopt(level, name, value)

    def sendall(self, data: bytes) -> None:
        try:
            self._socket.sendall(data)
        except BlockingIOError as late:
            raise TimeoutError from late

    def recv_into(self, buffer: memoryview) -> int:
        """What there is, and at least one byte unless the other side has ended."""
        return self._receive(buffer, 0)

    def fill(self, buffer: memoryview) -> int:
        """All of it, less where the other side ends or falls silent."""
        if self._stalled:
            raise TimeoutError
        began_s = time.monotonic()
        count = self._receive(buffer, socket.MSG_WAITALL)
        # Silent once for so long: the next call need not wait as long again to know.
        self._stalled = (
            0 < count < len(buffer)
            and self._stall_s is not None
            and time.monotonic() - began_s >= self._stall_s
        )
        return count

    def makefile(self, _mode: str) -> io.BufferedReader:
        self._readers += 1
        return io.BufferedReader(_Reader(self))

    def shutdown(self, how: int) -> None:
        with self._ending:
            self._socket.shutdown(how)

    def close(self) -> None:
        """Once nobody reads from it any more: an answer may outlive its connection's last request."""
        self._is_closing = True
        if not self._readers:
            self._end()

    def let_go(self) -> None:
        self._readers -= 1
        if self._is_closing and not self._readers:
            self._end()

    def _end(self) -> None:
        with self._ending:
            self._socket.close()

    def _receive(self, buffer: memoryview, flags: int) -> int:
        try:
            return self._socket.recv_into(buffer, len(buffer), flags)
        except BlockingIOError as late:
            raise TimeoutError from late


def wait_at_most(connected: socket.socket, seconds: float) -> None:
    """The kernel's bound for each wait on a socket that blocks."""
    whole, rest = divmod(seconds, 1)
    time_value = struct.pack("ll", int(whole), int(rest * 1e6))
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, time_value)
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, time_value)


class TlsWire(Wire):
    """A connection under TLS, by Python's own means."""

    def __init__(self, connected: socket.socket, context: ssl.SSLContext, host: str) -> None:
        super().__init__(connected)
        self._came, self._goes = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._raw = memoryview(bytearray(_RAW_BYTES))
        self._tls = context.wrap_bio(self._came, self._goes, server_hostname=host)
        try:
            self._persist(self._tls.do_handshake)
        finally:
            self._flush()

    def sendall(self, data: bytes) -> None:
        view = memoryview(data)
        for start in range(0, len(view), _SENT_BYTES):
            piece = view[start : start + _SENT_BYTES]
            self._persist(lambda piece=piece: self._tls.write(piece))  # type: ignore[misc] # a default in a lambda
            self._flush()

    def recv_into(self, buffer: memoryview) -> int:
        return self._persist(lambda: self._read(buffer))

    def fill(self, buffer: memoryview) -> int:
        count = 0
        while count < len(buffer):
            try:
                got = self._read(buffer[count:])
            except ssl.SSLWantReadError:
                if self._stalled:
                    raise TimeoutError from None
                try:
                    self._feed()
                except TimeoutError:
                    if not count:
                        raise
                    self._stalled = True
                    return count
                continue
            if not got:
                break
            count += got
        return count

    def _read(self, buffer: memoryview) -> int:
        # With a buffer it gives the count, whatever its annotation says.
        return int(self._tls.read(len(buffer), buffer))

    def _persist(self, call: Callable[[], T]) -> T:
        while True:
            try:
                return call()
            except ssl.SSLWantReadError:  # noqa: PERF203 - how TLS asks for more
                self._feed()

    def _feed(self) -> None:
        self._flush()
        count = self._receive(self._raw, 0)
        if count:
            self._came.write(self._raw[:count])
        else:
            self._came.write_eof()

    def _flush(self) -> None:
        if self._goes.pending:
            super().sendall(self._goes.read())


class _Reader(io.RawIOBase):
    """The end of a connection that http.client parses heads from."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override] # always called with one
        return self._wire.recv_into(memoryview(buffer))

    def close(self) -> None:
        if not self.closed:
            self._wire.let_go()
        super().close()
