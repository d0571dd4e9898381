"""Who may ask: by the name that we are asked for, by the page that asks, and by the token.

A web page that a person visits can send requests to their own machine. It cannot choose the Host and Origin
that its browser puts on them: a Host that is not ours means that a name was pointed at us, an Origin that is
not ours that another site asks.
"""

from __future__ import annotations

import hmac
import ipaddress
import re
from contextlib import suppress

from coldstart_sdk.serve.asgi import Header, Request
from coldstart_sdk.serve.options import Options
from coldstart_sdk.wire.errors import CallError, Fault

ANY = "*"
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_EVERYWHERE = frozenset({"", "0.0.0.0", "::"})  # noqa: S104 - recognised here, bound nowhere
_HOST = re.compile(r"(?:\[(?P<v6>[0-9a-f:.]+)\]|(?P<name>[^\s:/@\[\]]+))(?::\d{1,5})?", re.IGNORECASE)
_SINGLE = (b"host", b"origin", b"authorization", b"content-type", b"content-length")
"""Headers that, sent twice, two readers could read differently."""
_REMEMBERED = 64


class Guard:
    """The rules of one server."""

    def __init__(self, options: Options) -> None:
        self._names = _LOOPBACK | {_bare(name) for name in (options.host, *options.hosts)}
        self._suffixes = tuple(name[1:].lower() for name in options.hosts if name.startswith("*."))
        self._everywhere = options.host in _EVERYWHERE
        self._origins = frozenset(origin.rstrip("/").lower() for origin in options.origins)
        self._token = options.token.encode() if options.token else None
        self._good: set[bytes] = set()

    def admit(self, request: Request) -> None:
        """Refuse a request that comes under a wrong name, or from another site's page."""
        if twice := request.repeats(_SINGLE):
            raise CallError(Fault.BAD_REQUEST, f"the header {twice.decode()} was sent twice")
        host = request.headers.get(b"host")
        if host is None or host not in self._good:
            self._check_host(host, request)
        if b"origin" in request.headers:
            self._check_origin(request)

    def knows(self, request: Request) -> bool:
        """Whether the token came along, where one is asked for; compared in constant time."""
        if self._token is None:
            return True
        scheme, _, given = request.headers.get(b"authorization", b"").partition(b" ")
        return scheme.lower() == b"bearer" and hmac.compare_digest(given.strip(), self._token)

    def _check_host(self, host: bytes | None, request: Request) -> None:
        if host is None and request.scope.get("http_version") == "1.0":
            return  # no browser speaks it, some probes do
        if host is None or not self._is_ours(host.decode("latin-1"), request):
            raise CallError(
                Fault.FORBIDDEN,
                "this Host is not one that this server goes by; its operator can allow it by name",
            )
        if len(self._good) < _REMEMBERED:
            self._good.add(host)

    def _is_ours(self, host: str, request: Request) -> bool:
        match = _HOST.fullmatch(host)
        if match is None:
            return False
        name = (match["v6"] or match["name"]).lower().rstrip(".")
        if ANY in self._names or name in self._names or name.endswith(self._suffixes or ("\0",)):
            return True
        # A bare address cannot be pointed elsewhere by a name server, so it is safe where we listen on it.
        with suppress(ValueError):
            address = ipaddress.ip_address(name)
            return self._everywhere or str(address) == str((request.scope.get("server") or ("",))[0])
        return False

    def _check_origin(self, request: Request) -> None:
        origin = request.text(b"origin").lower()
        if origin.partition("://")[2] == request.text(b"host").lower() and origin.startswith(
            ("http:", "https:")
        ):
            return
        if ANY not in self._origins and origin not in self._origins:
            raise CallError(
                Fault.FORBIDDEN, "pages of this Origin may not call this server; its operator can allow it"
            )
        request.extra += _shared_with(origin)


def preflight() -> tuple[Header, ...]:
    """What a browser asks about before it lets an allowed page call."""
    return (
        (b"access-control-allow-methods", b"GET, POST"),
        (b"access-control-allow-headers", b"authorization, content-type, accept"),
        (b"access-control-max-age", b"600"),
    )


def _shared_with(origin: str) -> tuple[Header, ...]:
    return (
        (b"access-control-allow-origin", origin.encode("latin-1")),
        (b"access-control-expose-headers", b"x-request-id, retry-after"),
        (b"vary", b"origin"),
    )


def _bare(name: str) -> str:
    return name.lower().strip("[]").rstrip(".")
