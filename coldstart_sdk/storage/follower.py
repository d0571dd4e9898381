"""Compute a whole file's SHA-256 in order while its chunks arrive out of order.

Only for files of which nothing else is known: a thread reads behind the streams, so none of them waits.
"""

from __future__ import annotations

import hashlib
import threading

from coldstart_sdk.storage.cancel import stop_if
from coldstart_sdk.storage.partial import Part

_BUFFER_BYTES = 1 << 20
_TICK_S = 0.05


class Follower:
    def __init__(self, part: Part, stopped: threading.Event) -> None:
        self._part = part
        self._stopped = stopped
        self._woken = threading.Condition()
        self._failed: BaseException | None = None
        self._hashed = hashlib.sha256()
        self._thread = threading.Thread(target=self._follow, name="coldstart-hash", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """Another chunk is whole."""
        with self._woken:
            self._woken.notify_all()

    def digest(self) -> str:
        """Of the whole file; waits for the rest of it to be hashed."""
        self.wake()
        self._thread.join()
        if self._failed is not None:
            raise self._failed
        return f"sha256:{self._hashed.hexdigest()}"

    def _follow(self) -> None:
        try:
            buffer = memoryview(bytearray(_BUFFER_BYTES))
            for index in range(self._part.chunks):
                self._wait_for(index)
                self._hash(*self._part.span(index), buffer)
        except BaseException as failed:  # noqa: BLE001 - raised again by whoever asks for the digest
            self._failed = failed

    def _wait_for(self, index: int) -> None:
        with self._woken:
            while index not in self._part.whole:
                stop_if(self._stopped)
                self._woken.wait(timeout=_TICK_S)

    def _hash(self, position: int, end: int, buffer: memoryview) -> None:
        while position < end:
            stop_if(self._stopped)
            count = self._part.read_into(position, buffer[: end - position])
            if count == 0:
                raise OSError(0, "a file ended before its last chunk", str(self._part.path))
            self._hashed.update(buffer[:count])
            position += count
