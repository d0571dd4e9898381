"""A link of a chosen speed to whoever a worker asks: a proxy on loopback, in a process of its own.

What others send cannot be paced where it is sent, so it is on the last step of its way. All connections share
the link, and each direction has the whole of it. Spoken are CONNECT, for https, and HTTP with whole
addresses, one request to a connection. Nothing is read but the head of a plain request and of its answer, and
nothing is remembered but hosts: the rest of an address may be a secret.

Whoever has a proxy of their own has it because there is no other way out: it is the way on from here.
"""

from __future__ import annotations

import http.client
import os
import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from io import BufferedIOBase
from types import TracebackType
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, urlsplit
from urllib.request import getproxies, proxy_bypass

from coldstart_sdk.errors import UsageError
from coldstart_sdk.plan import Plan
from coldstart_sdk.rehearsal.child import Child, orders, reply
from coldstart_sdk.rehearsal.link import Bucket, Link
from coldstart_sdk.rehearsal.origin import LOOPBACK
from coldstart_sdk.rehearsal.serving import Handler, Server
from coldstart_sdk.storage.http import proxy_authorization

if TYPE_CHECKING:
    from typing_extensions import Self

_CONNECT_S = 10.0
_OWN = ("localhost", "127.0.0.1", "::1")
_ADDRESSES = ("HF_ENDPOINT", "AWS_ENDPOINT_URL")
_SCHEMES = ("http", "https", "all")
_LINE_BYTES = 1 << 16
# Of one connection (RFC 9110, 7.6.1), or answered here: `Expect` has been, when a request is read.
_OF_ONE_HOP = frozenset(
    {"connection", "proxy-connection", "keep-alive", "proxy-authorization", "te", "upgrade", "expect"}
)


def own_names(plan: Plan) -> tuple[str, ...]:
    """Names of this machine, under which a worker asks what it runs itself, over no link.

    One that the plan or the environment speaks of is that of a hub or a store, and there the link counts.
    """
    named = (os.environ.get(name, "") for name in (*_ADDRESSES, *plan.spec.secrets))
    said = "\n".join((plan.to_json(), *named))
    return tuple(name for name in _OWN if name not in said)


def link(rate_bytes_s: float | None, *, hub: str | None) -> AbstractContextManager[Proxy | None]:
    """The one that was asked for, to everybody else's; a hub of ours has its own."""
    return Proxy(rate_bytes_s) if rate_bytes_s and not hub else nullcontext()


class Proxy:
    """A context manager; a process with `environment` in its own goes through the link."""

    def __init__(self, rate_bytes_s: float) -> None:
        self._rate_bytes_s = rate_bytes_s
        self._child: Child | None = None
        self.address = ""

    def __enter__(self) -> Self:
        _refuse_what_cannot_be_gone_through()
        self._child = Child("coldstart_sdk.rehearsal.proxy")
        self.address = str(self._child.say(self._rate_bytes_s))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, raised: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._running.close()
        self._child = None

    def environment(self, near: Iterable[str] = ()) -> dict[str, str]:
        """What sends a process through it; `near` are hosts that are not asked over the link."""
        said = {"http_proxy": self.address, "https_proxy": self.address, "no_proxy": ",".join(near)}
        return {**said, **{name.upper(): value for name, value in said.items()}}

    def came(self) -> Mapping[str, int]:
        """How many bytes, from each host that was asked."""
        told: dict[str, int] = self._running.say("came")
        return told

    def forget(self) -> None:
        """Count anew."""
        self._running.say("forget")

    @property
    def _running(self) -> Child:
        if self._child is None:
            raise RuntimeError("the proxy runs only inside its `with` block")
        return self._child


class _Server(Server):
    def __init__(self, rate_bytes_s: float) -> None:
        super().__init__(LOOPBACK, _Handler, link=Link(rate_bytes_s=rate_bytes_s))
        self.upward = Link(rate_bytes_s=rate_bytes_s)

    def came(self) -> Counter[str]:
        hosts: Counter[str] = Counter()
        for request in self.requests:
            hosts[request.path] += request.sent_bytes
        return hosts


class _Handler(Handler):
    """One connection of the worker's, and the one that goes on."""

    server: _Server

    def do_CONNECT(self) -> None:  # noqa: N802 - named by the standard library
        self._handle()

    do_PUT = do_DELETE = do_PATCH = do_OPTIONS = do_CONNECT  # noqa: N815 - as above

    @property
    def name(self) -> str:
        """Who is asked, which is all that is remembered of it."""
        asked = self._asked()
        return (asked.hostname or "") if asked else ""

    def answer(self) -> None:
        self.close_connection = True
        asked = self._asked()
        if asked is None:
            self._refuse("400 this is a proxy, and no address of HTTP was named")
            return
        own = _own_proxy("https" if self._is_tunnel else "http", asked)
        try:
            far = _connect(asked, own, is_tunnel=self._is_tunnel)
        except OSError as failed:
            why = failed.strerror or str(failed) or type(failed).__name__
            self._refuse(f"502 {asked.hostname} cannot be reached: {why}")
            return
        with far, far.makefile("rb") as answers:
            if self._is_tunnel:
                self.wfile.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            else:
                far.sendall(self._request(own))
            self._carry(far, answers)

    @property
    def _is_tunnel(self) -> bool:
        return self.command == "CONNECT"

    def _asked(self) -> SplitResult | None:
        """None: nothing that HTTP would name to a proxy."""
        with suppress(ValueError):
            asked = urlsplit(f"//{self.path}" if self._is_tunnel else self.path)
            port = asked.port  # a ValueError where it is none
            if asked.hostname and (port if self._is_tunnel else asked.scheme == "http"):
                return asked
        return None

    def _refuse(self, why: str) -> None:
        head = f"HTTP/1.1 {why}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        self.wfile.write(head.encode("latin-1", "replace"))

    def _request(self, own: SplitResult | None) -> bytes:
        """The head that goes on: with the whole address only where another proxy is to read it."""
        target = self.path if own else "/" + [*self.path.split("/", 3), ""][3]
        said = [(name, value) for name, value in self.headers.items() if name.lower() not in _OF_ONE_HOP]
        said += [("Connection", "close"), *proxy_authorization(own).items()]
        lines = [f"{self.command} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in said), "", ""]
        return "\r\n".join(lines).encode("latin-1")

    def _carry(self, far: socket.socket, answers: BufferedIOBase) -> None:
        """Both ways, until both have ended. Where one breaks both do: nobody takes a break for an end."""
        over = self.server.closing
        upward = _Way(self.rfile, far, self.server.upward.connect(), over)
        downward = _Way(answers, self.connection, self._buckets, over, self._came)
        beside = threading.Thread(target=upward.carry, name="upward", daemon=True)
        beside.start()
        downward.carry(with_head=not self._is_tunnel)
        is_broken = upward.is_broken or downward.is_broken
        if not self._is_tunnel:  # that was the one answer
            downward.wake()
        beside.join()
        if is_broken:
            for end, reader in ((far, answers), (self.connection, self.rfile)):
                _reset(end, reader)

    def _came(self, count: int) -> None:
        self._entry.sent_bytes += count


class _Way:
    """One direction of a connection, at the pace of the link."""

    def __init__(
        self,
        source: BufferedIOBase,
        sink: socket.socket,
        buckets: tuple[Bucket, ...],
        over: threading.Event,
        told: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._source = source
        self._sink = sink
        self._buckets = buckets
        self._over = over
        self._told = told
        self.is_broken = False

    def carry(self, *, with_head: bool = False) -> None:
        piece = memoryview(bytearray(min(bucket.piece_bytes for bucket in self._buckets)))
        try:
            if with_head:
                self._send(_head(self._source))
            while count := self._source.readinto1(piece):
                self._send(piece[:count])
            self._sink.shutdown(socket.SHUT_WR)
        except OSError:
            self.is_broken = True
            self.wake()

    def wake(self) -> None:
        """Whoever waits for bytes of the other direction."""
        with suppress(OSError):
            self._sink.shutdown(socket.SHUT_RD)

    def _send(self, piece: bytes | memoryview) -> None:
        if self._over.wait(max(bucket.take(len(piece)) for bucket in self._buckets)):
            raise ConnectionAbortedError("the proxy closes")
        self._told(len(piece))  # first: whoever has them may ask at once
        self._sink.sendall(piece)


def _head(answers: BufferedIOBase) -> bytes:
    """An answer's, and that no other follows it here."""
    lines = [answers.readline(_LINE_BYTES)]
    while lines[-1].strip():
        lines.append(answers.readline(_LINE_BYTES))
    if not lines[-1]:
        raise ConnectionResetError("the answer ended in its head")
    if lines[0].split(b" ", 1)[-1].startswith(b"1"):  # a hint, and the answer after it
        return b"".join(lines) + _head(answers)
    kept = [
        line for line in lines[:-1] if line.partition(b":")[0].lower().decode("latin-1") not in _OF_ONE_HOP
    ]
    return b"".join([*kept, b"Connection: close\r\n\r\n"])


def _reset(end: socket.socket, reader: BufferedIOBase) -> None:
    """Close it so that the other side sees a break."""
    with suppress(OSError):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    reader.close()  # it keeps the socket open
    end.close()


def _connect(asked: SplitResult, own: SplitResult | None, *, is_tunnel: bool) -> socket.socket:
    at = (asked.hostname or "", asked.port or http.client.HTTP_PORT)
    if own is None:
        connected = socket.create_connection(at, _CONNECT_S)
    else:
        through = http.client.HTTPConnection(own.hostname or "", own.port, timeout=_CONNECT_S)
        if is_tunnel:
            through.set_tunnel(*at, headers=proxy_authorization(own))
        through.connect()
        connected = through.sock
    connected.settimeout(None)
    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connected


def _own_proxy(scheme: str, asked: SplitResult) -> SplitResult | None:
    """The user's, where their environment names one for this host."""
    named = getproxies()
    proxy = named.get(scheme) or named.get("all")
    if not proxy or proxy_bypass(asked.netloc.rpartition("@")[2]):
        return None
    return urlsplit(proxy if "://" in proxy else f"http://{proxy}")


def _refuse_what_cannot_be_gone_through() -> None:
    for name, proxy in getproxies().items():
        kind = proxy.partition("://")[0] if "://" in proxy else "http"
        if name in _SCHEMES and kind != "http":
            raise UsageError(
                f"net= goes on through {name}_proxy, which names a proxy that speaks {kind}",
                fix="Name one that speaks HTTP, http://host:port, or unset it.",
            )


def _serve_parent() -> None:
    """The child's life: a rate, then orders, until the parent is gone."""
    told = orders()
    server = _Server(float(next(told)))
    server.start()
    reply(server.address)
    for order in told:
        if order == "forget":
            server.forget()
        reply(server.came())
    server.close()


if __name__ == "__main__":
    _serve_parent()
