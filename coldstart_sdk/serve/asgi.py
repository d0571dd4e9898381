"""One HTTP request as an ASGI server hands it over, and the ways to answer it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from typing import Any, TypeAlias

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
Header: TypeAlias = tuple[bytes, bytes]

JSON = b"application/json"
TEXT = b"text/plain; charset=utf-8"
HTML = b"text/html; charset=utf-8"


class Request:
    """What was asked; `extra` goes with whatever is answered."""

    __slots__ = (
        "extra",
        "has_begun",
        "headers",
        "held_bytes",
        "is_unread",
        "method",
        "path",
        "query",
        "receive",
        "route",
        "scope",
        "send",
        "status",
    )

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scope = scope
        self.receive = receive
        self.send = send
        self.method: str = scope["method"]
        self.path: str = _below(scope.get("root_path", ""), scope["path"])
        self.query: bytes = scope["query_string"]
        self.headers: Mapping[bytes, bytes] = dict(scope["headers"])
        self.is_unread = (
            self.headers.get(b"content-length", b"0") != b"0" or b"transfer-encoding" in self.headers
        )
        self.held_bytes = 0
        """How much of the room for bodies this one takes up."""
        self.extra: list[Header] = []
        self.has_begun = False
        self.route = ""
        """What the figures count it under; empty: no route of ours."""
        self.status = 0

    def text(self, name: bytes) -> str:
        """A header, or nothing; a header is bytes, and each byte is a letter."""
        return self.headers.get(name, b"").decode("latin-1")

    def repeats(self, names: Iterable[bytes]) -> bytes | None:
        """One of these headers that was sent more than once."""
        sent = self.scope["headers"]
        if len(sent) == len(self.headers):
            return None
        return next((name for name in names if sum(each == name for each, _ in sent) > 1), None)

    async def begin(self, status: int, headers: Iterable[Header]) -> None:
        """The status line and the headers; `more` and `end` follow."""
        self.has_begun = True
        self.status = status
        await self.send({"type": "http.response.start", "status": status, "headers": [*headers, *self.extra]})

    async def more(self, body: bytes) -> None:
        await self.send({"type": "http.response.body", "body": body, "more_body": True})

    async def end(self, body: bytes = b"") -> None:
        await self.send({"type": "http.response.body", "body": body, "more_body": False})

    async def answer(self, status: int, body: bytes, kind: bytes, *headers: Header) -> None:
        """The whole of a short answer."""
        length = b"%d" % len(body)
        await self.begin(status, ((b"content-type", kind), (b"content-length", length), *headers))
        await self.end(body)


def _below(root: str, path: str) -> str:
    """The path below where the app is mounted."""
    if root and path.startswith(root):
        return path[len(root) :] or "/"
    return path
