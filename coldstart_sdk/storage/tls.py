"""A connection under TLS by Python's own means, where `openssl` cannot be had.

Through memory: Python's own sockets ask the kernel twice for each record of 16 KB.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from typing import TypeVar

from coldstart_sdk.storage.wire import Wire

T = TypeVar("T")

_RAW_BYTES = 256 << 10
_SENT_BYTES = 256 << 10


class TlsWire(Wire):
    """A connection, encrypted."""

    pours = False

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
