"""A declaration written by a test and lived in this process: the real lifecycle, no process around it."""

from __future__ import annotations

import textwrap
import uuid
from pathlib import Path

from coldstart_sdk import entry
from coldstart_sdk.backends.local import backend
from coldstart_sdk.declare.read import read
from coldstart_sdk.events import Event, Outcome, State, StateChanged, StepEnded, StepStarted
from coldstart_sdk.lifecycle import Lifecycle
from coldstart_sdk.plan import Plan
from coldstart_sdk.planner import plan
from coldstart_sdk.steps import Site
from coldstart_sdk.switches import NO_SWITCHES, Switches

HEAD = (
    "import os, sys, threading, time\nfrom coldstart_sdk import Scale, Weights, endpoint, hook, warm_model\n"
)
ANSWER = "    @endpoint\n    def answer(self, n: int = 1) -> int:\n        return n\n"


def a_file(folder: Path, body: str, head: str = HEAD) -> Path:
    """A declaration whose class body is `body`, under a module name of its own; `answer` is there already."""
    path = folder / f"model_{uuid.uuid4().hex[:12]}.py"
    path.write_text(
        f"{head}\n@warm_model\nclass Model:\n{ANSWER}{textwrap.indent(textwrap.dedent(body), '    ')}"
    )
    return path


def planned(path: Path) -> Plan:
    return plan(read(entry.load(str(path))), "local", backend.capabilities, sdk="0")


class Life:
    """A lifecycle under test and everything that it said."""

    def __init__(
        self, folder: Path, body: str, *, switches: Switches = NO_SWITCHES, head: str = HEAD
    ) -> None:
        self.events: list[Event] = []
        site = Site(project=folder, home=folder / "home", emit=self.events.append)
        self.life = Lifecycle(planned(a_file(folder, body, head)), site, switches=switches)

    @property
    def outcomes(self) -> dict[str, Outcome]:
        return {event.step: event.outcome for event in self.events if isinstance(event, StepEnded)}

    @property
    def started(self) -> list[str]:
        return [event.step for event in self.events if isinstance(event, StepStarted)]

    @property
    def states(self) -> list[State]:
        return [event.state for event in self.events if isinstance(event, StateChanged)]

    @property
    def model(self) -> object:
        return self.life.steps.made.instance
