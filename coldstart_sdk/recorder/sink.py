"""Where watchers report to: it knows which step the calling thread is in, and adds up what is counted.

A step tells its thread when it starts. A thread that a step starts belongs to that step; whatever else runs
once the worker is ready is counted to requests.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping

from coldstart_sdk.events import Counted, Emit, Resource, SpanRecorded, now
from coldstart_sdk.recorder.names import REQUEST

_OWNER = "_coldstart_step"


class Sink:
    """Spans and counts, each to the step that it belongs to."""

    def __init__(self, emit: Emit) -> None:
        self._emit = emit
        self._steps: dict[int, str] = {}
        self._counts: dict[str, dict[str, float]] = {}
        self._lock = threading.Lock()
        self.is_ready = False

    # ---- who is asking

    def begin(self, step: str) -> None:
        """The calling thread is in that step from now on."""
        self._steps[threading.get_ident()] = step

    def end(self, step: str) -> None:
        """Nobody is in that step any more; what was counted in it is told."""
        for thread_id in [thread_id for thread_id, name in self._steps.items() if name == step]:
            self._steps.pop(thread_id, None)
        with self._lock:
            counts = self._counts.pop(step, None)
        if counts:
            self._emit(Counted(at_s=now(), step=step, counts=counts))

    @property
    def step(self) -> str | None:
        """The step that the calling thread is in."""
        step = self._steps.get(threading.get_ident())
        if step is None:
            step = getattr(threading.current_thread(), _OWNER, None)
        return step or (REQUEST if self.is_ready else None)

    def hand_down(self, thread: threading.Thread) -> None:
        """A thread that is about to start belongs to the step that starts it."""
        if step := self._steps.get(threading.get_ident()):
            setattr(thread, _OWNER, step)

    # ---- what is seen

    def span(  # noqa: PLR0913 - the fields of one event
        self,
        name: str,
        resource: Resource,
        started_s: float,
        ended_s: float,
        *,
        count: int | None = None,
        step: str | None = None,
    ) -> None:
        if owner := step or self.step:
            self._emit(
                SpanRecorded(
                    at_s=started_s, end_s=ended_s, step=owner, name=name, resource=resource, bytes=count
                )
            )

    def count(self, counts: Mapping[str, float], *, step: str | None = None) -> None:
        if (owner := step or self.step) and owner != REQUEST:
            with self._lock:
                total = self._counts.setdefault(owner, {})
                for name, figure in counts.items():
                    total[name] = total.get(name, 0.0) + figure

    def count_most(self, name: str, figure: float, *, step: str) -> None:
        """The largest figure that was seen, not their sum."""
        with self._lock:
            total = self._counts.setdefault(step, {})
            total[name] = max(total.get(name, 0.0), figure)
