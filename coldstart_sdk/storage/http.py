"""HTTP as a byte path: one ranged GET at a time on connections that stay open.

Says only what it can prove: an answer comes with its status, its headers and a body that is known to be
short when it is. What a status means for a file is decided in `transfer`. Addresses may be signed; messages
hold `Address.shown`.
"""

from __future__ import annotations

import http.client
import io
import os
import socket
import ssl
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import SplitResult, unquote, urljoin, urlsplit

from coldstart_sdk.errors import StorageError
from coldstart_sdk.storage.transient import TransientError
from coldstart_sdk.storage.wire import TlsWire, Wire

if TYPE_CHECKING:
    from coldstart_sdk.storage import openssl

CONNECT_S = 10.0
REDIRECTS = 6
_MOVED = frozenset({301, 302, 303, 307, 308})
_PORTS = {"http": 80, "https": 443}


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


class Response(http.client.HTTPResponse):
    """One whose body is read past the buffer that its head was parsed from."""

    def __init__(self, sock: Any, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - as http.client calls it
        super().__init__(sock, *args, **kwargs)
        self._wire: Wire = sock
        self._is_past_the_head = False

    def fill(self, buffer: memoryview) -> int:
        """Fill it from the body; less where the body ends, or nothing more comes in time."""
        if self.length is None or self.chunked or len(buffer) < io.DEFAULT_BUFFER_SIZE:
            return self.readinto(buffer)
        if not self.length:
            self.close()
            return 0
        if self._is_past_the_head:
            count = self._wire.fill(buffer[: self.length])
        else:
            # All of what came along with the head, so that nothing is left in between.
            first = self.fp.read1(io.DEFAULT_BUFFER_SIZE)
            count = len(first)
            buffer[:count] = first
            self._is_past_the_head = True
        self.length -= count
        if not self.length:
            self.close()
        return count


@dataclass(frozen=True, kw_only=True)
class Answer:
    """The head of a response, and its body still to be read."""

    status: int
    headers: http.client.HTTPMessage
    body: Response
    address: Address
    """Where the answer came from, after redirects."""

    @property
    def etag(self) -> str | None:
        return self.headers.get("ETag") or self.headers.get("Last-Modified")

    def read_into(self, buffer: memoryview) -> int:
        """Fill it from the body; less where the body ends, or nothing more comes for a while."""
        try:
            return self.body.fill(buffer)
        except (OSError, http.client.HTTPException, ValueError, AttributeError) as broken:
            # A socket that the canceller closed under us shows as any of these.
            raise TransientError(f"the connection broke: {_said(broken)}") from broken


class Network:
    """What the streams of one sync share: TLS settings, and the means to end every connection at once."""

    def __init__(self, *, stall_s: float) -> None:
        self.stall_s = stall_s
        self._tls: openssl.Context | ssl.SSLContext | None = None
        self._wires: set[Wire | None] = set()
        self._lock = threading.Lock()
        self._closed = False

    def under_tls(self, connected: socket.socket, host: str) -> Wire:
        from coldstart_sdk.storage import openssl  # noqa: PLC0415 - only where there is TLS

        with self._lock:
            if self._tls is None:
                self._tls = openssl.context() or ssl.create_default_context()
            shared = self._tls
        if isinstance(shared, openssl.Context):
            return openssl.NativeTlsWire(connected, shared, host)
        return TlsWire(connected, shared, host)

    def add(self, connected: Wire) -> None:
        with self._lock:
            self._wires.add(connected)
            closed = self._closed
        if closed:
            _shut(connected)

    def remove(self, connected: Wire | None) -> None:
        with self._lock:
            self._wires.discard(connected)

    def close(self) -> None:
        """Wake every stream that waits for bytes."""
        with self._lock:
            self._closed = True
            open_now = tuple(self._wires)
        for connected in filter(None, open_now):
            _shut(connected)


class Channel:
    """The connections of one stream, one to each host."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._connections: dict[tuple[str, str], _Plain | _Tls] = {}

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
        for connection in self._connections.values():
            self._network.remove(connection.sock)
            connection.close()
        self._connections.clear()

    def _ask(
        self, address: Address, headers: Mapping[str, str], method: str = "GET", body: bytes | None = None
    ) -> Answer:
        parts = _parts(address)
        key = (parts.scheme, parts.netloc)
        reused = key in self._connections
        try:
            return self._send(key, address, headers, method, body)
        except (OSError, http.client.HTTPException) as broken:
            self.drop()
            # A server may close an idle connection at any time; that is no failure of this request.
            if not reused or isinstance(broken, TimeoutError):
                raise TransientError(f"no answer: {_said(broken)}") from broken
        try:
            return self._send(key, address, headers, method, body)
        except (OSError, http.client.HTTPException) as broken:
            self.drop()
            raise TransientError(f"no answer: {_said(broken)}") from broken

    def _send(
        self,
        key: tuple[str, str],
        address: Address,
        headers: Mapping[str, str],
        method: str,
        body: bytes | None,
    ) -> Answer:
        parts = _parts(address)
        connection = self._connections.get(key) or self._connect(key, parts.hostname or "", parts.port)
        target = parts._replace(scheme="", netloc="", fragment="").geturl() or "/"
        more: Mapping[str, str] = {}
        if isinstance(connection, _Proxied):
            target = parts._replace(fragment="", netloc=parts.netloc.rpartition("@")[2]).geturl()
            more = connection.authorization
        connection.request(
            method,
            target,
            body=body,
            headers={
                "User-Agent": "coldstart-sdk",
                "Accept-Encoding": "identity",
                **more,
                **address.headers,
                **headers,
            },
        )
        response = cast("Response", connection.getresponse())
        return Answer(status=response.status, headers=response.headers, body=response, address=address)

    def _connect(self, key: tuple[str, str], host: str, port: int | None) -> _Plain | _Tls:
        connection = _connection(key[0], host, port or _PORTS[key[0]], self._network)
        connection.connect()
        connection.sock.bound(self._network.stall_s)
        connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._network.add(connection.sock)
        self._connections[key] = connection
        return connection

    def _finish(self, answer: Answer) -> None:
        """Make the connection free again where its body is short, else close it."""
        if len(answer.body.read(64 * 1024)) == 64 * 1024 or not answer.body.isclosed():
            self.drop()


class _Plain(http.client.HTTPConnection):
    response_class = Response
    sock: Any

    def connect(self) -> None:
        super().connect()
        self.sock = Wire(self.sock)


class _Tls(http.client.HTTPConnection):
    response_class = Response
    sock: Any
    default_port = _PORTS["https"]

    def __init__(self, at: tuple[str, int], server: str, network: Network) -> None:
        super().__init__(*at, timeout=CONNECT_S)
        self._server = server
        self._network = network

    def connect(self) -> None:
        super().connect()  # through the tunnel, where there is one
        try:
            self.sock = self._network.under_tls(self.sock, self._server)
        except OSError:
            self.sock.close()
            raise


class _Proxied(_Plain):
    """A connection to a proxy that fetches plain HTTP for us."""

    authorization: Mapping[str, str]


def shown(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _parts(address: Address) -> SplitResult:
    parts = urlsplit(address.url)
    if parts.scheme not in _PORTS or not parts.hostname:
        raise StorageError(
            "that is not an http or https address", where=address.shown, fix="Write it as https://host/path."
        )
    return parts


def _connection(scheme: str, host: str, port: int, network: Network) -> _Plain | _Tls:
    proxy = _proxy(scheme, host)
    if proxy is None:
        if scheme == "https":
            return _Tls((host, port), host, network)
        return _Plain(host, port, timeout=CONNECT_S)
    through = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    by = (through.hostname or "", through.port or 80)
    authorization = _proxy_authorization(through.username, through.password)
    if scheme == "http":
        proxied = _Proxied(*by, timeout=CONNECT_S)
        proxied.authorization = authorization
        return proxied
    tunnel = _Tls(by, host, network)
    tunnel.set_tunnel(host, port, headers=authorization)
    return tunnel


def _proxy(scheme: str, host: str) -> str | None:
    names = (f"{scheme}_proxy", f"{scheme.upper()}_PROXY", "all_proxy", "ALL_PROXY")
    proxy = next((os.environ[name] for name in names if os.environ.get(name)), None)
    if proxy is None:
        return None
    from urllib.request import proxy_bypass  # noqa: PLC0415 - only where a proxy is set

    return None if proxy_bypass(host) else proxy


def _proxy_authorization(user: str | None, password: str | None) -> dict[str, str]:
    if user is None:
        return {}
    import base64  # noqa: PLC0415 - only where a proxy asks who we are

    return {
        "Proxy-Authorization": "Basic "
        + base64.b64encode(f"{unquote(user)}:{unquote(password or '')}".encode()).decode()
    }


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
    return type(broken).__name__


def _shut(connected: Wire) -> None:
    with suppress(OSError):
        connected.shutdown(socket.SHUT_RDWR)
