"""How one worker answers over HTTP, as data."""

from __future__ import annotations

from coldstart_sdk.frozen import dataclass


@dataclass(frozen=True, kw_only=True)
class Options:
    """What an operator may set; every size is bounded."""

    host: str = "127.0.0.1"
    port: int = 8000
    token: str | None = None
    """Asked of every caller as `Authorization: Bearer …`; needed on any address but loopback."""
    hosts: tuple[str, ...] = ()
    """More names under which a browser may ask for us, besides the address itself."""
    origins: tuple[str, ...] = ()
    """Other web pages that may call; none by default."""
    waits: bool = True
    """Before READY a request waits; otherwise it is answered 503 at once."""
    body_limit_bytes: int = 100 * 2**20
