"""The bytes of files, write-once, named by their digest.

A blob is published only after its digest was computed over what lies in the file. From then on it must not
change: its mode forbids writing, and its time is set to a fixed moment, so that whoever wrote into it
through a view is found out without reading it again.
"""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from pathlib import Path

from coldstart_sdk.manifest import FileEntry, Manifest
from coldstart_sdk.storage.cancel import stop_if
from coldstart_sdk.storage.home import Home, flush_directory

UNTOUCHED_S = 1_000_000_000
"""Time of last change of every blob: 2001-09-09, early enough that no image builder clamps it."""
READ_BYTES = 1 << 20
_KEEPS_NO_TIMES = ".keeps-no-times"


def has(home: Home, entry: FileEntry, cancelled: threading.Event) -> bool:
    """Whether the blob is there, whole and untouched; one that is not is removed."""
    path = home.blob(entry.digest)
    try:
        seen = path.stat()
    except OSError:
        return False
    if seen.st_size == entry.size_bytes:
        if int(seen.st_mtime) == UNTOUCHED_S or (path.parent / _KEEPS_NO_TIMES).exists():
            return True
        if digest_of_file(path, cancelled) == entry.digest:
            _seal(path)
            return True
    path.unlink(missing_ok=True)
    return False


def missing(home: Home, manifest: Manifest, cancelled: threading.Event) -> tuple[str, ...]:
    """Paths of a set whose bytes are not here."""
    return tuple(entry.path for entry in manifest.files if not has(home, entry, cancelled))


def publish(home: Home, scratch: Path, digest: str) -> None:
    """Give a verified file its final name. Its content must have been flushed by the caller."""
    _seal(scratch)
    scratch.replace(home.blob(digest))
    flush_directory(home.blob(digest).parent)


def digest_of_file(path: Path, cancelled: threading.Event) -> str:
    import hashlib  # noqa: PLC0415 - a warm start hashes nothing here

    hashed = hashlib.sha256()
    buffer = memoryview(bytearray(READ_BYTES))
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(buffer):
            stop_if(cancelled)
            hashed.update(buffer[:count])
    return f"sha256:{hashed.hexdigest()}"


def _seal(path: Path) -> None:
    with suppress(OSError):
        path.chmod(0o444)
    with suppress(OSError):
        os.utime(path, (UNTOUCHED_S, UNTOUCHED_S))
    if int(path.stat().st_mtime) != UNTOUCHED_S:
        # Without times to go by, hashing every blob at every start would cost more than it protects.
        (path.parent / _KEEPS_NO_TIMES).touch()
