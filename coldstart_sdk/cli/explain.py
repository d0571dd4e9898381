"""`coldstart explain`: why a start took as long as it did, and what to change."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from coldstart_sdk import record
from coldstart_sdk.cli import kept, settings, traces
from coldstart_sdk.cli.console import Console
from coldstart_sdk.cli.prepare import Asked, prepare_here
from coldstart_sdk.cli.settings import Settings
from coldstart_sdk.cli.start import switched
from coldstart_sdk.cli.verb import complete_file, home_option, verb
from coldstart_sdk.errors import UsageError
from coldstart_sdk.explain.evidence import Evidence
from coldstart_sdk.explain.finding import Explanation
from coldstart_sdk.plan import Plan
from coldstart_sdk.spec import Snapshot
from coldstart_sdk.trace.model import Trace

REQUESTS = 3
"""Enough to tell the first request from the later ones."""


@dataclass(frozen=True, kw_only=True)
class Found:
    """The start that is to be explained."""

    trace: Trace
    plan: Plan | None
    where: str | None
    """The trace's file; None where it could not be written."""


@verb(
    "explain",
    ("coldstart explain", "the last start that was traced here"),
    ("coldstart explain app.py -i text=hi", "a fresh cold start, and three requests"),
    ("coldstart explain start.trace.json --json", "a trace from anywhere, for a script"),
    ("coldstart explain start.trace.json --net 10Gbit --without warmup", "what it would be otherwise"),
)
@click.argument("what", required=False, metavar="[TRACE|FILE[:CLASS]]", shell_complete=complete_file)
@click.option(
    "--input",
    "-i",
    "given",
    multiple=True,
    metavar="NAME=VALUE",
    help="One argument of the requests to FILE.",
)
@click.option("--link", metavar="SPEED", help="What the network was measured to bring, such as 1Gbit.")
@click.option("--net", metavar="SPEED", help="What if: the network brought this, such as 10Gbit.")
@click.option("--gpu-fetch", is_flag=True, help="What if: weights went to the device as they come.")
@click.option("--snapshot", type=click.Choice(["cpu", "gpu"]), help="What if: it were restored from one.")
@click.option("--without", multiple=True, metavar="STEP", help="What if: without this step, by name or kind.")
@home_option
def command(
    console: Console,
    *,
    what: str | None,
    given: tuple[str, ...],
    home: str | None,
    **said: Any,  # noqa: ANN401 - click's options, each its own type
) -> None:
    """Rank what could be saved of a start: what, why, on what evidence, and the exact change to make.

    Each saving is what READY would gain along the critical path once the ones above it are done. Nothing is
    edited. With what-if options it also tells when the same start would have been ready otherwise.
    """
    from coldstart_sdk.explain.explain import explain  # noqa: PLC0415 - a bad option is told without it
    from coldstart_sdk.explain.whatif import bytes_per_s  # noqa: PLC0415 - as above

    link = bytes_per_s(said["link"]) if said["link"] else None
    supposed = _supposed(**said)
    found = find(what, home, given, console)
    evidence = Evidence(
        trace=found.trace, plan=found.plan, packages=_packages(found.plan), link_bytes_per_s=link
    )
    explained = explain(evidence)
    otherwise = _otherwise(evidence, supposed)
    if console.json:
        console.result_json({"trace": found.where, **as_data(explained), "otherwise": otherwise})
        return
    from coldstart_sdk.explain.text import render  # noqa: PLC0415 - as above

    console.result(render(explained, width=console.width))
    if otherwise:
        console.result("\n" + _told(otherwise))
    if found.where:
        console.next(f"coldstart trace export {found.where} -o start.html")


def find(what: str | None, home: str | None, given: tuple[str, ...], console: Console) -> Found:
    """A kept trace, a named one, or that of a fresh start."""
    if what is not None and not what.endswith(".json"):
        return _fresh(what, home, given, console)
    if given:
        raise UsageError(
            "-i would send a request, and a trace is of a start that is over",
            fix="Leave it out, or name the declaration's FILE instead of a trace.",
        )
    folder = settings.home(home, os.environ, Settings())
    path = Path(what) if what else kept.newest(folder)
    return Found(trace=kept.read(path), plan=None, where=str(path))


def as_data(explained: Explanation) -> dict[str, Any]:
    """As JSON: the record, and what it adds up to."""
    data: dict[str, Any] = record.to_data(explained)
    return {
        **data,
        "avoidable_s": explained.avoidable_s,
        "avoidable_first_s": explained.avoidable_first_s,
    }


def _fresh(file: str, home: str | None, given: tuple[str, ...], console: Console) -> Found:
    from coldstart_sdk.cli.measure import measure, requests_to  # noqa: PLC0415 - only for a fresh start
    from coldstart_sdk.cli.story import Story  # noqa: PLC0415 - as above

    prepared = prepare_here(Asked(file=file, target="local", home=home))
    requests = requests_to(prepared.plan.spec, None, given, REQUESTS)
    if requests is None:
        console.did("requests", "none sent: give the arguments of one with -i")
    measured = measure(prepared, requests, env=switched(prepared, (), ()), told=Story(console))
    path = traces.keep(measured.trace, prepared.home, None, None, console)
    return Found(trace=measured.trace, plan=prepared.plan, where=str(path) if path else None)


def _supposed(
    *, net: str | None, gpu_fetch: bool, snapshot: str | None, without: tuple[str, ...], link: str | None
) -> Any:  # noqa: ANN401 - a Supposed, which is loaded here
    from coldstart_sdk.explain.whatif import Supposed, bytes_per_s  # noqa: PLC0415 - as above

    del link
    return Supposed(
        net_bytes_per_s=bytes_per_s(net) if net else None,
        gpu_fetch=gpu_fetch,
        snapshot=Snapshot(snapshot) if snapshot else None,
        without=without,
    )


def _otherwise(evidence: Evidence, supposed: Any) -> Any:  # noqa: ANN401 - an Otherwise, or None
    from coldstart_sdk.explain.whatif import Supposed, suppose  # noqa: PLC0415 - as above

    return None if supposed == Supposed() else suppose(evidence, supposed)


def _told(otherwise: Any) -> str:  # noqa: ANN401 - an Otherwise
    from coldstart_sdk.hold.diff import signed  # noqa: PLC0415 - as above
    from coldstart_sdk.trace import figures  # noqa: PLC0415 - as above

    head = f"otherwise: {figures.duration(otherwise.ready_s)} to ready, {signed(-otherwise.saves_s)}"
    return "\n".join([head, *(f"  - {said}" for said in otherwise.suppositions)]) + "\n"


def _packages(plan: Plan | None) -> dict[str, int]:
    """Sizes of what the declared image holds; only where the start was one of this environment."""
    return kept.package_sizes(plan.spec.image.pip) if plan and plan.spec.image.pip else {}
