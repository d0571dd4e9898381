"""How a stream looks on the wire: server-sent events when asked for, else one JSON object a line."""

from __future__ import annotations

import json
from typing import Any, Protocol

from coldstart_sdk.media import Media
from coldstart_sdk.serve import accept
from coldstart_sdk.wire.errors import ErrorReply
from coldstart_sdk.wire.results import Answer

EVENTS = "text/event-stream"


class Form(Protocol):
    """One way to spell chunks, an error, and the end; an error is always the last thing said."""

    content_type: bytes

    def chunk(self, answer: Answer) -> bytes: ...

    def error(self, reply: ErrorReply) -> bytes:
        """The last thing said; of nothing the answer is cut, and the server closes the connection."""
        ...

    def end(self) -> bytes: ...


def form(accepted: str, first: Media | None) -> Form:
    """What the caller asks for, once it is known what the first chunk is."""
    if accept.wants(accepted, EVENTS):
        return Events()
    if first is not None and accept.wants_raw(accepted, first.type):
        return Raw(first.type)
    return Lines()


class Events:
    """Server-sent events: a chunk is a `message`, then `end`, or `error`."""

    content_type = b"text/event-stream; charset=utf-8"

    def chunk(self, answer: Answer) -> bytes:
        return b"data: " + write(answer.value) + b"\n\n"

    def error(self, reply: ErrorReply) -> bytes:
        return b"event: error\ndata: " + write(reply.to_data()) + b"\n\n"

    def end(self) -> bytes:
        return b"event: end\ndata: {}\n\n"


class Lines:
    """JSON lines: `{"chunk": …}` each; the end of the body is the end."""

    content_type = b"application/x-ndjson"

    def chunk(self, answer: Answer) -> bytes:
        return write({"chunk": answer.value}) + b"\n"

    def error(self, reply: ErrorReply) -> bytes:
        return write(reply.to_data()) + b"\n"

    def end(self) -> bytes:
        return b""


class UnlikeError(Exception):
    """A chunk that cannot go on where the one before it ended; the message says why."""


class Raw:
    """The media themselves, one after the other; of wav one header, and then the samples alone.

    Bytes leave no room for an error: a stream that fails is cut, and its body ends without its end.
    """

    def __init__(self, kind: str) -> None:
        self.content_type = kind.encode()
        self._kind = kind
        self._form: tuple[bool, int, int, int] | None = None

    def chunk(self, answer: Answer) -> bytes:
        media = answer.media
        if media is None:
            raise UnlikeError("a chunk is no medium")
        if media.type != self._kind:
            raise UnlikeError(f"a chunk is {media.type}, and the stream {self._kind}")
        return self._sound(media.bytes) if self._kind == "audio/wav" else media.bytes

    def error(self, _reply: ErrorReply) -> bytes:
        return b""

    def end(self) -> bytes:
        return b""

    def _sound(self, content: bytes) -> bytes:
        from coldstart_sdk.media import UnreadableError, wav  # noqa: PLC0415 - only a stream of wav needs it

        try:
            sound = wav.read(content, self._kind)
        except UnreadableError as exc:
            raise UnlikeError(exc.message) from exc
        if self._form is None:
            self._form = sound.form
            return wav.header(sound) + sound.frames
        if sound.form != self._form:
            raise UnlikeError("a chunk's rate, channels or bits are not those of the first")
        return bytes(sound.frames)


def write(value: Any) -> bytes:  # noqa: ANN401 - plain JSON has no closer type
    """JSON on one line; `json` escapes line ends inside texts, so an event cannot be broken in two."""
    return _ENCODER.encode(value).encode()


_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False, check_circular=False)
