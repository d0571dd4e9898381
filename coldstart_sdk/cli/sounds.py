"""A stream of wav as one file that plays at every moment while it grows; on stdout its length stays open."""

from __future__ import annotations

from collections.abc import Callable

from coldstart_sdk.media import UnreadableError, kinds, wav

Write = Callable[[str, bytes, str], object]
"""Put bytes into a file, opened in that mode."""


class GrowingSound:
    """The chunks of one stream, as long as each is a wav of the first one's form."""

    def __init__(self, path: str, write: Write) -> None:
        self.path = path
        self._write = write
        self._first: wav.Wav | None = None
        self._frame_bytes = 0

    def add(self, content: bytes) -> bool:
        """Whether it could follow what is there; nothing is written where it could not."""
        try:
            sound = wav.read(content, kinds.UNKNOWN)
        except UnreadableError:
            return False
        if self._first is None:
            self._first = sound
            self._write(self.path, wav.header(sound) + sound.frames, "wb")
        elif sound.form == self._first.form:
            self._write(self.path, bytes(sound.frames), "ab")
        else:
            return False
        self._frame_bytes += len(sound.frames)
        return True

    def close(self) -> None:
        """Its length is known now."""
        if self._first is not None and self.path != "-":
            self._write(self.path, wav.header(self._first, self._frame_bytes), "r+b")
