"""What an origin says it has, as data."""

from __future__ import annotations

import enum
import os
from collections.abc import Callable

from coldstart_sdk.errors import StorageError
from coldstart_sdk.frozen import dataclass
from coldstart_sdk.manifest import FileEntry
from coldstart_sdk.storage.http import Address

DEFAULT_STREAMS = 8
DEFAULT_STALL_S = 20.0
MOST_STREAMS = 64


class UnreachableError(StorageError):
    """The origin could not be asked; what it said the last time may still do."""


class FileError(StorageError):
    """One file cannot be had there; that says nothing about the others."""


class ChangedError(Exception):
    """The object at the origin is no longer the one that was listed."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.path = path


@dataclass(frozen=True, kw_only=True)
class RemoteFile:
    """One file of a set at its origin."""

    path: str
    size_bytes: int | None
    """None where the origin does not tell before the last byte."""
    identity: str | None
    """Equal for equal bytes at this origin, across processes; None where nothing vouches for that."""
    locate: Callable[[], Address]
    """A fresh address; asked again when one has expired."""
    etag: str | None = None
    """What every answer must carry; None where the first answer decides."""
    digest: str | None = None
    """The publisher's `sha256:…`."""
    chunks: tuple[str, ...] = ()
    """BLAKE3 of each chunk, by whoever vouches for `digest`; with them nothing else need be hashed."""
    git_sha1: str | None = None
    """The publisher's git blob id, where it gives nothing better."""
    ranges: bool = True
    """Whether the origin answers ranges at all."""
    redirects: bool = True
    """Whether the address may lead elsewhere: then one stream finds out, and the others follow it."""
    fix_denied: str = "Check the address and the credentials for it."


def known(remote: RemoteFile) -> FileEntry | None:
    """What a file must become, where its publisher says so."""
    if remote.digest is None or remote.size_bytes is None:
        return None
    return FileEntry(
        path=remote.path, size_bytes=remote.size_bytes, digest=remote.digest, chunks=remote.chunks
    )


@dataclass(frozen=True, kw_only=True)
class Listing:
    """A set at its origin, at one moment."""

    revision: str
    files: tuple[RemoteFile, ...]


class Beside(str, enum.Enum):
    """Whether a process of its own reads."""

    AUTO = "auto"
    ALWAYS = "always"
    NEVER = "never"


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How hard a sync may pull."""

    streams: int = DEFAULT_STREAMS
    stall_s: float = DEFAULT_STALL_S
    """A connection that brings nothing for so long is given up."""
    beside: Beside = Beside.AUTO
    write_bytes: int = 1 << 20
    """At once into a file."""

    @classmethod
    def from_environment(cls, *, alone: bool = False) -> Limits:
        """Alone: nothing else wants this process's interpreter, so a second process would only cost."""
        beside = _beside(os.environ.get("COLDSTART_FETCH_PROCESS") or Beside.AUTO.value)
        return cls(
            streams=int(_number("COLDSTART_FETCH_STREAMS", DEFAULT_STREAMS, least=1, most=MOST_STREAMS)),
            stall_s=_number("COLDSTART_FETCH_STALL_S", DEFAULT_STALL_S, least=0.1, most=600),
            beside=Beside.NEVER if alone and beside is Beside.AUTO else beside,
        )


def _beside(text: str) -> Beside:
    try:
        return Beside(text)
    except ValueError:
        raise StorageError(
            f"COLDSTART_FETCH_PROCESS is {text!r}",
            where="the environment",
            fix=f"Set it to one of {', '.join(choice.value for choice in Beside)}.",
        ) from None


def _number(name: str, default: float, *, least: float, most: float) -> float:
    text = os.environ.get(name)
    if not text:
        return default
    try:
        value = float(text)
    except ValueError:
        value = least - 1
    if not least <= value <= most:
        raise StorageError(
            f"{name} is {text!r}",
            where="the environment",
            fix=f"Set it to a number from {least:g} to {most:g}.",
        )
    return value
