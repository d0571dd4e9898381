"""The bytes of files, write-once, named by their digest.

A blob is published only after its digest was computed over what lies in the file. From then on it must not
change: its mode forbids writing, and its time is set to a fixed moment, so that whoever wrote into it
through a view is found out without reading it again.

No start waits until its own disk has what it fetched. Such a blob wears a time that belongs to this boot of
the machine: whoever finds it after another one, perhaps after a loss of power, reads it again and believes
its bytes alone. On any other disk it is flushed before it gets its name.
"""

from __future__ import annotations

import functools
import os
import threading
import time
from contextlib import suppress
from pathlib import Path

from coldstart_sdk.manifest import FileEntry, Manifest
from coldstart_sdk.storage import chunks
from coldstart_sdk.storage.cancel import stop_if
from coldstart_sdk.storage.home import Home, flush_directory

UNTOUCHED_S = 1_000_000_000
"""Time of last change of a blob that the disk has: 2001-09-09, which no image builder clamps."""
READ_BYTES = 1 << 20
_BOOTS = 1 << 28
"""Times that a boot may have, in the eight years after that day."""
WRITTEN_BACK_S = 120.0
"""By then the kernel has written a file by itself, so that flushing it costs nothing."""
_KEEPS_NO_TIMES = ".keeps-no-times"


def has(home: Home, entry: FileEntry, cancelled: threading.Event) -> bool:
    """Whether the blob is there, whole and untouched; one that is not is removed."""
    path = home.blob(entry.digest)
    try:
        seen = path.stat()
    except OSError:
        return False
    if seen.st_size == entry.size_bytes:
        if _is_trusted(path, seen):
            return True
        if is_whole(path, entry, cancelled):
            _seal(path, UNTOUCHED_S)
            return True
    path.unlink(missing_ok=True)
    return False


def missing(home: Home, manifest: Manifest, cancelled: threading.Event) -> tuple[str, ...]:
    """Paths of a set whose bytes are not here."""
    return tuple(entry.path for entry in manifest.files if not has(home, entry, cancelled))


def publish(home: Home, scratch: Path, digest: str) -> None:
    """Give a verified file its final name."""
    from coldstart_sdk.storage import disk  # noqa: PLC0415 - a warm start publishes nothing

    boot_s = time_of_boot()
    if boot_s is None or not disk.is_our_own(home.root) or not _seal(scratch, boot_s):
        _flush(scratch)
        if not _seal(scratch, UNTOUCHED_S):
            # Without times to go by, hashing every blob at every start would cost more than it protects.
            home.blob(digest).with_name(_KEEPS_NO_TIMES).touch()
    scratch.replace(home.blob(digest))
    flush_directory(home.blob(digest).parent)


def settle(home: Home) -> None:
    """Wait until the disk has every blob: before an image is made of it, or this machine is left for good."""
    for path in (home.root / "blobs" / "sha256").iterdir():
        if int(path.stat().st_mtime) == time_of_boot():
            _settle(path)


def is_whole(path: Path, entry: FileEntry, cancelled: threading.Event) -> bool:
    """Whether the file has exactly the bytes of its entry; by its chunks, where they are known."""
    if entry.chunks:
        return chunks.of_file(path, cancelled) == entry.chunks
    return digest_of_file(path, cancelled) == entry.digest


@functools.cache
def time_of_boot() -> int | None:
    """The time that a blob wears until the disk has it; None where boots cannot be told apart."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii")
        return UNTOUCHED_S + 1 + int(boot.replace("-", ""), 16) % _BOOTS
    except (OSError, ValueError):
        return None


def digest_of_file(path: Path, cancelled: threading.Event) -> str:
    import hashlib  # noqa: PLC0415 - a warm start hashes nothing here

    hashed = hashlib.sha256()
    buffer = memoryview(bytearray(READ_BYTES))
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(buffer):
            stop_if(cancelled)
            hashed.update(buffer[:count])
    return f"sha256:{hashed.hexdigest()}"


def _is_trusted(path: Path, seen: os.stat_result) -> bool:
    """Whether nobody wrote into it since it was verified, as far as its time tells."""
    changed_s = int(seen.st_mtime)
    if changed_s == time_of_boot():
        if time.time() - seen.st_ctime > WRITTEN_BACK_S:
            with suppress(OSError):
                _settle(path)
        return True
    return changed_s == UNTOUCHED_S or path.with_name(_KEEPS_NO_TIMES).exists()


def _settle(path: Path) -> None:
    _flush(path)
    _seal(path, UNTOUCHED_S)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _seal(path: Path, changed_s: int) -> bool:
    """Forbid to write into it, and set its time; whether the file system keeps that."""
    with suppress(OSError):
        path.chmod(0o444)
    with suppress(OSError):
        os.utime(path, (changed_s, changed_s))
    return int(path.stat().st_mtime) == changed_s
