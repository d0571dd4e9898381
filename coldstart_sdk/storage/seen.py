"""What an object at an origin turned out to be, where its publisher gives no digest.

A note is kept per object and ETag, so that a set of which one file changed, or whose sync was killed before
its manifest, does not fetch the others again.
"""

from __future__ import annotations

from contextlib import suppress

from coldstart_sdk.manifest import FileEntry
from coldstart_sdk.storage.home import Home, is_digest, write_whole


def note(home: Home, key: str, entry: FileEntry) -> None:
    write_whole(home.seen(key), f"{entry.digest} {entry.size_bytes}\n".encode("ascii"))


def read(home: Home, key: str, path: str) -> FileEntry | None:
    """The entry, under the name that the file has in this set."""
    with suppress(OSError, ValueError):
        digest, size = home.seen(key).read_text(encoding="ascii").split()
        if is_digest(digest) and size.isdigit():
            return FileEntry(path=path, size_bytes=int(size), digest=digest)
    return None
