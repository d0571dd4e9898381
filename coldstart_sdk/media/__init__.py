"""Audio, Image, Video and File: values that cross the wire, whatever form they came in.

A value holds its own bytes (a large one in a file of its own), so nothing that happens later to the file or
buffer it was made from can change it. `media.forms` knows the wire, `media.wav` the samples.
"""

from __future__ import annotations

import builtins
import io
import os
import threading
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, ClassVar, TypeVar

from coldstart_sdk.errors import UsageError
from coldstart_sdk.media import kinds

if TYPE_CHECKING:
    from types import TracebackType

    import numpy as np
    import PIL.Image
    from numpy.typing import NDArray
    from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
    from pydantic_core import CoreSchema

    from coldstart_sdk.media import wav

__all__ = ["Audio", "File", "Image", "Media", "UnreadableError", "Video"]

M = TypeVar("M", bound="Media")

IN_MEMORY_BYTES = 64 * 1024 * 1024
"""A file above this size is copied to a file of our own instead of into memory."""

_one_at_a_time = threading.Lock()


class UnreadableError(UsageError):
    """A value whose content cannot be decoded."""

    argument: str | None = None
    """The argument of a call that it came as: its caller sent what cannot be read."""


class Media:
    """Bytes and their MIME type; equal when the content is."""

    __slots__ = ("__weakref__", "_argument", "_content", "_file", "_name", "_remove", "_type")

    families: ClassVar[tuple[str, ...]] = ()
    """What a MIME type may begin with; empty: anything."""

    _content: builtins.bytes | None
    _file: Path | None
    _type: str
    _name: str | None
    _argument: str | None
    """The argument of a call that it came as."""
    _remove: weakref.finalize[..., Media] | None

    def __init__(
        self,
        source: builtins.bytes | bytearray | memoryview | Path,
        type: str | None = None,  # noqa: A002 - the word that the wire form uses
        *,
        name: str | None = None,
    ) -> None:
        """Take the bytes, or what the file at the path holds now."""
        self._content = self._file = self._remove = self._argument = None
        given = kinds.tidy(type) if type else None
        if isinstance(source, Path):
            self._name = kinds.tidy_name(name or source.name)
            self._take_file(source, given)
        elif isinstance(source, (bytes, bytearray, memoryview)):
            self._name = kinds.tidy_name(name) if name else None
            self._content = bytes(source)
            self._type = self._told(given, self._content)
        else:
            raise UsageError(
                f"{_called(self)} is made of bytes or of a file, not of {_called(source)}",
                fix=f"Use {_called(self)}.from_path(path) or {_called(self)}.from_bytes(data).",
            )

    @classmethod
    def from_bytes(
        cls: builtins.type[M],
        data: builtins.bytes | bytearray | memoryview,
        type: str | None = None,  # noqa: A002 - as above
        *,
        name: str | None = None,
    ) -> M:
        """A value of these bytes; its type is told from them when it is not given."""
        return cls(data, type, name=name)

    @classmethod
    def from_path(
        cls: builtins.type[M],
        path: str | os.PathLike[str],
        type: str | None = None,  # noqa: A002 - as above
        *,
        name: str | None = None,
    ) -> M:
        """A value of what the file holds now; the file may change or go away afterwards."""
        return cls(Path(path), type, name=name)

    @property
    def type(self) -> str:
        """The MIME type."""
        return self._type

    @property
    def name(self) -> str | None:
        """The file name it came with, without folders."""
        return self._name

    @property
    def bytes(self) -> builtins.bytes:
        """The content."""
        if self._content is not None:
            return self._content
        return self._held_file().read_bytes()

    @property
    def path(self) -> Path:
        """A file of its own with the content and the right suffix, made once and removed with the value."""
        with _one_at_a_time:
            if self._content is not None and (self._file is None or not self._file.exists()):
                self.close()
                self._keep(io.BytesIO(self._content))
            return self._held_file()

    @property
    def suffix(self) -> str:
        """What a file with this content is called at its end."""
        return kinds.suffix_of(self._type, self._name)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the content to a file of yours."""
        target = Path(path)
        if self._content is None:
            import shutil  # noqa: PLC0415 - only for content that is too large for memory

            shutil.copyfile(self._held_file(), target)
        else:
            target.write_bytes(self._content)
        return target

    def close(self) -> None:
        """Remove the file behind `path`, if one was made."""
        if self._remove is not None:
            self._remove()
        self._file = self._remove = None

    def __enter__(self: M) -> M:  # noqa: PYI019 - typing has Self from Python 3.11 on
        return self

    def __exit__(
        self,
        kind: builtins.type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _take_file(self, source: Path, given: str | None) -> None:
        """Hold what the file holds now."""
        if not source.is_file():  # also keeps a pipe or a device from being waited for
            raise UsageError(
                f"{_called(self)} cannot be read from {source}: it is not a file",
                fix="Give the path of a regular file that exists.",
            )
        with source.open("rb") as file:
            self._type = self._told(given, file.read(kinds.HEAD_BYTES))
            file.seek(0)
            if os.fstat(file.fileno()).st_size <= IN_MEMORY_BYTES:
                self._content = file.read()
            else:
                self._keep(file)

    def _told(self, given: str | None, head: builtins.bytes) -> str:
        if given not in {None, kinds.UNKNOWN}:
            return given
        by_name = kinds.of_name(self._name) if self._name else None
        return kinds.sniff(head) or by_name or kinds.UNKNOWN

    def _keep(self, content: BinaryIO) -> None:
        """Copy the content to a file that goes when this value goes."""
        import shutil  # noqa: PLC0415 - these two are paid for by the first value that needs a file
        import tempfile  # noqa: PLC0415

        handle, file = tempfile.mkstemp(prefix="coldstart-", suffix=self.suffix)
        self._file, self._remove = Path(file), weakref.finalize(self, _unlink, file)
        with os.fdopen(handle, "wb") as target:
            shutil.copyfileobj(content, target, 1024 * 1024)

    def _held_file(self) -> Path:
        if self._file is None:
            raise UsageError(
                f"this {_called(self)} was closed",
                fix="Read it before close(), or before its `with` block ends.",
            )
        return self._file

    def __len__(self) -> int:
        return len(self._content) if self._content is not None else self._held_file().stat().st_size

    def __eq__(self, other: object) -> bool:
        if builtins.type(other) is not builtins.type(self) or not isinstance(other, Media):
            return NotImplemented
        return self is other or (len(self) == len(other) and self.bytes == other.bytes)

    def __hash__(self) -> int:
        return hash((builtins.type(self), self.bytes))

    def __repr__(self) -> str:
        closed = self._content is None and self._file is None
        size = "closed" if closed else f"{len(self)} bytes"
        name = f", name={self._name!r}" if self._name else ""
        return f"{_called(self)}({self._type}, {size}{name})"

    def __copy__(self: M) -> M:  # noqa: PYI019 - as above
        return self

    def __deepcopy__(self: M, memo: dict[int, Any]) -> M:  # noqa: PYI019 - as above
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return _revive, (builtins.type(self), self.bytes, self._type, self._name)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:  # noqa: ANN401 - pydantic's own signature
        """Let pydantic check and build values of this type, alone or inside lists and models."""
        from coldstart_sdk.media import forms  # noqa: PLC0415 - only where pydantic is there already

        return forms.core_schema(cls)

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        """Say in a JSON schema which medium this is and how it looks on the wire."""
        from coldstart_sdk.media import forms  # noqa: PLC0415 - as above

        return forms.json_schema(cls, written=handler.mode == "serialization")


class Audio(Media):
    """Sound, in any format; wav can be read and made here."""

    __slots__ = ()
    families = ("audio/", "video/", "application/ogg", kinds.UNKNOWN)

    @classmethod
    def from_samples(cls, samples: object, rate: int) -> Audio:
        """A 16-bit wav of floats in -1…1 or of integers: numpy, torch or plain sequences, one or two axes.

        Of two axes the shorter one is the channels. Louder floats are clipped.
        """
        from coldstart_sdk.media import wav  # noqa: PLC0415 - a worker without wav does not pay for it

        return cls.from_bytes(wav.write(samples, rate), "audio/wav")

    @classmethod
    def silence(cls, duration: str | float = "1s", *, rate: int = 24_000) -> Audio:
        """A wav without a sound, as long as `"1s"`, `"250ms"` or a number of seconds."""
        from coldstart_sdk.media import wav  # noqa: PLC0415 - as above

        return cls.from_bytes(wav.write(wav.silence(duration, rate), rate), "audio/wav")

    def samples(self) -> tuple[NDArray[np.float32], int]:
        """Floats in -1…1 of a wav, and its rate: one axis for one channel, else (frames, channels)."""
        from coldstart_sdk.media import wav  # noqa: PLC0415 - as above

        return wav.samples(self._wav())

    @property
    def duration_s(self) -> float:
        """How long a wav sounds."""
        return self._wav().duration_s

    def _wav(self) -> wav.Wav:
        from coldstart_sdk.media import wav  # noqa: PLC0415 - as above

        try:
            return wav.read(self.bytes, self._type)
        except UnreadableError as exc:
            exc.argument = self._argument
            raise


class Image(Media):
    """A picture, in any format."""

    __slots__ = ()
    families = ("image/", kinds.UNKNOWN)

    @classmethod
    def from_pil(cls, image: PIL.Image.Image, format: str = "PNG") -> Image:  # noqa: A002 - Pillow's own word
        """A value of a Pillow image."""
        buffer = io.BytesIO()
        image.save(buffer, format=format)
        return cls.from_bytes(buffer.getvalue())

    def pil(self) -> PIL.Image.Image:
        """The picture, decoded by Pillow."""
        try:
            import PIL.Image  # noqa: PLC0415 - Pillow is the user's own choice
        except ImportError as exc:
            raise UsageError(
                "Image.pil() needs Pillow, which is not installed",
                fix='Add it: Container.python(...).pip("pillow"), and `pip install pillow` here.',
            ) from exc
        try:
            picture = PIL.Image.open(io.BytesIO(self.bytes))
            picture.load()
        except (OSError, SyntaxError, ValueError, PIL.Image.DecompressionBombError) as exc:
            broken = UnreadableError(
                f"this {self._type} cannot be decoded as an image",
                fix="Check that the file is whole, and of a format that Pillow reads.",
            )
            broken.argument = self._argument
            raise broken from exc
        return picture


class Video(Media):
    """Moving pictures, in any format."""

    __slots__ = ()
    families = ("video/", "image/gif", "application/ogg", "application/mp4", kinds.UNKNOWN)


class File(Media):
    """Any other file."""

    __slots__ = ()


def _revive(cls: type[M], content: bytes, kind: str, name: str | None) -> M:
    return cls.from_bytes(content, kind, name=name)


def _called(value: object) -> str:
    return type(value).__name__


def _unlink(file: str) -> None:
    Path(file).unlink(missing_ok=True)
