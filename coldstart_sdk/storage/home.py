"""COLDSTART_HOME on disk: where everything lies, and how it is written.

    blobs/sha256/<hex>      the bytes of one file, write-once, named by their digest
    manifests/sha256/<hex>  the text of one manifest, write-once, named by its digest
    refs/<name>             one line, the digest of a manifest: the one thing that may change
    views/<name>/           plain directories for users, made of links to blobs
    partial/                files on their way; nothing under it is ever trusted
    seen/<key>              which blob an object at an origin, at one ETag, turned out to be
    stamps/<name>           when the files of a local origin were last seen and hashed
    suspects/<hex>          a blob that a store could not give whole, to be looked at by the next upload
    uploads/<name>/         what an upload needs to go on after it was killed

Whatever gets a final name is written under a temporary one, flushed, renamed, and its directory flushed: a
reader finds the whole of it or nothing, whoever else writes, and whenever a writer dies. A blob on a disk of
our own need not be flushed first: `blobs` says why.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from coldstart_sdk.errors import StorageError
from coldstart_sdk.frozen import dataclass

_ROOMS = (
    "blobs/sha256",
    "manifests/sha256",
    "refs",
    "views",
    "partial",
    "seen",
    "stamps",
    "suspects",
    "uploads",
)


@dataclass(frozen=True)
class Home:
    """The paths of one COLDSTART_HOME."""

    root: Path

    @classmethod
    def open(cls, root: Path) -> Home:
        """Make the rooms where they are missing."""
        with mending(root):
            for room in _ROOMS:
                (root / room).mkdir(parents=True, exist_ok=True)
        return cls(root)

    def blob(self, digest: str) -> Path:
        return self.root / "blobs" / "sha256" / _hex(digest)

    def manifest(self, digest: str) -> Path:
        return self.root / "manifests" / "sha256" / _hex(digest)

    def ref(self, name: str) -> Path:
        return self.root / "refs" / name

    def seen(self, key: str) -> Path:
        return self.root / "seen" / key

    def stamps(self, name: str) -> Path:
        return self.root / "stamps" / name

    def suspect(self, digest: str) -> Path:
        return self.root / "suspects" / _hex(digest)

    def uploads(self, name: str) -> Path:
        return self.root / "uploads" / name

    @property
    def views(self) -> Path:
        return self.root / "views"

    @property
    def partial(self) -> Path:
        return self.root / "partial"


def is_digest(text: str) -> bool:
    scheme, _, digits = text.partition(":")
    return scheme == "sha256" and len(digits) == 64 and not set(digits) - set("0123456789abcdef")  # noqa: PLR2004 - the length of SHA-256 in hex


def write_whole(path: Path, content: bytes) -> None:
    """Give `path` this content at one instant, for good."""
    scratch = path.with_name(f".{path.name}.{os.urandom(4).hex()}")
    try:
        with scratch.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        scratch.replace(path)
    except BaseException:
        scratch.unlink(missing_ok=True)
        raise
    flush_directory(path.parent)


def flush_directory(directory: Path) -> None:
    """Make the names in it survive a loss of power."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        # Some network file systems cannot flush a directory; they order names themselves.
        with suppress(OSError):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def mending(root: Path) -> Iterator[None]:
    """Turn what the disk refuses into an error with its mend."""
    try:
        yield
    except OSError as refused:
        raise _mended(refused, root) from refused


def _mended(refused: OSError, root: Path) -> StorageError:
    where = str(refused.filename or root)
    match refused.errno:
        case errno.ENOSPC | errno.EDQUOT:
            return StorageError(
                "the disk is full",
                where=where,
                fix=f"Free some space on the disk of {root}, or set COLDSTART_HOME to a larger one.",
            )
        case errno.EACCES | errno.EPERM | errno.EROFS | errno.ENOTDIR | errno.EEXIST | errno.ENOENT:
            return StorageError(
                f"cannot write there: {refused.strerror}",
                where=where,
                fix="Set COLDSTART_HOME to a directory that you may write to.",
            )
        case _:
            return StorageError(
                f"the disk failed: {refused.strerror or refused}",
                where=where,
                fix="Check that disk, or set COLDSTART_HOME to another one.",
            )


def _hex(digest: str) -> str:
    if not is_digest(digest):
        raise StorageError(
            f"{digest[:80]!r} is not a digest", fix="Remove the file that holds it; it is fetched again."
        )
    return digest.partition(":")[2]
