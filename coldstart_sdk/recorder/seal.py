"""Close the network while a hook loads, and remember who tried to reach out: `coldstart run --sealed`.

It hears Python's own audit events, so every library that opens its sockets in Python is kept in, whatever it
catches; one that does so in native code is not. Sockets of this machine that have a path stay open.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Coroutine
from types import FrameType
from typing import Any

_REACHES = frozenset({"socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto"})


class SealedError(ConnectionError):
    """What a library meets that reaches out all the same."""


class Seal:
    """One hook, kept in."""

    def __init__(self, line_of: Callable[[FrameType], str | None]) -> None:
        """`line_of` names the user's line that a frame stands on or was called by, where there is one."""
        self.tried: tuple[str, str | None] | None = None
        """Who was to be reached first, and the line that wanted it."""
        self._line_of = line_of
        self._thread = threading.get_ident()

    def call(self, hook: Callable[[], object], then: Callable[[object], object]) -> object:
        """What `then` makes of what the hook gives, or of what it raised; a coroutine for an async one."""
        made: object = None
        try:
            with self:
                made = hook()
        except Exception:
            then(None)
            raise
        return self._await(made, then) if isinstance(made, Coroutine) else then(made)

    async def _await(self, hook: Coroutine[Any, Any, object], then: Callable[[object], object]) -> object:
        self._thread = threading.get_ident()
        try:
            with self:
                made = await hook
        except Exception:
            then(None)
            raise
        return then(made)

    def __enter__(self) -> None:
        global _hears  # noqa: PLW0603 - an audit hook cannot be taken out again, so there is one
        with _LOCK:
            _held.append(self)
            if not _hears:
                _hears = True
                sys.addaudithook(_heard)

    def __exit__(self, *_: object) -> None:
        with _LOCK:
            _held.remove(self)

    def refuse(self, host: str) -> None:
        """The line that asked; where a library's own thread did, that on which the hook waits for it."""
        if self.tried is None:
            own = sys._current_frames().get(self._thread)  # noqa: SLF001 - the documented way to see where a thread stands
            line = self._line_of(sys._getframe(2)) or (self._line_of(own) if own else None)  # noqa: SLF001 - as above
            self.tried = host, line
        raise SealedError(f"the network is closed while the model loads: {host} cannot be reached")


def _heard(event: str, arguments: tuple[object, ...]) -> None:
    if _held and event in _REACHES and (host := _host(arguments)) is not None:
        _held[0].refuse(host)


def _host(arguments: tuple[object, ...]) -> str | None:
    """Who is to be reached; None for a socket with a path."""
    for argument in arguments:
        if isinstance(argument, tuple) and argument:
            return str(argument[0])
    named = arguments[0] if arguments and isinstance(arguments[0], str | bytes) else None
    return named.decode(errors="replace") if isinstance(named, bytes) else named


_LOCK = threading.Lock()
_held: list[Seal] = []
_hears = False
