"""Whose turn it is to fill a store: an object that its holder rewrites, and everybody else watches.

No clock is compared with another. A holder whose object has not changed while we watched it for a while is
gone. Stores without conditional writes serve as well as others: whoever still reads its own name a moment
after it wrote has the turn. It may fail, and then the same bytes are sent twice: a hint, never a promise.
"""

from __future__ import annotations

import json
import os
import random
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from coldstart_sdk.errors import StorageError
from coldstart_sdk.events import now
from coldstart_sdk.plugins import Store
from coldstart_sdk.storage.home import write_whole
from coldstart_sdk.storage.transient import TransientError

if TYPE_CHECKING:
    from typing_extensions import Self

_LIMIT_BYTES = 4096


@dataclass(frozen=True, kw_only=True)
class Pace:
    """How often a holder shows that it lives, and when it counts as gone."""

    beat_s: float = 5.0
    stale_s: float = 30.0
    settle_s: float = 1.0
    """How long after a write it is read again."""


class LostError(Exception):
    """Somebody else has the turn now."""


class Lease:
    """The turn for one name; a context manager."""

    def __init__(self, store: Store, name: str, *, notes: Path, pace: Pace) -> None:
        self._store = store
        self._key = f"leases/{name}"
        self._pace = pace
        self._holder = _holder(notes)
        self._beats = 0
        self._lost = threading.Event()
        self._over = threading.Event()
        self._beating: threading.Thread | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, raised: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        if self._beating is not None:
            self._beating.join()
            if not self._lost.is_set():
                with suppress(StorageError, TransientError, OSError):
                    self._write(over=True)

    def take(self, is_done: Callable[[], bool]) -> bool:
        """Wait for the turn, and have it; False where `is_done` says that there is nothing left to do."""
        while True:
            if not self._is_free() and not self._watch(is_done):
                return False
            self._write()
            self._over.wait(self._pace.settle_s * random.uniform(1, 2))  # noqa: S311 - no secret
            if self._reads_own():
                self._beating = threading.Thread(target=self._beat, name="coldstart-lease", daemon=True)
                self._beating.start()
                return True

    def check(self) -> None:
        """Raise once somebody else has the turn."""
        if self._lost.is_set():
            raise LostError

    def _is_free(self) -> bool:
        seen = self._read()
        return seen is None or seen.get("over") is True or seen.get("holder") == self._holder

    def _watch(self, is_done: Callable[[], bool]) -> bool:
        """Watch another holder until it is gone; False where it has done the work."""
        seen, since_s = self._read(), now()
        while now() - since_s < self._pace.stale_s:
            if is_done():
                return False
            self._over.wait(self._pace.beat_s)
            before, seen = seen, self._read()
            if self._is_over(seen):
                return not is_done()
            if seen != before:
                since_s = now()
        return True

    def _is_over(self, seen: dict[str, object] | None) -> bool:
        return seen is None or seen.get("over") is True

    def _beat(self) -> None:
        while not self._over.wait(self._pace.beat_s):
            with suppress(StorageError, TransientError, OSError):
                if not self._reads_own():
                    self._lost.set()
                    return
                self._write()

    def _reads_own(self) -> bool:
        seen = self._read()
        return seen is not None and seen.get("holder") == self._holder

    def _read(self) -> dict[str, object] | None:
        text = self._store.read(self._key, limit_bytes=_LIMIT_BYTES)
        with suppress(ValueError, RecursionError):
            told = json.loads(text or b"")
            return told if isinstance(told, dict) else None
        return None

    def _write(self, *, over: bool = False) -> None:
        self._beats += 1
        told = {"holder": self._holder, "beat": self._beats, "over": over}
        self._store.write(self._key, json.dumps(told).encode(), media_type="application/json")


def _holder(notes: Path) -> str:
    """Who we are: the same after a kill, so that the next process here need not wait for itself."""
    with suppress(OSError, UnicodeDecodeError):
        if len(known := notes.read_text(encoding="ascii")) == 32:  # noqa: PLR2004 - sixteen bytes in hex
            return known
    fresh = os.urandom(16).hex()
    write_whole(notes, fresh.encode("ascii"))
    return fresh
