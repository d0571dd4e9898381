"""`coldstart trace`: show starts, hold them against each other, and hand them to other programs."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from coldstart_sdk.cli import kept, settings, traces
from coldstart_sdk.cli.console import Console
from coldstart_sdk.cli.settings import Settings
from coldstart_sdk.cli.verb import home_option, verb
from coldstart_sdk.errors import UsageError
from coldstart_sdk.trace import figures
from coldstart_sdk.trace.model import Trace

_TAKES = {"list": (0, 0), "show": (0, 1), "diff": (2, 2), "export": (0, 1), "receipt": (0, 1)}
"""How many traces each action takes; where one may be left out it is the newest."""
_FIX = {
    "list": "Leave them out: coldstart trace list.",
    "show": "Name one: coldstart trace show start.json.",
    "diff": "Name the start before and the one after: coldstart trace diff before.json after.json.",
    "export": "Name one: coldstart trace export start.json -o start.html.",
    "receipt": "Name one: coldstart trace receipt start.json --budget ready=15s.",
}
_COLLECTOR = "http://localhost:4318"


@verb(
    "trace",
    ("coldstart trace show", "the waterfall of the last start here"),
    ("coldstart trace diff before.json after.json", "what got slower, and by which step"),
    (
        "coldstart trace export -o start.html",
        "one page with everything; .svg, .png, .chrome.json by name too",
    ),
    ("coldstart trace export start.json --format otlp", "send it to OTEL_EXPORTER_OTLP_ENDPOINT"),
    ("coldstart trace receipt --budget ready=15s,first=1.1x", "for CI: exit code 9 when it was more"),
    ("coldstart trace list", "what is kept in COLDSTART_HOME"),
)
@click.argument("action", type=click.Choice([*_TAKES]))
@click.argument("paths", nargs=-1, metavar="[TRACE]...", type=click.Path())
@click.option("--output", "-o", metavar="FILE", help="Put it there instead of on stdout.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["html", "svg", "png", "chrome", "json", "otlp"]),
    help="Default: told from the name of the output file, else html.",
)
@click.option("--markdown", is_flag=True, help="The diff as a comment on a pull request.")
@click.option(
    "--budget", metavar="LIMITS", help="What the start of the receipt is held to: ready=15s,first=1.1x."
)
@home_option
def command(console: Console, *, action: str, paths: tuple[str, ...], home: str | None, **said: Any) -> None:  # noqa: ANN401 - click's options, each its own type
    """Show a traced start, compare two, or write one in the form of another program.

    ACTION is list, show, diff, export or receipt. Without TRACE it is about the newest in COLDSTART_HOME.
    """
    least, most = _TAKES[action]
    if not least <= len(paths) <= most:
        wants = "no trace" if most == 0 else f"{most} traces" if least == most else "one trace at most"
        raise UsageError(f"`trace {action}` takes {wants}", fix=_FIX[action])
    traces.refuse_unwritable(said["output"], "-o")
    folder = settings.home(home, os.environ, Settings())
    if action == "list":
        _list(folder, console)
    elif action == "diff":
        _diff(paths, console, said["output"], markdown=said["markdown"])
    else:
        trace = kept.read(Path(paths[0]) if paths else kept.newest(folder))
        _of_one(action, trace, console, said)


def _of_one(action: str, trace: Trace, console: Console, said: dict[str, Any]) -> None:
    if action == "show":
        _show(trace, console)
    elif action == "export":
        _export(trace, console, said["output"], said["form"])
    else:
        _receipt(trace, console, said["output"], said["budget"])


def _list(home: Path, console: Console) -> None:
    found = [*_readable(home, console)]
    if console.json:
        console.result_json(
            [
                {
                    "trace": str(path),
                    "name": trace.name,
                    "ready_s": trace.anchors.ready_s,
                    "at": trace.started_at,
                }
                for path, trace in found
            ]
        )
        return
    rows = [
        (
            trace.name or "",
            trace.backend or "",
            "not ready" if trace.anchors.ready_s is None else figures.duration(trace.anchors.ready_s),
            trace.started_at or time.strftime("%Y-%m-%d", time.gmtime(path.stat().st_mtime)),
            str(path),
        )
        for path, trace in found
    ]
    console.result(console.table(rows, heads=("name", "target", "ready", "started", "file")))


def _readable(home: Path, console: Console) -> Iterator[tuple[Path, Trace]]:
    """One that another version wrote, or that was cut off, hides no other."""
    for path in kept.traces(home):
        try:
            yield path, kept.read(path)
        except UsageError as error:  # noqa: PERF203 - each of them may fail
            console.did("left out", f"{path}: {error}")


def _show(trace: Trace, console: Console) -> None:
    if console.json:
        console.result_json(trace)
        return
    from coldstart_sdk.trace.waterfall import render  # noqa: PLC0415 - only for this action

    console.result(render(trace, width=console.width, colour=console.colour_out, unicode=_prints_unicode()))


def _diff(paths: tuple[str, ...], console: Console, output: str | None, *, markdown: bool) -> None:
    from coldstart_sdk.hold.diff import diff, render  # noqa: PLC0415 - only for this action

    before, after = (kept.read(Path(path)) for path in paths)
    found = diff(before, after)
    if console.json:
        console.result_json({"worth_s": found.worth_s, "diff": found})
        return
    _put(render(found, markdown=markdown), output, console)


def _export(trace: Trace, console: Console, output: str | None, form: str | None) -> None:
    form = form or (traces.form_of(output) if output else "html")
    if form == "otlp" and not output:
        from coldstart_sdk.trace import otlp  # noqa: PLC0415 - only for this form

        where = os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT", _COLLECTOR)
        otlp.send(trace, where, otlp.headers_of(os.environ.get("OTEL_EXPORTER_OTLP_HEADERS", "")))
        console.did("trace", f"sent to {where}")
        return
    _put(traces.spell(trace, form), output, console)


def _receipt(trace: Trace, console: Console, output: str | None, budget: str | None) -> None:
    from coldstart_sdk import hold  # noqa: PLC0415 - only for this action

    receipt = hold.check(trace, hold.budget(budget) if budget else None)
    _put(receipt.to_json(), output, console)
    for verdict in receipt.verdicts:
        console.did(verdict.word, str(verdict))
    hold.refuse_over(receipt)


def _put(content: str | bytes, output: str | None, console: Console) -> None:
    held = content.encode("utf-8") if isinstance(content, str) else content
    if output is not None and output != "-":
        Path(output).write_bytes(held)
        console.did("wrote", output)
    elif isinstance(content, str):
        console.result(content)
    elif sys.stdout.isatty():
        raise UsageError("a picture is no text for a terminal", fix="Name a file: -o start.png.")
    else:
        console.result_bytes(held)


def _prints_unicode() -> bool:
    return (sys.stdout.encoding or "").lower().replace("-", "").startswith("utf")
