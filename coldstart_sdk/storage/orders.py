"""What a start and the process that reads beside it say to each other, one JSON line each.

Addresses may be signed and headers may hold tokens: they cross in these lines alone, never in an argument or
in the environment.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import ClassVar, TypeAlias, cast

from coldstart_sdk import record
from coldstart_sdk.events import Event
from coldstart_sdk.frozen import dataclass
from coldstart_sdk.manifest import FileEntry
from coldstart_sdk.storage.http import Address
from coldstart_sdk.storage.remote import RemoteFile


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """One file, with the address at which it is to be found first."""

    path: str
    size_bytes: int | None
    identity: str | None
    url: str
    headers: Mapping[str, str]
    etag: str | None
    digest: str | None
    chunks: tuple[str, ...]
    git_sha1: str | None
    ranges: bool
    redirects: bool
    fix_denied: str


@dataclass(frozen=True, kw_only=True)
class Fetch:
    tagged: ClassVar[bool] = True
    job: int
    home: str
    step: str
    tier: str
    partly: bool
    streams: int
    stall_s: float
    files: tuple[Wanted, ...]


@dataclass(frozen=True, kw_only=True)
class Found:
    """A fresh address for a file, in answer to `Lost`."""

    tagged: ClassVar[bool] = True
    job: int
    index: int
    url: str
    headers: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Stop:
    tagged: ClassVar[bool] = True
    job: int


@dataclass(frozen=True, kw_only=True)
class End:
    """No more orders. The end of the pipe says so too, but not while a fork of its owner holds it open."""

    tagged: ClassVar[bool] = True


Order: TypeAlias = Fetch | Found | Stop | End


@dataclass(frozen=True, kw_only=True)
class Told:
    tagged: ClassVar[bool] = True
    job: int
    event: Event


@dataclass(frozen=True, kw_only=True)
class Lost:
    """The address of a file has expired."""

    tagged: ClassVar[bool] = True
    job: int
    index: int


@dataclass(frozen=True, kw_only=True)
class Fetched:
    tagged: ClassVar[bool] = True
    job: int
    entries: tuple[FileEntry, ...]


@dataclass(frozen=True, kw_only=True)
class Failed:
    tagged: ClassVar[bool] = True
    job: int
    message: str
    where: str | None
    fix: str


@dataclass(frozen=True, kw_only=True)
class Changed:
    """The object at the origin is no longer the one that was listed."""

    tagged: ClassVar[bool] = True
    job: int
    path: str


@dataclass(frozen=True, kw_only=True)
class Stopped:
    tagged: ClassVar[bool] = True
    job: int


Reply: TypeAlias = Told | Lost | Fetched | Failed | Changed | Stopped


def line(message: Order | Reply) -> bytes:
    return json.dumps(record.to_data(message), separators=(",", ":")).encode() + b"\n"


def read_order(text: bytes) -> Order:
    return record.from_data(cast("type[Order]", Order), json.loads(text))


def read_reply(text: bytes) -> Reply:
    return record.from_data(cast("type[Reply]", Reply), json.loads(text))


def wanted(remote: RemoteFile) -> Wanted:
    address = remote.locate()
    return Wanted(
        path=remote.path,
        size_bytes=remote.size_bytes,
        identity=remote.identity,
        url=address.url,
        headers=address.headers,
        etag=remote.etag,
        digest=remote.digest,
        chunks=remote.chunks,
        git_sha1=remote.git_sha1,
        ranges=remote.ranges,
        redirects=remote.redirects,
        fix_denied=remote.fix_denied,
    )


def remote(asked: Wanted, locate: Callable[[], Address]) -> RemoteFile:
    return RemoteFile(
        path=asked.path,
        size_bytes=asked.size_bytes,
        identity=asked.identity,
        locate=locate,
        etag=asked.etag,
        digest=asked.digest,
        chunks=asked.chunks,
        git_sha1=asked.git_sha1,
        ranges=asked.ranges,
        redirects=asked.redirects,
        fix_denied=asked.fix_denied,
    )
