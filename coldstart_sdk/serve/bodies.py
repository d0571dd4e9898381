"""Read a request's body within bounds: of size, of time, and of all bodies together."""

from __future__ import annotations

import collections
import json
from collections.abc import AsyncIterator, Sequence
from typing import Any

from coldstart_sdk.events import now
from coldstart_sdk.running import OutOfTimeError, within
from coldstart_sdk.serve.asgi import Request
from coldstart_sdk.wire.errors import CallError, Fault

SHARES = 4
"""So many bodies of the largest size may be held at once."""
PATIENCE_S = 30.0
SLOWEST_BYTES_PER_S = 1024
"""Past the patience, a body must have come at this rate at least."""
_SMALL_BYTES = 2**20
_DIGITS = 18
"""Of a length that fits into 64 bits."""
_MOST_VALUES = 2_000_000
"""In one JSON body: a list of empty lists takes thirty times its length in memory."""


class Room:
    """What all bodies together may take up."""

    def __init__(self, limit_bytes: int) -> None:
        self._left_bytes = limit_bytes

    def take(self, request: Request, count: int) -> None:
        if count > self._left_bytes:
            raise CallError(Fault.BUSY, "too many large requests; try again in 1 s", retry_after_s=1)
        self._left_bytes -= count
        request.held_bytes += count

    def give_back(self, request: Request) -> None:
        self._left_bytes += request.held_bytes
        request.held_bytes = 0


class Bodies:
    """Reads the bodies of one server's requests."""

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.room = Room(SHARES * limit_bytes)

    async def whole(self, request: Request) -> bytes:
        """All of it, in memory."""
        self._check_declared(request)
        first = await _next(request, PATIENCE_S)
        if not request.is_unread and len(first) <= self.limit_bytes:
            return first
        return b"".join([first, *[chunk async for chunk in self._rest(request, first)]])

    async def chunks(self, request: Request) -> AsyncIterator[bytes]:
        """As it comes; an error as soon as it is too large, too slow, or its caller is gone."""
        self._check_declared(request)
        first = await _next(request, PATIENCE_S)
        yield first
        async for chunk in self._rest(request, first):
            yield chunk

    async def _rest(self, request: Request, first: bytes) -> AsyncIterator[bytes]:
        count, began_s = len(first), now()
        self.room.take(request, count)
        while request.is_unread and count <= self.limit_bytes:
            patience_s = PATIENCE_S + count / SLOWEST_BYTES_PER_S - (now() - began_s)
            chunk = await _next(request, patience_s)
            count += len(chunk)
            self.room.take(request, len(chunk))
            yield chunk
        if count > self.limit_bytes:
            raise self._too_large()

    def _check_declared(self, request: Request) -> None:
        """Refuse by what it says of itself, before a byte is read."""
        said = request.headers.get(b"content-length", b"0")
        if not said.isdigit():
            raise CallError(Fault.BAD_REQUEST, "the Content-Length is not a number")
        if len(said) > _DIGITS or int(said) > self.limit_bytes:
            raise self._too_large()

    def _too_large(self) -> CallError:
        return CallError(Fault.TOO_LARGE, f"the body is larger than {self.limit_bytes} bytes")


async def _next(request: Request, patience_s: float) -> bytes:
    try:
        message = await within(request.receive(), max(0.0, patience_s))
    except OutOfTimeError:
        raise CallError(Fault.BAD_REQUEST, "the body did not come in time") from None
    if message["type"] == "http.disconnect":
        raise CallerLeftError
    request.is_unread = message.get("more_body", False)
    return bytes(message.get("body", b""))


class CallerLeftError(Exception):
    """The caller left before the whole request was here; nobody is there to be answered."""


def json_object(body: bytes) -> dict[str, object]:
    """The arguments that a JSON body holds; everything that two readers could read differently is refused."""
    if len(body) > _SMALL_BYTES and sum(map(body.count, (b",", b"[", b"{"))) > _MOST_VALUES:
        raise _bad("the body holds too many values")
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        raise _bad(f"the body is not UTF-8 (byte {exc.start})") from None
    if not text.strip():
        raise _bad("the body is empty; send a JSON object")
    value = json_value(text)
    if not isinstance(value, dict):
        raise _bad(f"the body must be a JSON object of arguments, not {_named(value)}")
    return value


def json_value(text: str) -> Any:  # noqa: ANN401 - plain JSON has no closer type
    try:
        return _DECODER.decode(text)
    except json.JSONDecodeError as exc:
        where = "" if exc.pos == 0 else f" at line {exc.lineno}, column {exc.colno}"
        raise _bad(f"this is not JSON{where}: {exc.msg}") from None
    except RecursionError:
        raise _bad("the JSON is nested too deeply") from None
    except ValueError as exc:
        if isinstance(exc, _UnfitError):
            raise _bad(str(exc)) from None
        raise _bad("the JSON holds a number with too many digits") from None


class _UnfitError(ValueError):
    """JSON that Python would read, and that means nothing."""


def _unique(pairs: Sequence[tuple[str, object]]) -> dict[str, object]:
    read = dict(pairs)
    if len(read) != len(pairs):
        twice = collections.Counter(key for key, _ in pairs).most_common(1)[0][0]
        raise _UnfitError(f"the key {ascii(twice)[1:-1][:60]!r} stands twice")
    return read


def _refuse_constant(name: str) -> object:
    raise _UnfitError(f"{name} is not JSON")


_DECODER = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_refuse_constant)


def _named(value: object) -> str:
    names = {list: "an array", str: "a string", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "a number")


def _bad(message: str) -> CallError:
    return CallError(Fault.BAD_REQUEST, message)
