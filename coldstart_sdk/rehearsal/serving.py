"""Serve files over HTTP/1.1 on loopback: ranges, ETags, conditions, a paced body, faults, a record of it all.

Follows RFC 9110 sections 8.8 (ETag), 13.1 (If-Match) and 14 (ranges, one at a time), as far as a well-behaved
file server does.
"""

from __future__ import annotations

import os
import re
import socket
import ssl
import struct
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import unquote, urlsplit

from coldstart_sdk.events import now
from coldstart_sdk.rehearsal.faults import (
    Cut,
    Fault,
    Flip,
    IgnoreRange,
    NewETag,
    Refuse,
    Script,
    Shorten,
    Stall,
    WrongRange,
)
from coldstart_sdk.rehearsal.link import Bucket, Link

_RANGE = re.compile(r"bytes=(\d*)-(\d*)")
_UNPACED_PIECE = 8 << 20


@dataclass(frozen=True, kw_only=True)
class Request:
    """One request as the server saw it."""

    at_s: float
    method: str
    path: str
    """Decoded, without its first slash and its query."""
    range: str | None
    if_match: str | None
    authorization: bool
    """Whether credentials came with it; never which."""
    status: int | None
    """None while it is being answered."""
    sent_bytes: int


@dataclass(kw_only=True)
class _Entry:
    at_s: float
    method: str
    path: str
    range: str | None
    if_match: str | None
    authorization: bool
    status: int | None = None
    sent_bytes: int = 0

    def frozen(self) -> Request:
        return Request(**vars(self))


@dataclass(frozen=True, kw_only=True)
class Body:
    """What a file answer will send."""

    file: Path
    size: int
    start: int
    end: int
    fault: Fault | None


class Server(ThreadingHTTPServer):
    """A threaded server that remembers its requests and can close all its connections."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 256

    def __init__(
        self, host: str, handler: type[Handler], *, link: Link, tls: tuple[str, str] | None = None
    ) -> None:
        super().__init__((host, 0), handler)
        self.link = link
        self._tls = _server_side(tls) if tls else None
        self.script = Script()
        self.closing = threading.Event()
        self._entries: list[_Entry] = []
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._thread = threading.Thread(
            target=self.serve_forever, args=(0.05,), name="rehearsal-server", daemon=True
        )

    @property
    def address(self) -> str:
        host, port = self.server_address[:2]
        scheme = "http" if self._tls is None else "https"
        return f"{scheme}://{host if isinstance(host, str) else host.decode()}:{port}"

    @property
    def requests(self) -> tuple[Request, ...]:
        with self._lock:
            return tuple(entry.frozen() for entry in self._entries)

    def forget(self) -> None:
        with self._lock:
            self._entries.clear()

    def note(self, entry: _Entry) -> None:
        with self._lock:
            self._entries.append(entry)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self.closing.set()
        self.shutdown()
        self._thread.join()
        self.server_close()
        with self._lock:
            connections = tuple(self._open)
        for connection in connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, client = super().get_request()
        if self._tls is not None:
            # The handshake waits for the first read, in the connection's own thread.
            connection = self._tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        return connection, client

    def opened(self, connection: socket.socket) -> None:
        with self._lock:
            self._open.add(connection)

    def closed(self, connection: socket.socket) -> None:
        with self._lock:
            self._open.discard(connection)

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that leaves is ordinary here."""


class Handler(BaseHTTPRequestHandler):
    """One connection. A room overrides `answer` and ends each request with one of the `send_…` methods."""

    protocol_version = "HTTP/1.1"
    server: Server

    def setup(self) -> None:
        super().setup()
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buckets: tuple[Bucket, ...] = self.server.link.connect()
        self.server.opened(self.connection)

    def finish(self) -> None:
        self.server.closed(self.connection)
        with suppress(OSError):
            super().finish()

    def do_GET(self) -> None:
        self._handle()

    def do_HEAD(self) -> None:
        self._handle()

    def do_POST(self) -> None:
        self._handle()

    def answer(self) -> None:
        raise NotImplementedError

    @property
    def name(self) -> str:
        """The path asked for, decoded, without its first slash and its query."""
        return unquote(urlsplit(self.path).path).lstrip("/")

    def send_nothing(self, status: int, headers: Mapping[str, str] | None = None) -> None:
        self.send_bytes(b"", status=status, headers=headers)

    def send_bytes(
        self, content: bytes, *, status: int = 200, headers: Mapping[str, str] | None = None
    ) -> None:
        self._head(status, {"Content-Length": str(len(content)), **(headers or {})})
        if self.command != "HEAD":
            self.wfile.write(content)
            self._entry.sent_bytes += len(content)

    def send_file(self, file: Path, etag: str, headers: Mapping[str, str] | None = None) -> None:
        """The file, or the part of it that was asked for, with the fault that is due."""
        size = file.stat().st_size
        asked = _asked_range(self.headers.get("Range"), size)
        start, end = asked or (0, size)
        is_get = self.command == "GET"
        fault = self.server.script.strike(self.name, start, end, ranged=asked is not None) if is_get else None
        if isinstance(fault, Refuse):
            again = {"Retry-After": fault.retry_after} if fault.retry_after is not None else {}
            self.send_bytes(b"refused\n", status=fault.status, headers=again)
            return
        if isinstance(fault, NewETag):
            etag = f'{etag[:-1]}-new"'
        if not _matches(self.headers.get("If-Match"), etag):
            self.send_nothing(HTTPStatus.PRECONDITION_FAILED)
            return
        if start >= end and asked is not None:
            self.send_nothing(
                HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, {"Content-Range": f"bytes */{size}"}
            )
            return
        told = {"ETag": etag, "Accept-Ranges": "bytes", "Content-Type": "application/octet-stream"}
        if isinstance(fault, IgnoreRange):
            start, end, asked = 0, size, None
        if isinstance(fault, WrongRange):
            start, end = _beside(start, end, size)
        if asked is not None:
            told["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
        if isinstance(fault, Shorten):
            end = max(start, end - fault.by_bytes)
        status = HTTPStatus.OK if asked is None else HTTPStatus.PARTIAL_CONTENT
        self._head(status, {**told, **(headers or {}), "Content-Length": str(end - start)})
        if is_get:
            self._send_body(Body(file=file, size=size, start=start, end=end, fault=fault))

    def _handle(self) -> None:
        self._entry = _Entry(
            at_s=now(),
            method=self.command,
            path=self.name,
            range=self.headers.get("Range"),
            if_match=self.headers.get("If-Match"),
            authorization="Authorization" in self.headers,
        )
        self.server.note(self._entry)
        if self.server.link.latency_s and self.server.closing.wait(self.server.link.latency_s):
            self.close_connection = True
            return
        try:
            self.answer()
        except OSError:
            # The client left; that is its right.
            self.close_connection = True

    def _head(self, status: int, headers: Mapping[str, str]) -> None:
        self._entry.status = int(status)
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def _send_body(self, body: Body) -> None:
        match body.fault:
            case Cut(after_bytes=after, reset=reset):
                self._send_piece(body, body.start, min(body.end, body.start + after))
                self._hang_up(reset=reset)
            case Stall(after_bytes=after):
                self._send_piece(body, body.start, min(body.end, body.start + after))
                self._wait_for_the_client_to_leave()
                self.close_connection = True
            case Flip(at_byte=at):
                self._send_piece(body, body.start, at)
                with body.file.open("rb") as file:
                    file.seek(at)
                    self._pace(1)
                    self.connection.sendall(bytes([file.read(1)[0] ^ 1]))
                self._entry.sent_bytes += 1
                self._send_piece(body, at + 1, body.end)
            case _:
                self._send_piece(body, body.start, body.end)

    def _send_piece(self, body: Body, start: int, end: int) -> None:
        with body.file.open("rb", buffering=0) as file:
            while start < end:
                size = min(
                    end - start, min((bucket.piece_bytes for bucket in self._buckets), default=_UNPACED_PIECE)
                )
                self._pace(size)
                self._send_from(file, start, size)
                start += size

    def _send_from(self, file: BinaryIO, start: int, size: int) -> None:
        if isinstance(self.connection, ssl.SSLSocket):
            self.connection.sendall(os.pread(file.fileno(), size, start))
            self._entry.sent_bytes += size
            return
        while size:
            sent = os.sendfile(self.connection.fileno(), file.fileno(), start, size)
            if not sent:
                raise ConnectionAbortedError("the file became shorter")
            start, size = start + sent, size - sent
            self._entry.sent_bytes += sent

    def _pace(self, count: int) -> None:
        wait_s = max((bucket.take(count) for bucket in self._buckets), default=0.0)
        if wait_s and self.server.closing.wait(wait_s):
            raise ConnectionAbortedError("the server closes")

    def _hang_up(self, *, reset: bool) -> None:
        if reset:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        if not reset:
            with suppress(OSError):
                self.connection.shutdown(socket.SHUT_RDWR)

    def _wait_for_the_client_to_leave(self) -> None:
        # Readable without a request in flight means its end of the connection is closed.
        self.connection.settimeout(0.1)
        while not self.server.closing.is_set():
            try:
                if self.connection.recv(1, socket.MSG_PEEK) == b"":
                    return
            except TimeoutError:  # noqa: PERF203 - still connected
                continue
            except OSError:
                return

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name in the standard library
        """Quiet: what happened is in `requests`."""


def _server_side(tls: tuple[str, str]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*tls)
    return context


def etag_of(file: Path) -> str:
    """Another content, another ETag, as far as size and time tell; a file server's usual choice."""
    state = file.stat()
    return f'"{state.st_mtime_ns:x}-{state.st_size:x}"'


def file_below(directory: Path, name: str) -> Path | None:
    """The file of that name, unless it is absent or lies outside."""
    root = directory.resolve()
    found = (root / name).resolve()
    return found if found.is_file() and found.is_relative_to(root) else None


def _asked_range(header: str | None, size: int) -> tuple[int, int] | None:
    """One range as [start, end); None where there is none that we understand, which means the whole file."""
    found = _RANGE.fullmatch(header or "")
    if found is None or not (found[1] or found[2]):
        return None
    if not found[1]:
        return max(0, size - int(found[2])), size
    return int(found[1]), min(size, int(found[2]) + 1 if found[2] else size)


def _beside(start: int, end: int, size: int) -> tuple[int, int]:
    """Some other range of the same file."""
    if end < size:
        return start + 1, end + 1
    return max(0, start - 1), end - 1


def _matches(condition: str | None, etag: str) -> bool:
    return condition is None or condition == "*" or etag in {tag.strip() for tag in condition.split(",")}
