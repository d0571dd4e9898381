"""A store in this process's memory: for tests, and as the smallest example of one."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from threading import Lock

from coldstart_sdk.plugins import Progress, Stored

_ROOMS: dict[str, dict[str, tuple[bytes, float]]] = {}
_BLOCK_BYTES = 1 << 20


def opened(address: str) -> MemoryStore:
    """One room for each address; a process that ends takes them all along."""
    return MemoryStore(address)


class MemoryStore:
    def __init__(self, address: str) -> None:
        self.address = address
        self._kept = _ROOMS.setdefault(address, {})
        self._lock = Lock()

    def read(self, key: str, *, limit_bytes: int) -> bytes | None:
        found = self._kept.get(key)
        return None if found is None else found[0][: limit_bytes + 1]

    def stat(self, key: str) -> Stored | None:
        found = self._kept.get(key)
        if found is None:
            return None
        return Stored(key=key, size_bytes=len(found[0]), modified_s=found[1])

    def blocks(self, key: str) -> Iterator[bytes]:
        content = self._kept[key][0]
        for start in range(0, len(content), _BLOCK_BYTES):
            yield content[start : start + _BLOCK_BYTES]

    def write(self, key: str, content: bytes, *, media_type: str) -> None:
        del media_type
        with self._lock:
            self._kept[key] = content, time.time()

    def send(self, key: str, file: Path, *, media_type: str, notes: Path, moved: Progress) -> None:
        del notes
        content = file.read_bytes()
        self.write(key, content, media_type=media_type)
        moved(len(content))

    def keys(self, prefix: str) -> Iterator[Stored]:
        for key in sorted(self._kept):
            if key.startswith(prefix) and (stored := self.stat(key)) is not None:
                yield stored

    def close(self) -> None:
        """There is nothing to let go of."""

    def remove(self, key: str) -> None:
        with self._lock:
            self._kept.pop(key, None)
