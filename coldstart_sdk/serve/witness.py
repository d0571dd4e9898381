"""Sees every event of a worker from the first on: for `/ready`, `/metrics` and `/trace`."""

from __future__ import annotations

from pathlib import Path

from coldstart_sdk import progress
from coldstart_sdk.events import Emit, Event, State, StateChanged
from coldstart_sdk.journal import Journal
from coldstart_sdk.plan import Plan
from coldstart_sdk.progress import Progress
from coldstart_sdk.serve.metrics import Metrics


class Witness:
    """A sink: hands each event on to whoever shall hear of it too."""

    def __init__(self, plan: Plan, home: Path, *readers: Emit) -> None:
        self.progress = Progress(plan, progress.recall(home, plan.spec.name))
        self.metrics = Metrics()
        self.journal = Journal(self.progress, self.metrics, *readers)
        self._home = home
        self._name = plan.spec.name

    def __call__(self, event: Event) -> None:
        self.journal(event)
        if isinstance(event, StateChanged) and event.state is State.READY and not event.degraded:
            progress.remember(self._home, self._name, self.progress.took_s())
