"""The pieces in which a file is checked: BLAKE3 of each, so that any of them is judged as it arrives.

A whole-file digest can only be computed in order, and says nothing before the last byte; of chunks each one
stands alone, on any stream, and a wrong one is fetched again by itself.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from coldstart_sdk.manifest import CHUNK_BYTES
from coldstart_sdk.storage.cancel import stop_if

if TYPE_CHECKING:
    from blake3 import blake3

DIGEST_LETTERS = 64


def hasher() -> blake3:
    import blake3  # noqa: PLC0415 - compiled; a warm start hashes nothing

    return blake3.blake3()


def count(size_bytes: int) -> int:
    return -(-size_bytes // CHUNK_BYTES)


def span(index: int, size_bytes: int) -> tuple[int, int]:
    """Where a chunk begins and ends."""
    return index * CHUNK_BYTES, min((index + 1) * CHUNK_BYTES, size_bytes)


def fit(digests: Sequence[str], size_bytes: int) -> bool:
    """Whether these can be the digests of such a file's chunks, or say nothing."""
    sound = all(
        len(digest) == DIGEST_LETTERS and not set(digest) - set("0123456789abcdef") for digest in digests
    )
    return sound and len(digests) in {0, count(size_bytes)}


def of_file(path: Path, cancelled: threading.Event) -> tuple[str, ...]:
    """The digests of a file that lies here; none for one of a single chunk."""
    size = path.stat().st_size
    if size <= CHUNK_BYTES:
        return ()
    digests = []
    buffer = memoryview(bytearray(1 << 20))
    with path.open("rb", buffering=0) as file:
        for index in range(count(size)):
            start, end = span(index, size)
            hashed, left = hasher(), end - start
            while left and (got := file.readinto(buffer[:left])):
                stop_if(cancelled)
                hashed.update(buffer[:got])
                left -= got
            digests.append(hashed.hexdigest())
    return tuple(digests)
