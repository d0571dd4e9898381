"""`coldstart bench FILE --against OTHER`: two declarations of one service over the same throttled link."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from coldstart_sdk.cli import rig
from coldstart_sdk.cli.console import Console
from coldstart_sdk.cli.measure import scratch_folder
from coldstart_sdk.cli.prepare import Asked, Prepared, prepare
from coldstart_sdk.cli.rig import BEFORE, NOW, Rig, Setting, Side
from coldstart_sdk.trace import figures, metrics
from coldstart_sdk.trace.model import Trace
from coldstart_sdk.trace.waterfall import render

STATES = {
    rig.EMPTY: "nothing is on the machine, and nothing in the store",
    rig.SECOND: "another machine; a first one has filled the store, and what is baked lies on the disk",
    rig.SAME: "the first machine again, with the files that it fetched",
}


@dataclass(frozen=True, kw_only=True)
class Figure:
    name: str
    of: Callable[[Trace], float | None]
    is_ratio: bool = False

    def median(self, traces: Sequence[Trace]) -> float | None:
        points = [value for trace in traces if (value := self.of(trace)) is not None]
        return statistics.median(points) if points else None

    def shown(self, value: float) -> str:
        return f"{value:.2f} x" if self.is_ratio else figures.duration(value)


FIRST_ANSWER = Figure(
    name="first answer", of=lambda trace: trace.requests[0].end_s if trace.requests else None
)
"""From the start of the process to the end of the first answer."""
FIGURES = (
    FIRST_ANSWER,
    Figure(name="ready", of=lambda trace: trace.anchors.ready_s),
    Figure(name="first request", of=lambda trace: trace.requests[0].duration_s if trace.requests else None),
    Figure(name="its first byte", of=lambda trace: trace.requests[0].first_s if trace.requests else None),
    Figure(name="first ÷ warm", of=metrics.first_request_penalty, is_ratio=True),
)


@dataclass(frozen=True, kw_only=True)
class Compared:
    """State → side → its starts."""

    name: str
    setting: Setting
    traces: Mapping[str, Mapping[str, Sequence[Trace]]] = field(default_factory=dict)


def both(file: str, other: str, home: str | None) -> tuple[Prepared, Prepared]:
    """The other one and the declaration; a name is looked for beside the declaration first."""
    declared = prepare(Asked(file=file, target="local", home=home, store=rig.STORE))
    beside = declared.project / other
    named = str(beside) if beside.exists() else other
    sys.modules.pop(declared.plan.spec.module, None)  # both may be called app.py
    return prepare(Asked(file=named, target="local", home=home)), declared


def compare(sides: Sequence[Side], states: Sequence[str], starts: int, console: Console) -> Compared:
    """Start the sides in turns, in every state."""
    declared = sides[-1].prepared
    setting = rig.setting_above(declared.project)
    traces: dict[str, dict[str, list[Trace]]] = {state: {side.name: [] for side in sides} for state in states}
    with scratch_folder() as scratch:
        made = Rig(Path(scratch), setting)
        with made.open(declared.project):
            for number in range(1, starts + 1):
                for state in states:
                    for side in sides:
                        trace = made.start(side, state)
                        traces[state][side.name].append(trace)
                        took = FIRST_ANSWER.of(trace)
                        console.did(
                            f"start {number}",
                            f"{state}, {side.name}",
                            "" if took is None else figures.duration(took),
                        )
    return Compared(name=declared.plan.spec.name, setting=setting, traces=traces)


def text(compared: Compared, console: Console) -> str:
    """The waterfalls one above the other, the ratios, and the calculation at the real size."""
    drawn = [
        f"{state}, {side}\n{render(traces[-1], width=console.width, unicode=console.unicode)}\n"
        for state, of in compared.traces.items()
        for side, traces in of.items()
    ]
    table = console.table(_rows(compared), heads=("state", "figure", BEFORE, NOW, "ratio"))
    return "".join((*drawn, table, "\n", *(f"{line}\n" for line in _notes(compared))))


def data(compared: Compared) -> dict[str, Any]:
    real = at_real_size(compared)
    return {
        "name": compared.name,
        "setting": compared.setting,
        "figures": [
            dict(zip(("state", "figure", BEFORE, NOW), row, strict=True)) for row in _points(compared)
        ],
        "at_real_size": None if real is None else {BEFORE: real[0], NOW: real[1]},
    }


def at_real_size(compared: Compared) -> tuple[float, float] | None:
    """The first answer of a second worker, before and now, with the real weights over the same link.

    What is computed is bytes alone: how long a larger set takes to load and to answer is not in it.
    """
    real = compared.setting.real_bytes.get(compared.name)
    of = compared.traces.get(rig.SECOND)
    if real is None or of is None:
        return None
    before, now = (FIRST_ANSWER.median(of[side]) for side in (BEFORE, NOW))
    if before is None or now is None:
        return None
    setting = compared.setting
    before += (real - setting.weights_bytes) / setting.hub_bytes_s
    return before, now + _more_fetching_s(of[NOW][-1], real / setting.weights_bytes)


def _more_fetching_s(trace: Trace, times: float) -> float:
    """How much later the load begins when the bytes from the store become so many times as many."""
    fetches = [step for step in trace.steps if step.name.startswith("fetch:") and step.tier == "store"]
    loads = [step.start_s for step in trace.steps if step.name.startswith("load:")]
    if not fetches or not loads:
        return 0.0
    ended_s = max(step.end_s for step in fetches)
    fetching_s = ended_s - min(step.start_s for step in fetches)
    others_s = max(
        (step.end_s for step in trace.steps if step.end_s <= min(loads) and step not in fetches), default=0.0
    )
    return max(others_s, ended_s + fetching_s * (times - 1)) - max(others_s, ended_s)


def _points(compared: Compared) -> Iterator[tuple[str, str, float, float]]:
    for state, of in compared.traces.items():
        for figure in FIGURES:
            before, now = (figure.median(of[side]) for side in (BEFORE, NOW))
            if before is not None and now is not None:
                yield state, figure.name, before, now


def _rows(compared: Compared) -> Iterator[tuple[str, ...]]:
    shown = {figure.name: figure.shown for figure in FIGURES}
    for state, name, before, now in _points(compared):
        ratio = f"{before / now:.3g} x" if now else ""
        yield state, name, shown[name](before), shown[name](now), ratio


def _notes(compared: Compared) -> Iterator[str]:
    yield from (f"{state}: {STATES[state]}" for state in compared.traces)
    setting = compared.setting
    yield (
        f"hub {figures.size(setting.hub_bytes_s)}/s, store {figures.size(setting.store_bytes_s)}/s, weights"
        f" padded to {figures.size(setting.weights_bytes)}; time counts from the start of the process"
    )
    if (real := at_real_size(compared)) is not None:
        weight = figures.size(setting.real_bytes[compared.name])
        yield (
            f"the same calculated for {weight}, second worker: first answer {figures.duration(real[0])}"
            f" before, {figures.duration(real[1])} now, {real[0] / real[1]:.1f} x"
        )
