"""What one set of weights consists of, as data: files, sizes, digests; and a project's lock over its sets.

A manifest is named by the digest of its own text, so it never changes; a ref is the one name that may move,
and holds nothing but the digest of a manifest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field

from coldstart_sdk.frozen import dataclass
from coldstart_sdk.spec import Origin

MANIFEST_VERSION = 2
CHUNK_BYTES = 8 << 20
"""A file is checked in pieces of this size, the last one shorter."""


@dataclass(frozen=True, kw_only=True)
class FileEntry:
    """One file of a set; its bytes are the blob of that digest."""

    path: str
    """Relative, with forward slashes, as the user sees it."""
    size_bytes: int
    digest: str
    """`sha256:` and 64 hex digits."""
    chunks: tuple[str, ...] = field(default=(), compare=False)
    """BLAKE3 of each chunk in hex; none for a file of one chunk, or where nobody has computed them.

    Whoever vouches for the digest vouches for these. They say nothing about a file that its digest does not,
    so two entries are equal with and without them.
    """


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """One verified set of files, and what it is a copy of."""

    version: int
    origin: Origin
    source: str
    """Where it came from, without user, password or query."""
    revision: str
    """What the origin calls this state of it: a commit, an ETag, a digest of a listing."""
    files: tuple[FileEntry, ...]
    """Sorted by path."""

    @property
    def bytes(self) -> int:
        return sum(entry.size_bytes for entry in self.files)


LOCK_VERSION = 1
LOCK_NAME = "coldstart.lock"
"""The file beside the declaration."""


@dataclass(frozen=True, kw_only=True)
class Locked:
    """One set of weights, pinned."""

    declared: str
    """The digest of its declaration: a lock of another one says nothing."""
    manifest: Manifest
    observed: bool = False
    """Whether nobody declared it, and load was seen to fetch it."""


@dataclass(frozen=True, kw_only=True)
class Lock:
    """What each weight of a declaration is, to the byte."""

    version: int
    weights: Mapping[str, Locked]
