"""HTTP as a byte path: one ranged GET at a time on connections that stay open.

Says only what it can prove: an answer comes with its status, its headers and a body that is known to be
short when it is. What a status means for a file is decided in `source`. Addresses may be signed; messages
hold `Address.shown`.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import field
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, quote, unquote, urljoin, urlsplit

from coldstart_sdk.errors import StorageError
from coldstart_sdk.frozen import dataclass
from coldstart_sdk.storage import http1
from coldstart_sdk.storage.http1 import Headers, ProtocolError, Response
from coldstart_sdk.storage.transient import TransientError
from coldstart_sdk.storage.wire import Wire

if TYPE_CHECKING:
    import ssl

    from coldstart_sdk.storage import openssl

CONNECT_S = 10.0
REDIRECTS = 6
_MOVED = frozenset({301, 302, 303, 307, 308})
_OK = 200
_PORTS = {"http": 80, "https": 443}
_SHORT_BYTES = 64 << 10
_AS_THEY_ARE = "%/:?#[]@!$&'()*+,;=~"
"""What an address may hold; the rest, such as a space, is escaped."""


@dataclass(frozen=True, kw_only=True)
class Address:
    """Where bytes are, and the headers that open the door there."""

    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Sent to this host alone, never to one it redirects to."""

    @property
    def shown(self) -> str:
        """Without user, password, query and fragment, any of which may be a secret."""
        return shown(self.url)


@dataclass(frozen=True, kw_only=True)
class Answer:
    """A response, its body still to be read."""

    body: Response
    address: Address
    """Where the answer came from, after redirects."""

    @property
    def status(self) -> int:
        return self.body.status

    @property
    def headers(self) -> Headers:
        return self.body.headers

    @property
    def etag(self) -> str | None:
        return self.headers.get("ETag") or self.headers.get("Last-Modified")

    def read_into(self, buffer: memoryview) -> int:
        """Fill it from the body; less where the body ends, or nothing more comes for a while."""
        with _reading():
            return self.body.fill(buffer)

    def pour(self, inlet: int, most_bytes: int) -> int:
        """Some of the body into a pipe, where it `pours`."""
        with _reading():
            return self.body.pour(inlet, most_bytes)


class Network:
    """What the streams of one sync share: TLS settings, and the means to end every connection at once."""

    def __init__(self, *, stall_s: float) -> None:
        self.stall_s = stall_s
        self._tls: openssl.Context | ssl.SSLContext | None = None
        self._wires: set[Wire] = set()
        self._lock = threading.Lock()
        self._closed = False

    def under_tls(self, connected: socket.socket, host: str) -> Wire:
        import ssl  # noqa: PLC0415 - only where there is TLS

        from coldstart_sdk.storage import openssl, tls  # noqa: PLC0415 - as above

        with self._lock:
            if self._tls is None:
                self._tls = openssl.context() or ssl.create_default_context()
            shared = self._tls
        if isinstance(shared, openssl.Context):
            return openssl.NativeTlsWire(connected, shared, host)
        return tls.TlsWire(connected, shared, host)

    def add(self, connected: Wire) -> None:
        with self._lock:
            self._wires.add(connected)
            closed = self._closed
        if closed:
            _shut(connected)

    def remove(self, connected: Wire) -> None:
        with self._lock:
            self._wires.discard(connected)

    def close(self) -> None:
        """Wake every stream that waits for bytes."""
        with self._lock:
            self._closed = True
            open_now = tuple(self._wires)
        for connected in open_now:
            _shut(connected)


class Channel:
    """The connections of one stream, one to each host."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._connections: dict[tuple[str, str, int], _Connection] = {}

    def get(self, address: Address, headers: Mapping[str, str]) -> Answer:
        """Ask for it, following redirects; the caller reads the body to its end, or drops the channel."""
        here = address
        for _ in range(REDIRECTS):
            answer = self._ask(here, headers)
            if answer.status not in _MOVED:
                return answer
            here = _redirected(here, answer)
            self._finish(answer)
        raise StorageError(
            f"the address redirects more than {REDIRECTS} times",
            where=address.shown,
            fix="Use the final address.",
        )

    def ask(
        self, method: str, address: Address, headers: Mapping[str, str], body: bytes | None = None
    ) -> Answer:
        """One request, and its answer whatever it is; no redirect is followed."""
        return self._ask(address, headers, method, body)

    def drop(self) -> None:
        """Close them all: after a failed or half-read answer nothing on them can be trusted."""
        while self._connections:
            _, connection = self._connections.popitem()
            self._network.remove(connection.wire)
            connection.wire.close()

    def _ask(
        self, address: Address, headers: Mapping[str, str], method: str = "GET", body: bytes | None = None
    ) -> Answer:
        at = _At.of(address)
        reused = self._free(at)
        try:
            return (reused or self._connect(at)).ask(method, at, address, headers, body)
        except (OSError, ProtocolError) as broken:
            self.drop()
            # A server may close an idle connection at any time; that is no failure of this request.
            if reused is None or isinstance(broken, TimeoutError):
                raise TransientError(f"no answer: {_said(broken)}") from broken
        try:
            return self._connect(at).ask(method, at, address, headers, body)
        except (OSError, ProtocolError) as broken:
            self.drop()
            raise TransientError(f"no answer: {_said(broken)}") from broken

    def _free(self, at: _At) -> _Connection | None:
        """The one that is open to this host, if its last answer was read to its end."""
        connection = self._connections.get(at.server)
        if connection is not None and not connection.is_free:
            self.drop()
            return None
        return connection

    def _connect(self, at: _At) -> _Connection:
        connection = _opened(at, self._network)
        connection.wire.bound(self._network.stall_s)
        self._network.add(connection.wire)
        self._connections[at.server] = connection
        return connection

    def _finish(self, answer: Answer) -> None:
        """Make the connection free again where its body is short, else close it."""
        answer.body.read(_SHORT_BYTES)
        if not answer.body.is_over:
            self.drop()


@dataclass(frozen=True, kw_only=True)
class _At:
    """What an address says: which server, and what it is asked for."""

    scheme: str
    host: str
    port: int
    target: str

    @classmethod
    def of(cls, address: Address) -> _At:
        parts = urlsplit(address.url)
        with suppress(ValueError):
            if parts.scheme in _PORTS and parts.hostname:
                port = parts.port or _PORTS[parts.scheme]
                target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
                target = quote(target, safe=_AS_THEY_ARE)
                return cls(scheme=parts.scheme, host=parts.hostname, port=port, target=target)
        raise StorageError(
            "that is not an http or https address", where=address.shown, fix="Write it as https://host/path."
        )

    @property
    def server(self) -> tuple[str, str, int]:
        return self.scheme, self.host, self.port

    @property
    def named(self) -> str:
        """The server as a header names it."""
        return self.host_and_port if self.port != _PORTS[self.scheme] else self._bracketed

    @property
    def host_and_port(self) -> str:
        return f"{self._bracketed}:{self.port}"

    @property
    def _bracketed(self) -> str:
        host = self.host if self.host.isascii() else self.host.encode("idna").decode()
        return f"[{host}]" if ":" in host else host


class _Connection:
    """One that is open, and the answer that came last."""

    def __init__(self, wire: Wire, *, to_proxy: Mapping[str, str] | None = None) -> None:
        """`to_proxy`: headers for a proxy that fetches plain HTTP for us; None: there is none in between."""
        self.wire = wire
        self._to_proxy = to_proxy
        self._answer: Response | None = None

    @property
    def is_free(self) -> bool:
        return self._answer is None or self._answer.leaves_the_connection_free

    def ask(
        self, method: str, at: _At, address: Address, headers: Mapping[str, str], body: bytes | None
    ) -> Answer:
        said = {"User-Agent": "coldstart-sdk", "Accept-Encoding": "identity"}
        told = {**said, **(self._to_proxy or {}), **address.headers, **headers}
        target = at.target if self._to_proxy is None else f"{at.scheme}://{at.named}{at.target}"
        http1.send(self.wire, method, target, at.named, told, body)
        self._answer = Response(self.wire, method)
        return Answer(body=self._answer, address=address)


def shown(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _opened(at: _At, network: Network) -> _Connection:
    """Straight, or through the proxy that the environment names."""
    proxy = _proxy(at)
    through = None if proxy is None else urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    to = (at.host, at.port) if through is None else (through.hostname or "", through.port or 80)
    connected = socket.create_connection(to, CONNECT_S)
    try:
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        entry = proxy_authorization(through)
        if at.scheme == "http":
            return _Connection(Wire(connected), to_proxy=None if through is None else entry)
        if through is not None:
            _tunnel(Wire(connected), at.host_and_port, entry)
        return _Connection(network.under_tls(connected, at.host))
    except BaseException:
        connected.close()
        raise


def _tunnel(wire: Wire, to: str, entry: Mapping[str, str]) -> None:
    http1.send(wire, "CONNECT", to, to, entry, None)
    answer = Response(wire, "CONNECT")
    if answer.status != _OK:
        raise ProtocolError(f"the proxy answered {answer.status}")


def _proxy(at: _At) -> str | None:
    names = (f"{at.scheme}_proxy", f"{at.scheme.upper()}_PROXY", "all_proxy", "ALL_PROXY")
    proxy = next((os.environ[name] for name in names if os.environ.get(name)), None)
    if proxy is None:
        return None
    from urllib.request import proxy_bypass  # noqa: PLC0415 - only where a proxy is set

    return None if proxy_bypass(f"{at.host}:{at.port}") else proxy


def proxy_authorization(through: SplitResult | None) -> dict[str, str]:
    """Who we are, for a proxy whose address says so."""
    if through is None or through.username is None:
        return {}
    import base64  # noqa: PLC0415 - only where a proxy asks who we are

    said = f"{unquote(through.username)}:{unquote(through.password or '')}"
    return {"Proxy-Authorization": f"Basic {base64.b64encode(said.encode()).decode()}"}


@contextmanager
def _reading() -> Iterator[None]:
    try:
        yield
    except (OSError, ProtocolError) as broken:
        raise TransientError(f"the connection broke: {_said(broken)}") from broken


def _redirected(here: Address, answer: Answer) -> Address:
    target = answer.headers.get("Location")
    if not target:
        raise TransientError(f"a redirect ({answer.status}) without an address")
    url = urljoin(here.url, target)
    before, after = urlsplit(here.url), urlsplit(url)
    if before.scheme == "https" and after.scheme != "https":
        raise StorageError(
            "the address redirects from https to http",
            where=here.shown,
            fix="Use an origin that keeps to https.",
        )
    same = (before.scheme, before.netloc) == (after.scheme, after.netloc)
    return Address(url=url, headers=here.headers if same else {})


def _said(broken: BaseException) -> str:
    if isinstance(broken, TimeoutError):
        return "nothing came in time"
    if isinstance(broken, OSError) and broken.strerror:
        return broken.strerror
    if isinstance(broken, ProtocolError):
        return str(broken)
    return type(broken).__name__


def _shut(connected: Wire) -> None:
    with suppress(OSError):
        connected.shutdown(socket.SHUT_RDWR)
