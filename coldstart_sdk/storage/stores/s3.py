"""A store on S3-compatible storage.

Large files go up in equal parts. Which upload is under way and which of its parts have arrived is asked of
the store itself, so whoever comes after a killed sender sends at most the part that was cut.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from coldstart_sdk.errors import StorageError
from coldstart_sdk.frozen import dataclass
from coldstart_sdk.plugins import Progress, Stored
from coldstart_sdk.storage.home import write_whole
from coldstart_sdk.storage.http import Address
from coldstart_sdk.storage.retry import Patience
from coldstart_sdk.storage.s3.client import Client, GoneError
from coldstart_sdk.storage.s3.credentials import access

_BLOCK_BYTES = 1 << 20
_WHOLE_BYTES = 16 << 20
"""Files up to this size go up in one request."""
_BEGINS = 3


def opened(address: str) -> S3Store:
    bucket, prefix = split(address)
    patience = Patience(requests=0, stopped=threading.Event())
    return S3Store(Client(access(address), bucket, patience=patience), prefix)


def split(address: str) -> tuple[str, str]:
    """Bucket and prefix, without slashes around them."""
    scheme, _, rest = address.partition("://")
    bucket, _, prefix = rest.partition("/")
    if scheme != "s3" or not bucket:
        raise StorageError(
            f"{address!r} is not an S3 address", fix="Write it as s3://bucket/prefix.", where=address
        )
    return bucket, prefix.strip("/")


class S3Store:
    def __init__(self, client: Client, prefix: str) -> None:
        self.client = client
        self.prefix = prefix

    @property
    def address(self) -> str:
        return f"s3://{self.client.bucket}" + (f"/{self.prefix}" if self.prefix else "")

    def read(self, key: str, *, limit_bytes: int) -> bytes | None:
        return self.client.get(self._key(key), limit_bytes=limit_bytes)

    def stat(self, key: str) -> Stored | None:
        found = self.client.head(self._key(key))
        if found is None:
            return None
        return Stored(key=key, size_bytes=found.size_bytes, modified_s=found.modified_s)

    def blocks(self, key: str) -> Iterator[bytes]:
        return self.client.blocks(self._key(key), block_bytes=_BLOCK_BYTES)

    def where(self, key: str) -> Address:
        """A signed address of an object; nobody is asked whether it is there."""
        return self.client.address(self._key(key))

    def write(self, key: str, content: bytes, *, media_type: str) -> None:
        self.client.put(self._key(key), content, media_type=media_type)

    def send(self, key: str, file: Path, *, media_type: str, notes: Path, moved: Progress) -> None:
        size = file.stat().st_size
        if size <= _WHOLE_BYTES:
            self.client.put(self._key(key), file.read_bytes(), media_type=media_type)
            moved(size)
            return
        for _ in range(_BEGINS):
            try:
                self._send_parts(self._key(key), file, media_type, notes, moved)
            except GoneError:  # noqa: PERF203 - somebody ended it, well or not
                notes.unlink(missing_ok=True)
                seen = self.client.head(self._key(key))
                if seen is not None and seen.size_bytes == size:
                    return
            else:
                return
        raise StorageError(
            "the store forgets uploads that are under way",
            where=self.address,
            fix="Look for a lifecycle rule that aborts unfinished uploads at once.",
        )

    def keys(self, prefix: str) -> Iterator[Stored]:
        cut = len(self._key("")) if self.prefix else 0
        for item in self.client.list(self._key(prefix)):
            yield Stored(key=item.key[cut:], size_bytes=item.size_bytes, modified_s=item.modified_s)

    def close(self) -> None:
        self.client.close()

    def remove(self, key: str) -> None:
        self.client.delete(self._key(key))

    def unfinished(self, prefix: str) -> Iterator[tuple[str, str, float | None]]:
        """Uploads that were begun and not ended: key, id, and since when."""
        cut = len(self._key("")) if self.prefix else 0
        for key, upload, begun_s in self.client.uploads(self._key(prefix)):
            yield key[cut:], upload, begun_s

    def abandon(self, key: str, upload: str) -> None:
        self.client.abort(self._key(key), upload)

    def _key(self, key: str) -> str:
        return f"{self.prefix}/{key}" if self.prefix else key

    def _send_parts(self, key: str, file: Path, media_type: str, notes: Path, moved: Progress) -> None:
        size = file.stat().st_size
        part_bytes = self.client.profile.part_bytes(size)
        under_way = self._under_way(key, notes, part_bytes, size)
        if under_way is None:
            under_way = _UnderWay(upload=self.client.begin(key, media_type=media_type), arrived={})
            write_whole(notes, json.dumps({"key": key, "upload": under_way.upload}).encode())
        etags: list[str] = []
        with file.open("rb", buffering=0) as source:
            for number in range(1, -(-size // part_bytes) + 1):
                length = min(part_bytes, size - (number - 1) * part_bytes)
                etag = under_way.arrived.get(number)
                if etag is None:
                    source.seek((number - 1) * part_bytes)
                    etag = self.client.part(
                        key, under_way.upload, number, _exactly(source.read(length), length, file)
                    )
                etags.append(etag)
                moved(length)
        self.client.complete(key, under_way.upload, etags)
        notes.unlink(missing_ok=True)

    def _under_way(self, key: str, notes: Path, part_bytes: int, size: int) -> _UnderWay | None:
        """An unfinished upload of this very key, ours or another worker's: its bytes can only be the same."""
        for upload in (*_noted(notes, key), *self._others(key)):
            with suppress(GoneError):
                arrived = self.client.parts(key, upload)
                last = -(-size // part_bytes)
                whole = {
                    number: etag
                    for number, (length, etag) in arrived.items()
                    if length == (part_bytes if number < last else size - (last - 1) * part_bytes)
                }
                if len(whole) == len(arrived):
                    return _UnderWay(upload=upload, arrived=whole)
        return None

    def _others(self, key: str) -> Iterator[str]:
        if not self.client.profile.lists_uploads:
            return
        # Without the permission to look, it is begun anew.
        with suppress(StorageError):
            yield from (upload for at, upload, _ in self.client.uploads(key) if at == key)


@dataclass(frozen=True, kw_only=True)
class _UnderWay:
    upload: str
    arrived: dict[int, str]
    """ETags of the parts that are there."""


def _noted(notes: Path, key: str) -> Iterator[str]:
    with suppress(OSError, ValueError, KeyError, TypeError):
        noted = json.loads(notes.read_bytes())
        if noted["key"] == key:
            yield str(noted["upload"])


def _exactly(content: bytes, length: int, file: Path) -> bytes:
    if len(content) != length:
        raise StorageError("a file became shorter while it was sent", where=str(file), fix="Fetch it again.")
    return content
