"""A store in a folder: on this disk, on a volume, on anything that is mounted.

Whole or absent, as everything on disk: written aside, flushed, renamed, and the folder flushed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from io import FileIO
from pathlib import Path
from urllib.parse import unquote, urlsplit

from coldstart_sdk.plugins import Progress, Stored
from coldstart_sdk.storage.home import flush_directory, mending, write_whole

_BLOCK_BYTES = 1 << 20


def opened(address: str) -> DirectoryStore:
    folder = unquote(urlsplit(address).path) if address.startswith("file://") else address
    return DirectoryStore(Path(folder).expanduser().absolute())


class DirectoryStore:
    def __init__(self, root: Path) -> None:
        self.root = root

    @property
    def address(self) -> str:
        return str(self.root)

    def path(self, key: str) -> Path:
        """Where the bytes of a key lie: whoever verifies them need not copy them."""
        return self.root / key

    def read(self, key: str, *, limit_bytes: int) -> bytes | None:
        try:
            with self.path(key).open("rb") as file:
                return file.read(limit_bytes + 1)
        except (FileNotFoundError, NotADirectoryError):
            return None

    def stat(self, key: str) -> Stored | None:
        try:
            seen = self.path(key).stat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        return Stored(key=key, size_bytes=seen.st_size, modified_s=seen.st_mtime)

    def blocks(self, key: str) -> Iterator[bytes]:
        with self.path(key).open("rb", buffering=0) as file:
            while block := file.read(_BLOCK_BYTES):
                yield block

    def write(self, key: str, content: bytes, *, media_type: str) -> None:
        del media_type
        with mending(self.root):
            place = self._made(key)
            write_whole(place, content)

    def send(self, key: str, file: Path, *, media_type: str, notes: Path, moved: Progress) -> None:
        """Copy it aside, going on where a killed copy left off, then give it its name."""
        del media_type
        with mending(self.root):
            place = self._made(key)
            aside = place.with_name(_aside(notes, place.name))
            with FileIO(file, "r") as source, _open_aside(aside) as copy:
                _skip_equal(source, copy, moved)
                while block := source.read(_BLOCK_BYTES):
                    copy.write(block)
                    moved(len(block))
                copy.truncate()
                os.fsync(copy.fileno())
            aside.replace(place)
            flush_directory(place.parent)

    def keys(self, prefix: str) -> Iterator[Stored]:
        folder = self.root / prefix.rpartition("/")[0]
        for at, _, files in os.walk(folder):
            for name in sorted(files):
                file = Path(at, name)
                key = file.relative_to(self.root).as_posix()
                if key.startswith(prefix) and not name.startswith("."):
                    with suppress(FileNotFoundError):
                        seen = file.stat()
                        yield Stored(key=key, size_bytes=seen.st_size, modified_s=seen.st_mtime)

    def close(self) -> None:
        """There is nothing to let go of."""

    def remove(self, key: str) -> None:
        self.path(key).unlink(missing_ok=True)

    def _made(self, key: str) -> Path:
        place = self.path(key)
        place.parent.mkdir(parents=True, exist_ok=True)
        return place


def _aside(notes: Path, name: str) -> str:
    """The name of the copy on its way: this sender's own, kept in its notes."""
    with suppress(OSError, UnicodeDecodeError):
        noted = notes.read_text(encoding="utf-8")
        if noted.startswith(f".{name}.") and "/" not in noted:
            return noted
    fresh = f".{name}.{os.urandom(4).hex()}"
    write_whole(notes, fresh.encode())
    return fresh


def _open_aside(aside: Path) -> FileIO:
    return FileIO(os.open(aside, os.O_RDWR | os.O_CREAT, 0o644), "r+")


def _skip_equal(source: FileIO, copy: FileIO, moved: Progress) -> None:
    """Go on after what is there already; after a loss of power that may be less than it looks."""
    while True:
        block = source.read(_BLOCK_BYTES)
        if not block or copy.read(len(block)) != block:
            break
        moved(len(block))
    same = source.tell() - len(block)
    source.seek(same)
    copy.seek(same)
