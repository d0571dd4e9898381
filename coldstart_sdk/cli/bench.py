"""`coldstart bench`: cold starts from a declared state, warm requests, and what each hook is worth."""

from __future__ import annotations

import base64
import os
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import click

from coldstart_sdk.cli import shapes, traces
from coldstart_sdk.cli.console import Console
from coldstart_sdk.cli.measure import Measured, Requests, requests_to
from coldstart_sdk.cli.prepare import Asked, Prepared, prepare, prepare_here
from coldstart_sdk.cli.rehearse import chosen
from coldstart_sdk.cli.spread import Spread, time, times
from coldstart_sdk.cli.start import switched
from coldstart_sdk.cli.states import EMPTY, LOCAL, SECOND, STATES, Machines, refuse, usual
from coldstart_sdk.cli.verb import (
    complete_endpoint,
    file_argument,
    home_option,
    set_option,
    settings_options,
    target_option,
    verb,
)
from coldstart_sdk.errors import ColdstartError, UsageError
from coldstart_sdk.trace import figures, metrics

_WHOLE = "as declared"


@dataclass(frozen=True, kw_only=True)
class Line:
    """One state of the machine, with all hooks or without some."""

    state: str
    variant: str
    ready_s: Spread | None
    first_s: Spread | None = None
    """The first request, sent at READY."""
    warm_s: Spread | None = None
    penalty: Spread | None = None
    """The first request over the median of the later ones, start by start."""
    first_byte_s: Spread | None = None
    real_time: Spread | None = None
    """Seconds of computing for a second of audio, warm."""


@dataclass
class _Points:
    ready_s: list[float] = field(default_factory=list)
    first_s: list[float] = field(default_factory=list)
    warm_s: list[float] = field(default_factory=list)
    penalty: list[float] = field(default_factory=list)
    first_byte_s: list[float] = field(default_factory=list)
    real_time: list[float] = field(default_factory=list)

    def add(self, measured: Measured, requests: Requests | None) -> None:
        trace = measured.trace
        if trace.anchors.ready_s is not None:
            self.ready_s.append(trace.anchors.ready_s)
        done = shapes.turns(trace, requests)[0] if requests else []
        if not done:
            return
        first, *later = done
        self.first_s.append(first.duration_s)
        self.first_byte_s += [request.first_s for request in (first,) if request.first_s is not None]
        self.warm_s += [request.duration_s for request in later]
        if (penalty := metrics.penalty(trace, done)) is not None:
            self.penalty.append(penalty)
        if (lasts_s := _audio_s(measured.answers[:1])) and later:
            self.real_time.append(statistics.median([request.duration_s for request in later]) / lasts_s)

    def line(self, state: str, variant: str) -> Line:
        spreads = {name: Spread.of(points) for name, points in vars(self).items()}
        return Line(state=state, variant=variant, **spreads)


@dataclass
class _Kind:
    """One state, and what is left out in it."""

    points: _Points = field(default_factory=_Points)
    shapes: shapes.Shapes = field(default_factory=shapes.Shapes)


@verb(
    "bench",
    ("coldstart bench app.py -i text=hi", "5 cold starts from an empty machine, 50 warm requests"),
    (
        "coldstart bench app.py -i text=hi --also 'text=\"a longer one\"'",
        "what each new shape costs at first",
    ),
    ("coldstart bench app.py --state empty --state same --without warmup", "two states, and less of a hook"),
    ("coldstart bench app.py --target modal --state empty --state restore", "under a platform's own worker"),
    ("coldstart bench app.py --cold 10 --plot bench.svg --json", "for a page: every point, and a picture"),
    ("coldstart bench app.py --against before --cold 1", "two declarations over one throttled link"),
)
@file_argument
@click.argument("endpoint", required=False, shell_complete=complete_endpoint)
@click.option(
    "--input", "-i", "given", multiple=True, metavar="NAME=VALUE", help="One argument of the requests."
)
@click.option("--cold", type=click.IntRange(1), default=5, show_default=True, help="Starts of each kind.")
@click.option(
    "--warm", type=click.IntRange(0), default=50, show_default=True, help="Warm requests of each kind."
)
@click.option(
    "--also",
    multiple=True,
    metavar="CALL",
    help="Another request, in turns with the first: '[ENDPOINT] NAME=VALUE …'. May be repeated.",
)
@click.option(
    "--state",
    "states",
    multiple=True,
    type=click.Choice([*STATES]),
    help="What a start finds; may be repeated. Default: empty, or restore where a snapshot is taken.",
)
@click.option(
    "--without", multiple=True, metavar="STEP", help="Measure also without this step, by name or kind."
)
@click.option("--plot", metavar="FILE", help="Every point as an SVG.")
@click.option(
    "--against",
    metavar="FILE",
    help="Another declaration of the same service: both start over the link that bench.toml declares.",
)
@target_option(default=LOCAL)
@set_option
@settings_options
@home_option
def command(
    console: Console,
    *,
    file: str,
    endpoint: str | None,
    given: tuple[str, ...],
    **said: Any,  # noqa: ANN401 - click's options, each its own type
) -> None:
    """Start cold again and again, from a state that is made before each start, and show medians and spread.

    Kinds are measured in turns, so that a machine that slows down does so for all of them. Each figure is a
    median, with the least and the most beside it; --json has every point. A second table tells the first call
    of each endpoint and shape of input: that of a hook which warms it up, and that of the first such request.
    """
    if said["against"]:
        _compare(console, file, endpoint, given, said)
        return
    prepared = _prepared(file, said)
    traces.refuse_unwritable(said["plot"], "--plot")
    states = said["states"] or (usual(prepared),)
    refuse(states, prepared)
    requests = _requests(prepared, endpoint, given, said)
    skips = {_WHOLE: (), **{f"without {step}": (step,) for step in said["without"]}}
    for skip in skips.values():
        switched(prepared, skip, ())  # a step that is not there is told before anything starts
    machines = Machines(prepared, requests, chosen(said["pairs"]))
    kinds = {(state, name): _Kind() for state in states for name in skips}
    for number in range(said["cold"]):
        for (state, variant), kind in kinds.items():
            measured = machines.start(state, skips[variant])
            kind.points.add(measured, requests)
            kind.shapes.add(measured.trace, requests)
            console.did(f"start {number + 1}", f"{state}, {variant}", _last(kind.points.ready_s))
    _tell(prepared, kinds, said, console)


def _tell(
    prepared: Prepared, kinds: Mapping[tuple[str, str], _Kind], said: Mapping[str, Any], console: Console
) -> None:
    lines = [kind.points.line(*names) for names, kind in kinds.items()]
    found = [line for names, kind in kinds.items() for line in kind.shapes.lines(*names)]
    if said["plot"]:
        from coldstart_sdk.cli.plot import plot  # noqa: PLC0415 - only where it is asked for

        Path(said["plot"]).write_text(plot(lines, found, prepared.plan.spec.name), encoding="utf-8")
        console.did("plot", f"written to {said['plot']}")
    if console.json:
        console.result_json({**_as_data(prepared, said["cold"], lines), "shapes": found})
        return
    console.result(_table(lines, console))
    if found:
        console.result("\n" + shapes.table(found, console))


def _prepared(file: str, said: Mapping[str, Any]) -> Prepared:
    target = said["target"]
    asked = Asked(file=file, target=target, home=said["home"], store=said["store"], snapshot=said["snapshot"])
    if target != LOCAL:
        return prepare(asked)
    if said["pairs"]:
        raise UsageError("--set is for a rehearsal", fix="Add --target runpod or modal, or leave it out.")
    return prepare_here(asked)


def _compare(
    console: Console, file: str, endpoint: str | None, given: tuple[str, ...], said: Mapping[str, Any]
) -> None:
    """Two declarations, the other one first."""
    if said["target"] != LOCAL or said["pairs"] or said["also"]:
        raise UsageError("--against compares two starts here", fix="Leave out --target, --set and --also.")
    from coldstart_sdk.cli import against, rig  # noqa: PLC0415 - only where it is asked for

    sides = []
    for name, prepared in zip(
        (rig.BEFORE, rig.NOW), against.both(file, said["against"], said["home"]), strict=True
    ):
        requests = _requests(prepared, endpoint, given, said)
        if requests is None:
            raise UsageError("nothing is asked of the two", fix="Give the request's arguments: -i text=hi.")
        sides.append(rig.Side(name=name, prepared=prepared, requests=requests))
    compared = against.compare(sides, said["states"] or (EMPTY, SECOND), said["cold"], console)
    if console.json:
        console.result_json(against.data(compared))
        return
    console.result(against.text(compared, console))


def _requests(
    prepared: Prepared, name: str | None, given: tuple[str, ...], said: Mapping[str, Any]
) -> Requests | None:
    """None: the endpoint needs arguments and got none; then starts alone are measured."""
    spec = prepared.plan.spec
    requests = requests_to(spec, name, given, 1 + -(-said["warm"] // said["cold"]))
    if not said["also"]:
        return requests
    if said["target"] != LOCAL:
        raise UsageError(
            "--also is for starts here",
            fix="Leave out --target, or measure each request in a bench of its own.",
        )
    if requests is None:
        raise UsageError("--also comes after a first request", fix="Give its arguments: -i text=hi.")
    return replace(requests, also=shapes.others(spec, said["also"], requests))


def _audio_s(answers: Sequence[object]) -> float | None:
    """How long the audio of an answer plays; None where it is none that can be told."""
    answer = answers[0] if answers else None
    if not isinstance(answer, Mapping) or not str(answer.get("type", "")).startswith("audio/"):
        return None
    from coldstart_sdk.media import wav  # noqa: PLC0415 - only for audio

    try:
        return wav.read(base64.b64decode(str(answer.get("base64", ""))), "audio/wav").duration_s or None
    except (ColdstartError, ValueError):
        return None


def _table(lines: Sequence[Line], console: Console) -> str:
    heads = ("state", "hooks", "ready", "first request", "warm", "penalty", "first byte", "real time")
    rows = [
        (
            line.state,
            line.variant,
            time(line.ready_s),
            time(line.first_s),
            time(line.warm_s),
            times(line.penalty),
            time(line.first_byte_s),
            times(line.real_time),
        )
        for line in lines
    ]
    used = [at for at, head in enumerate(heads) if head in heads[:3] or any(row[at] for row in rows)]
    notes = [f"{state}: {STATES[state]}" for state in dict.fromkeys(line.state for line in lines)]
    whole = console.table([[row[at] for at in used] for row in rows], heads=[heads[at] for at in used])
    return whole + "\n" + "".join(f"{note}\n" for note in notes)


def _as_data(prepared: Prepared, cold: int, lines: Sequence[Line]) -> dict[str, Any]:
    from coldstart_sdk import machine  # noqa: PLC0415 - only for JSON

    return {
        "name": prepared.plan.spec.name,
        "spec_digest": prepared.plan.spec_digest,
        "target": prepared.plan.backend,
        "cold": cold,
        "load": list(os.getloadavg()),
        "machine": dict(machine.facts(prepared.home)),
        "states": {line.state: STATES[line.state] for line in lines},
        "lines": lines,
    }


def _last(points: Sequence[float]) -> str:
    return figures.duration(points[-1]) if points else ""
