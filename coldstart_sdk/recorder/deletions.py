"""Time what is deleted: a folder as a whole, files that go one after another as one stretch."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from coldstart_sdk.events import Resource, now
from coldstart_sdk.recorder.names import DELETE
from coldstart_sdk.recorder.sink import Sink

_APART_S = 0.002
"""Files that go further apart than this are no clean-up, but something's own temporary files."""
_LEAST_S = 0.005


class _Run:
    """Files that one thread deletes one after another."""

    def __init__(self, step: str, started_s: float) -> None:
        self.step = step
        self.started_s = started_s
        self.ended_s = started_s
        self.count = 0


class Deletions:
    """Who deletes what, in which step."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._runs: dict[int, _Run] = {}
        self._whole = threading.local()
        """Whether the calling thread deletes a folder, of which all is told at once."""

    def file(self, delete: Callable[..., None], path: object, dir_fd: int | None) -> None:
        """Do it: `os.unlink` or `os.remove`."""
        started_s = now()
        try:
            delete(path, dir_fd=dir_fd)
        finally:
            self._deleted(started_s)

    def folder(self, delete: Any, path: object, *rest: Any, **options: Any) -> Any:  # noqa: ANN401 - shutil.rmtree
        """Do it."""
        started_s = now()
        self._whole.is_told = True
        try:
            return delete(path, *rest, **options)
        finally:
            self._whole.is_told = False
            name = str(path).rpartition("/")[2]
            self._sink.span(f"{DELETE}:{name}", Resource.DISK, started_s, now())

    def step_ends(self, step: str) -> None:
        for thread_id in [thread_id for thread_id, run in [*self._runs.items()] if run.step == step]:
            self._tell(self._runs.pop(thread_id))

    def _deleted(self, started_s: float) -> None:
        step = self._sink.step
        if step is None or getattr(self._whole, "is_told", False):
            return
        thread_id = threading.get_ident()
        run = self._runs.get(thread_id)
        if run is None or run.step != step or started_s - run.ended_s > _APART_S:
            if run:
                self._tell(run)
            run = self._runs[thread_id] = _Run(step, started_s)
        run.ended_s, run.count = now(), run.count + 1

    def _tell(self, run: _Run) -> None:
        if run.ended_s - run.started_s >= _LEAST_S:
            files = "file" if run.count == 1 else "files"
            self._sink.span(
                f"{DELETE}:{run.count} {files}", Resource.DISK, run.started_s, run.ended_s, step=run.step
            )
