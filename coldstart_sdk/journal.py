"""Hold a worker's events, and hand each one on.

A start is kept whole; of requests only the latest are, so that a worker that runs for weeks does not grow.
"""

from __future__ import annotations

import collections
import threading

from coldstart_sdk.events import Emit, Event, RequestEnded

LATEST = 1000
"""Requests that are kept."""


class Journal:
    """A sink that remembers."""

    def __init__(self, *readers: Emit) -> None:
        self._readers = list(readers)
        self._start: list[Event] = []
        self._requests: collections.deque[Event] = collections.deque(maxlen=LATEST)
        self._lock = threading.Lock()

    def __call__(self, event: Event) -> None:
        with self._lock:
            (self._requests if isinstance(event, RequestEnded) else self._start).append(event)
        for read in self._readers:
            read(event)

    def also(self, read: Emit) -> None:
        """Hand on to one more reader, from now on."""
        self._readers.append(read)

    @property
    def events(self) -> tuple[Event, ...]:
        """Everything that is kept, in no promised order."""
        with self._lock:
            return (*self._start, *self._requests)
