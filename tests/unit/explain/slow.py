"""Starts with something to find in them: `a_start(step("load:load", 1, 3, parts=…))`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from coldstart_sdk.events import Counted, Event, FactsSeen, RequestEnded, Resource, SpanRecorded
from coldstart_sdk.explain.evidence import Evidence
from coldstart_sdk.explain.explain import explain
from coldstart_sdk.explain.finding import Finding
from coldstart_sdk.explain.rules import RULES
from coldstart_sdk.plan import Plan, Step, Work
from coldstart_sdk.trace.build import build
from coldstart_sdk.trace.model import Trace
from tests.unit.trace.starts import BOOT_S, WALL_S, a_plan, a_step, answered, began, fetched, ran, ready


@dataclass(frozen=True)
class Ran:
    """One step of a start, and what was seen of it."""

    step: Step
    events: tuple[Event, ...]


def part(step: str, name: str, start_s: float, end_s: float, size_bytes: int | None = None) -> SpanRecorded:
    return SpanRecorded(
        at_s=BOOT_S + start_s,
        step=step,
        name=name,
        resource=Resource.CPU,
        end_s=BOOT_S + end_s,
        bytes=size_bytes,
    )


def did(  # noqa: PLR0913 - the facts of one step
    name: str,
    start_s: float,
    end_s: float,
    *after: str,
    parts: tuple[tuple[str, float, float], ...] = (),
    sizes: int | None = None,
    counts: Mapping[str, float] | None = None,
    required: bool = True,
) -> Ran:
    """A step with parts inside it, each `(name, start, end)`, of so many bytes each."""
    events: list[Event] = [*ran(name, start_s, end_s)]
    events += [part(name, kind, begin, end, sizes) for kind, begin, end in parts]
    if counts:
        events.append(Counted(at_s=BOOT_S + end_s - 1e-5, step=name, counts=counts))
    return Ran(a_step(name, *after, required=required), tuple(events))


def fetch(
    name: str, start_s: float, end_s: float, size_bytes: int, *, counts: Mapping[str, float] | None = None
) -> Ran:
    events: list[Event] = fetched(name, start_s, end_s, size_bytes, "origin", missed=("disk",))
    if counts:
        events.append(Counted(at_s=BOOT_S + end_s - 1e-5, step=name, counts=counts))
    return Ran(replace(a_step(name), work=Work.WEIGHT), tuple(events))


def a_start(*runs: Ran, requests: tuple[RequestEnded | SpanRecorded, ...] = (), **facts: str) -> Trace:
    """A start that was ready when the last of its steps had ended."""
    events = [*began(), FactsSeen(at_s=BOOT_S + 0.06, facts=facts)]
    events += [event for run in runs for event in run.events]
    last_s = max(event.at_s for event in events) - BOOT_S
    return build([*events, *ready(last_s), *requests], a_planned(*runs), wall_start=WALL_S)


def a_planned(*runs: Ran) -> Plan:
    return a_plan(*(run.step for run in runs))


def asked(*took_s: float, start_s: float, pause_s: float = 0.1) -> tuple[RequestEnded, ...]:
    """Requests one after another."""
    events: list[RequestEnded] = []
    for seconds in took_s:
        (event,) = answered("speak", start_s, start_s + seconds)
        assert isinstance(event, RequestEnded)
        events.append(event)
        start_s += seconds + pause_s
    return tuple(events)


def findings(trace: Trace, *, plan: Plan | None = None, **evidence: object) -> dict[str, Finding]:
    """What every rule finds, by rule."""
    whole = replace(Evidence(trace=trace, plan=plan), **evidence)  # type: ignore[arg-type] # fields of evidence, each of its own type
    return {finding.rule: finding for rule in RULES for finding in rule(whole)}


def saved(trace: Trace) -> dict[str, float]:
    """What each rule's advice is worth."""
    return {advice.finding.rule: round(advice.saves_s, 3) for advice in explain(Evidence(trace=trace)).advice}


CLEAN = (
    fetch("fetch:f5", 0.1, 3.1, 1_350_000_000, counts={"connections": 8}),
    did("import:app", 0.1, 2.0, parts=(("import:torch", 0.2, 1.9),)),
    did("construct", 2.0, 2.01, "import:app"),
    did("load:load", 3.1, 4.0, "fetch:f5", "construct", parts=(("read:model.safetensors", 3.1, 3.6),)),
    did("warmup:warm", 4.0, 4.4, "load:load", parts=(("call:speak(text=2)", 4.0, 4.4),)),
)
"""A start that wastes nothing."""
