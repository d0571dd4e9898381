"""Fetch a URL that a caller sent, without becoming their hand inside our network.

A name is resolved first, every address it has must be public, and the connection goes to one of those very
addresses: a second answer of the resolver changes nothing. Each redirect is a new URL and is checked as one.
Proxies of the environment are not used: they would resolve for themselves.
"""

from __future__ import annotations

import http.client
import ipaddress
import os
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from typing import TypeAlias
from urllib.parse import SplitResult, quote, unquote, urljoin, urlsplit

from coldstart_sdk.errors import UsageError
from coldstart_sdk.media import File, kinds
from coldstart_sdk.redact import safe_url

LIMIT_BYTES = 100 * 1000 * 1000
TIMEOUT_S = 60.0
REDIRECTS = 5
ALLOW_PRIVATE = "COLDSTART_ALLOW_PRIVATE_URLS"

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_CHUNK_BYTES = 256 * 1024
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


Resolve: TypeAlias = Callable[[str, int], tuple[str, ...]]
MayConnect: TypeAlias = Callable[[str], bool]


class RemoteError(ValueError):
    """A URL that may not, or could not, be fetched; the message is safe to show to its caller."""

    fix: str | None = None
    """What whoever runs the worker may do about it."""


@dataclass(frozen=True, kw_only=True)
class _Target:
    """A URL that may be fetched, and the addresses that it may be fetched from."""

    url: str
    secure: bool
    host: str
    port: int
    path: str
    addresses: tuple[str, ...]


def fetch(
    url: str,
    *,
    limit_bytes: int = LIMIT_BYTES,
    timeout_s: float = TIMEOUT_S,
    resolve: Resolve | None = None,
    may_connect: MayConnect | None = None,
) -> File:
    """What stands behind the URL, with its type and name."""
    allowed = may_connect or (_any if os.environ.get(ALLOW_PRIVATE) == "1" else is_public)
    ends = time.monotonic() + timeout_s
    for _ in range(REDIRECTS + 1):
        target = _check(url, resolve or addresses_of, allowed)
        with _answer(target, ends) as response:
            if response.status not in _REDIRECTS:
                return _file(target, response, _body(target, response, limit_bytes))
            url = _next(target, response.getheader("Location"))
    raise RemoteError(f"{safe_url(url)}: more than {REDIRECTS} redirects")


def addresses_of(host: str, port: int) -> tuple[str, ...]:
    """Every address of a host, by this machine's resolver: it also knows what 2130706433 or 0x7f.1 mean."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return tuple(dict.fromkeys(str(entry[4][0]) for entry in found))


def is_public(address: str) -> bool:
    """Whether an address, and every IPv4 address hidden in it, belongs to the public internet."""
    parsed = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(parsed, ipaddress.IPv6Address):
        if (v4 := _translated(parsed)) is not None:
            return is_public(str(v4))
        if not all(is_public(str(v4)) for v4 in (parsed.sixtofour, *(parsed.teredo or ())) if v4 is not None):
            return False
    return parsed.is_global and not (parsed.is_multicast or parsed.is_reserved or parsed.is_unspecified)


def _translated(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address that is really meant: mapped by this host, or translated by its network."""
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped


def _any(_address: str) -> bool:
    return True


def _check(url: str, resolve: Resolve, allowed: MayConnect) -> _Target:
    parts = _split(url)
    if parts.scheme not in {"http", "https"}:
        raise RemoteError("only http and https URLs are fetched")
    if parts.username is not None or parts.password is not None:
        raise RemoteError("a URL with a user name or password is not fetched; use a signed URL")
    try:
        host = _ascii(parts.hostname or "")
        port = parts.port or (443 if parts.scheme == "https" else 80)
    except (UnicodeError, ValueError):
        raise RemoteError("the URL's host or port is not valid") from None
    if not host:
        raise RemoteError("the URL has no host")
    path = quote(parts.path or "/", safe="/%:@!$&'()*+,;=~-._")
    query = "?" + quote(parts.query, safe="/%:@!$&'()*+,;=~-._?[]") if parts.query else ""
    return _Target(
        url=url,
        secure=parts.scheme == "https",
        host=host,
        port=port,
        path=path + query,
        addresses=_addresses(host, port, resolve, allowed),
    )


def _split(url: str) -> SplitResult:
    try:
        return urlsplit(url)
    except ValueError:
        raise RemoteError("this is not a valid URL") from None


def _ascii(host: str) -> str:
    return host if ":" in host else host.encode("idna").decode("ascii")


def _addresses(host: str, port: int, resolve: Resolve, allowed: MayConnect) -> tuple[str, ...]:
    """Every address of the host, all of them allowed."""
    try:
        addresses = resolve(host, port)
    except (OSError, UnicodeError):
        raise RemoteError(f"the host {host[:100]} cannot be found") from None
    if not all(allowed(address) for address in addresses):
        refused = RemoteError(f"the host {host[:100]} is not on the public internet")
        refused.fix = f"Set {ALLOW_PRIVATE}=1 for the worker, where its callers may reach your own network."
        raise refused
    return addresses


@contextmanager
def _answer(target: _Target, ends: float) -> Iterator[http.client.HTTPResponse]:
    """The response's head, from one of the checked addresses."""
    with closing(_connect(target, ends)) as raw, _deadline(raw, ends) as late:
        try:
            with closing(_secured(raw, target)) as secured, closing(_ask(secured, target)) as response:
                yield response
        except ssl.SSLCertVerificationError:
            raise RemoteError(f"{safe_url(target.url)}: its certificate cannot be verified") from None
        except (OSError, http.client.HTTPException) as exc:
            why = "it took too long" if late.is_set() else f"the connection broke ({type(exc).__name__})"
            raise RemoteError(f"{safe_url(target.url)}: {why}") from None
        if late.is_set():  # what was cut may look like an end
            raise RemoteError(f"{safe_url(target.url)}: it took too long")


@contextmanager
def _deadline(connected: socket.socket, ends: float) -> Iterator[threading.Event]:
    """Cut the connection when the time is up: a time-out for each read would never end a drip."""
    late = threading.Event()
    end = connected.dup()  # TLS takes the socket over, but not the connection away

    def cut() -> None:
        late.set()
        with suppress(OSError):  # the other side was faster
            end.shutdown(socket.SHUT_RDWR)

    alarm = threading.Timer(max(0.0, ends - time.monotonic()), cut)
    alarm.daemon = True
    alarm.start()
    try:
        yield late
    finally:
        alarm.cancel()
        end.close()


def _ask(connected: socket.socket, target: _Target) -> http.client.HTTPResponse:
    kind = http.client.HTTPSConnection if target.secure else http.client.HTTPConnection
    connection = kind(target.host, target.port)
    connection.sock = connected
    headers = {"Accept": "*/*", "Accept-Encoding": "identity", "Connection": "close"}
    connection.request("GET", target.path, headers=headers)
    return connection.getresponse()


def _connect(target: _Target, ends: float) -> socket.socket:
    for address in target.addresses:
        try:
            connected = socket.create_connection(
                (address, target.port), timeout=max(0.1, ends - time.monotonic())
            )
        except OSError:
            continue
        connected.settimeout(None)  # from here on the alarm keeps the time, for every byte together
        return connected
    raise RemoteError(f"{safe_url(target.url)}: nothing answers there")


def _secured(raw: socket.socket, target: _Target) -> socket.socket:
    return (
        ssl.create_default_context().wrap_socket(raw, server_hostname=target.host) if target.secure else raw
    )


def _next(target: _Target, location: str | None) -> str:
    try:
        following = urljoin(target.url, location or "")
    except ValueError:
        following = ""
    if not location or not following:
        raise RemoteError(f"{safe_url(target.url)}: it redirects to nowhere")
    if target.secure and not following.lower().startswith("https://"):
        raise RemoteError(f"{safe_url(target.url)}: it redirects from https to something else")
    return following


def _body(target: _Target, response: http.client.HTTPResponse, limit_bytes: int) -> bytes:
    shown = safe_url(target.url)
    if response.status != http.client.OK:
        raise RemoteError(f"{shown}: the host answered {response.status}")
    if response.getheader("Content-Encoding", "identity").lower() != "identity":
        raise RemoteError(
            f"{shown}: it came compressed although it was not asked to; nothing is unpacked here"
        )
    announced = response.length
    if announced is not None and announced > limit_bytes:
        raise RemoteError(f"{shown}: {announced} bytes are more than the {limit_bytes} that are allowed")
    body = bytearray()
    while chunk := response.read1(_CHUNK_BYTES):
        body += chunk
        if len(body) > limit_bytes:
            raise RemoteError(f"{shown}: it is larger than the {limit_bytes} bytes that are allowed")
    if announced is not None and len(body) != announced:
        raise RemoteError(f"{shown}: it was cut short, at {len(body)} of {announced} bytes")
    return bytes(body)


def _file(target: _Target, response: http.client.HTTPResponse, body: bytes) -> File:
    """What the bytes themselves say counts more than the header: stores call everything octet-stream."""
    name = unquote(urlsplit(target.url).path).rpartition("/")[2] or None
    try:
        told = kinds.tidy(response.getheader("Content-Type") or kinds.UNKNOWN)
    except UsageError:
        told = kinds.UNKNOWN
    return File.from_bytes(body, kinds.sniff(body) or told, name=name)
