"""HTTP/1.1 on one connection: a request goes out, the head of an answer comes in, then its body.

A body ends by its length, by chunks, or with the connection. Python's own client reads a head with a parser
of mail, which takes longer to load than many a file takes to come. Nothing is guessed: what breaks a rule of
the protocol is a `ProtocolError`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import overload

from coldstart_sdk.storage.wire import Wire

_MOST_HEAD_BYTES = 64 << 10
_PIECE_BYTES = 8 << 10
_NO_CONTENT, _NOT_MODIFIED, _SWITCHING, _OK = 204, 304, 101, 200
_STATUS = re.compile(r"HTTP/1\.([01]) (\d{3})(?: .*)?")
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_TARGET = re.compile(r"[\x21-\x7e]+")
_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
_SIZE = re.compile(r"([0-9A-Fa-f]{1,15})[ \t]*(?:;.*)?")
_HAVE_BODIES = frozenset({"POST", "PUT", "PATCH"})


class ProtocolError(Exception):
    """What was to go out, or came in, is not HTTP."""


class Headers:
    """Of an answer: values by their names, in any case; several under one name are one list."""

    def __init__(self, fields: Iterable[tuple[str, str]]) -> None:
        self._values: dict[str, str] = {}
        for name, value in fields:
            known = self._values.get(name.lower())
            self._values[name.lower()] = value if known is None else f"{known}, {value}"

    def __contains__(self, name: str) -> bool:
        return name.lower() in self._values

    def __getitem__(self, name: str) -> str:
        return self._values[name.lower()]

    @overload
    def get(self, name: str) -> str | None: ...
    @overload
    def get(self, name: str, default: str) -> str: ...
    def get(self, name: str, default: str | None = None) -> str | None:
        return self._values.get(name.lower(), default)


def send(  # noqa: PLR0913, PLR0917 - a connection, and the parts of a request
    wire: Wire, method: str, target: str, host: str, headers: Mapping[str, str], body: bytes | None
) -> None:
    fields = {name.lower(): (name, value) for name, value in headers.items()}
    fields.setdefault("host", ("Host", host))
    if body is not None or method in _HAVE_BODIES:
        fields.setdefault("content-length", ("Content-Length", str(len(body or b""))))
    if not _TARGET.fullmatch(target):
        raise ProtocolError("an address that is none")
    for name, value in fields.values():
        if not _NAME.fullmatch(name) or not _VALUE.fullmatch(value):
            raise ProtocolError(f"a header {name[:40]!r} that cannot be sent")
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.values())]
    wire.sendall("\r\n".join([*lines, "", ""]).encode("latin-1"))
    if body:
        wire.sendall(body)


class Response:
    """An answer: its head is here, its body is still to be read."""

    def __init__(self, wire: Wire, method: str) -> None:
        """Waits for the head."""
        self._wire = wire
        self._ahead = b""
        """What came along with a head or a line."""
        self.status = 0
        while self.status < _OK and self.status != _SWITCHING:
            version, self.status = self._status()
            self.headers = self._fields()
        self._is_chunked = False
        self.length: int | None = None
        """Of what is left of the body, where that is known."""
        if method == "HEAD" or self.status in {_NO_CONTENT, _NOT_MODIFIED}:
            self.length = 0
        elif method != "CONNECT":
            self._is_chunked, self.length = _framing(self.headers)
        self._chunk_left: int | None = None
        self.is_over = self.length == 0
        kept = "close" not in self.headers.get("Connection", "" if version == "1" else "close").lower()
        self._is_kept = kept and (self._is_chunked or self.length is not None)

    @property
    def leaves_the_connection_free(self) -> bool:
        """Whether another request may follow."""
        return self._is_kept and self.is_over and not self._ahead

    def fill(self, buffer: memoryview) -> int:
        """Fill it from the body; less where the body ends, or nothing more comes in time."""
        if self.is_over:
            return 0
        if self._is_chunked:
            return self._of_chunks(buffer)
        if self.length is None:
            count = self._taken(buffer) or self._wire.recv_into(buffer)
            self.is_over = not count
            return count
        count = self._filled(buffer[: self.length])
        self.length -= count
        self.is_over = not self.length
        return count

    @property
    def pours(self) -> bool:
        """Whether what comes next are the bytes of the body, and nothing else."""
        return self._wire.pours and not self._is_chunked and not self._ahead and bool(self.length)

    def pour(self, inlet: int, most_bytes: int) -> int:
        """Some of the body into a pipe, where it `pours`."""
        count = self._wire.pour(inlet, min(most_bytes, self.length or 0))
        if not count:
            raise ProtocolError("the connection ended before the answer did")
        self.length = (self.length or 0) - count
        self.is_over = not self.length
        return count

    def read(self, most_bytes: int) -> bytes:
        """The body, up to so many bytes of it."""
        whole, piece = bytearray(), memoryview(bytearray(min(most_bytes, _MOST_HEAD_BYTES)))
        while len(whole) < most_bytes and (count := self.fill(piece[: most_bytes - len(whole)])):
            whole += piece[:count]
        return bytes(whole)

    # ---- bytes

    def _taken(self, buffer: memoryview) -> int:
        """Of what came ahead."""
        count = min(len(self._ahead), len(buffer))
        buffer[:count] = self._ahead[:count]
        self._ahead = self._ahead[count:]
        return count

    def _filled(self, buffer: memoryview) -> int:
        count = self._taken(buffer)
        if count < len(buffer):
            try:
                count += self._wire.fill(buffer[count:])
            except TimeoutError:
                if not count:
                    raise
        return count

    def _of_chunks(self, buffer: memoryview) -> int:
        if not self._chunk_left:
            if self._chunk_left is not None and self._line():
                raise ProtocolError("a chunk that is longer than it said")
            self._chunk_left = self._size()
            if not self._chunk_left:
                self._fields()  # after the last chunk, and before nothing more
                self.is_over = True
                return 0
        count = self._filled(buffer[: self._chunk_left])
        if not count:
            raise ProtocolError("the answer ended within a chunk")
        self._chunk_left -= count
        return count

    # ---- lines

    def _status(self) -> tuple[str, int]:
        line = self._line()
        told = _STATUS.fullmatch(line)
        if told is None:
            raise ProtocolError("no answer of HTTP/1.1")
        return told[1], int(told[2])

    def _fields(self) -> Headers:
        """Lines up to an empty one."""
        fields: list[tuple[str, str]] = []
        left = _MOST_HEAD_BYTES
        while line := self._line():
            left -= len(line)
            name, colon, value = line.partition(":")
            if fields and line[0] in " \t":
                fields[-1] = (fields[-1][0], f"{fields[-1][1]} {line.strip()}")
            elif left < 0 or not colon or not _NAME.fullmatch(name):
                raise ProtocolError("a head that is none, or too long")
            else:
                fields.append((name, value.strip()))
        return Headers(fields)

    def _size(self) -> int:
        told = _SIZE.fullmatch(self._line())
        if told is None:
            raise ProtocolError("a chunk without a size")
        return int(told[1], 16)

    def _line(self) -> str:
        """One line, without its end."""
        while (end := self._ahead.find(b"\n")) < 0:
            if len(self._ahead) > _MOST_HEAD_BYTES:
                raise ProtocolError("a line without an end")
            piece = memoryview(bytearray(_PIECE_BYTES))
            count = self._wire.recv_into(piece)
            if not count:
                raise ProtocolError("the connection ended before the answer did")
            self._ahead += piece[:count]
        line, self._ahead = self._ahead[:end], self._ahead[end + 1 :]
        return line.removesuffix(b"\r").decode("latin-1")


def _framing(headers: Headers) -> tuple[bool, int | None]:
    """Whether a body comes in chunks, else its length; neither where the connection's end is its own."""
    coded = headers.get("Transfer-Encoding", "").lower()
    if coded not in {"", "chunked", "identity"}:
        raise ProtocolError(f"an answer in {coded[:40]!r}, which nobody asked for")
    if coded == "chunked":
        return True, None
    lengths = {length.strip() for length in headers.get("Content-Length", "").split(",")}
    if lengths == {""}:
        return False, None
    length = lengths.pop()
    if lengths or not (length.isascii() and length.isdigit()):
        raise ProtocolError("an answer whose length is no number")
    return False, int(length)
