"""Whether the origins of a declaration's weights can be reached, and if not, which of four steps failed."""

from __future__ import annotations

import http.client
import os
import queue
import socket
import ssl
import threading
import time
import urllib.request
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

from coldstart_sdk.cli.findings import Finding, ok, problem, warn
from coldstart_sdk.spec import Origin, Spec, WeightSpec

_LIMIT_S = 5.0
_SKEW_S = 300.0
"""How far a clock may be off before S3 refuses what it signs."""


def hosts(spec: Spec) -> Iterator[Finding]:
    """One finding for each host, and one for the clock where a host told the time."""
    addresses = {address for weight in spec.weights.values() if (address := _address(weight)) is not None}
    for address in sorted(addresses):
        yield from _within(address)


def _address(weight: WeightSpec) -> str | None:
    match weight.origin:
        case Origin.HF:
            return os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")
        case Origin.S3:
            return os.environ.get("AWS_ENDPOINT_URL", "https://s3.amazonaws.com").rstrip("/")
        case Origin.URL:
            url = urlsplit(weight.source)
            return f"{url.scheme}://{url.hostname}" + (f":{url.port}" if url.port else "")
        case Origin.LOCAL:
            return None


def _within(address: str) -> Iterator[Finding]:
    """On a thread: a name server that does not answer cannot be told to hurry."""
    found: queue.Queue[list[Finding]] = queue.Queue()
    threading.Thread(target=lambda: found.put(list(_reach(address))), daemon=True).start()
    try:
        yield from found.get(timeout=4 * _LIMIT_S)
    except queue.Empty:
        yield problem(
            "reach", f"{address}: nothing answered within {4 * _LIMIT_S:g} s", fix="Look at the name server."
        )


def _reach(address: str) -> Iterator[Finding]:
    url = urlsplit(address)
    host, port = url.hostname or "", url.port or (443 if url.scheme == "https" else 80)
    proxy = None if urllib.request.proxy_bypass(host) else urllib.request.getproxies().get(url.scheme)
    first = urlsplit(proxy) if proxy else url
    via = f" through the proxy {first.hostname}" if proxy else ""
    began_s, step = time.monotonic(), "DNS"
    try:
        at = (first.hostname or "", first.port or (8080 if proxy else port))
        socket.getaddrinfo(*at, type=socket.SOCK_STREAM)
        step = "connect"
        socket.create_connection(at, timeout=_LIMIT_S).close()
        step = "TLS" if url.scheme == "https" else "HTTP"
        answer = _head(url.scheme, (host, port), at if proxy else None)
    except (OSError, http.client.HTTPException) as refused:
        yield problem("reach", f"{address}{via} failed at {step}: {_said(refused)}", fix=_MENDS[step])
        return
    yield ok("reach", f"{address}{via} answered in {(time.monotonic() - began_s) * 1000:.0f} ms")
    yield from _clock(answer.getheader("Date"), address)


_MENDS = {
    "DNS": "Look at the name server, and at the spelling of the host; behind a proxy set HTTPS_PROXY.",
    "connect": "A firewall may be in the way; behind a proxy set HTTPS_PROXY.",
    "TLS": "Behind a proxy with a certificate of its own set SSL_CERT_FILE to its bundle; look at the clock.",
    "HTTP": "Something else answers there: look at the address.",
}


def _head(scheme: str, to: tuple[str, int], proxy: tuple[str, int] | None) -> http.client.HTTPResponse:
    first = proxy or to
    connection = (
        http.client.HTTPSConnection(*first, timeout=_LIMIT_S, context=ssl.create_default_context())
        if scheme == "https"
        else http.client.HTTPConnection(*first, timeout=_LIMIT_S)
    )
    try:
        if proxy:
            connection.set_tunnel(*to)
        connection.request("HEAD", "/")
        return connection.getresponse()
    finally:
        connection.close()


def _clock(told: str | None, address: str) -> Iterator[Finding]:
    try:
        skew_s = time.time() - parsedate_to_datetime(told or "").timestamp()
    except (TypeError, ValueError):
        return
    if abs(skew_s) > _SKEW_S:
        yield warn(
            "clock",
            f"{abs(skew_s):.0f} s {'ahead of' if skew_s > 0 else 'behind'} {address}",
            fix="Set the clock: signed requests are refused when it is off.",
        )
    else:
        yield ok("clock", f"within {_SKEW_S:.0f} s of {address}")


def _said(refused: Exception) -> str:
    if isinstance(refused, TimeoutError):
        return f"no answer within {_LIMIT_S:g} s"
    return (getattr(refused, "strerror", None) or str(refused) or type(refused).__name__)[:200]
