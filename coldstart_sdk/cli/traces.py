"""Keep a start's trace as a file, in the form that its name asks for, and show it."""

from __future__ import annotations

import contextlib
import itertools
import re
import time
from pathlib import Path

from coldstart_sdk.cli.console import Console
from coldstart_sdk.errors import StorageError, UsageError
from coldstart_sdk.trace.model import Trace

FORMATS = ("json", "chrome", "svg", "png", "html")
KEPT = 100
"""Traces that are kept in COLDSTART_HOME."""


def refuse_unwritable(path: str | None, what: str) -> None:
    """Before anything starts: a path whose folder is not there would only be found out at the end."""
    if path is None or path == "-":
        return
    folder = Path(path).parent
    if not folder.is_dir():
        raise UsageError(f"{what}: there is no folder {folder}", fix=f"Make it: mkdir -p {folder}")
    if Path(path).is_dir():
        raise UsageError(f"{what}: {path} is a folder", fix="Name a file.")


def refuse_undrawable(path: str | None, form: str | None) -> None:
    """Before anything starts, as above: pixels need an extra."""
    if path and (form or form_of(path)) == "png":
        from coldstart_sdk.trace import png  # noqa: PLC0415 - one form of several

        png.refuse_without_pillow()


def save(trace: Trace, home: Path, path: str | None, form: str | None) -> Path:
    """The file that the trace was written to."""
    target = Path(path) if path else _fresh(home / "traces", trace.name or "start")
    spelled = spell(trace, form or form_of(target.name))
    try:
        target.write_bytes(spelled if isinstance(spelled, bytes) else spelled.encode("utf-8"))
    except OSError:
        if not path:
            target.unlink(missing_ok=True)  # a part of a trace is none
        raise
    if not path:
        _prune(target.parent)
    return target.resolve()


def keep(trace: Trace, home: Path, path: str | None, form: str | None, console: Console) -> Path | None:
    """`save`, where the answer matters more: None, and a warning, when it cannot be written.

    A file that was asked for by name is an error when it is not there at the end.
    """
    try:
        return save(trace, home, path, form)
    except OSError as refused:
        said = f"the trace was not written: {refused.strerror or refused}"
        if path:
            raise StorageError(said, where=path, fix="Name another file with --trace.") from refused
        console.insist(f"warning: {said} ({home / 'traces'})")
        return None


def show(trace: Trace, console: Console, *, reasons: bool = True) -> None:
    """The waterfall, among the story; without `reasons` an error is going to tell why it failed."""
    from coldstart_sdk.trace.waterfall import render  # noqa: PLC0415 - drawn when the answer is out

    drawn = render(
        trace, width=console.width, colour=console.colour, unicode=console.unicode, reasons=reasons
    )
    console.say("\n" + drawn.rstrip("\n") + "\n")


def spell(trace: Trace, form: str) -> str | bytes:
    """The trace in that form; pixels are bytes."""
    if form == "chrome":
        from coldstart_sdk.trace import chrome  # noqa: PLC0415 - one form of several

        return chrome.to_json(trace)
    if form == "svg":
        from coldstart_sdk.trace import svg  # noqa: PLC0415 - as above

        return svg.render_svg(trace)
    if form == "png":
        from coldstart_sdk.trace import png  # noqa: PLC0415 - as above

        return png.render_png(trace)
    if form == "html":
        return _page(trace)
    if form == "otlp":
        import json  # noqa: PLC0415 - as above

        from coldstart_sdk.trace import otlp  # noqa: PLC0415 - as above

        return json.dumps(otlp.spans(trace), indent=1) + "\n"
    return trace.to_json()


def _page(trace: Trace) -> str:
    """With what could be saved, where it ever was ready."""
    from coldstart_sdk.cli.explain import as_data  # noqa: PLC0415 - as above
    from coldstart_sdk.explain.evidence import Evidence  # noqa: PLC0415 - as above
    from coldstart_sdk.explain.explain import explain  # noqa: PLC0415 - as above
    from coldstart_sdk.trace import html  # noqa: PLC0415 - as above

    if trace.anchors.ready_s is None:
        return html.render(trace)
    return html.render(trace, explained=as_data(explain(Evidence(trace=trace))))


def form_of(name: str) -> str:
    """Told from a file's name."""
    if name.endswith(".chrome.json"):
        return "chrome"
    if name.endswith(".otlp.json"):
        return "otlp"
    return next((form for form in ("svg", "png", "html") if name.endswith(f".{form}")), "json")


def _fresh(folder: Path, name: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    stem = f"{re.sub(r'[^A-Za-z0-9_.-]', '-', name)}-{time.strftime('%Y%m%dT%H%M%S')}"
    for number in itertools.count():
        path = folder / f"{stem}{f'-{number}' if number else ''}.trace.json"
        with contextlib.suppress(FileExistsError):
            path.touch(exist_ok=False)
            return path
    raise AssertionError  # `count` does not end


def _prune(folder: Path) -> None:
    traces = sorted(folder.glob("*.trace.json"), key=lambda path: path.stat().st_mtime_ns)
    for path in traces[:-KEPT]:
        path.unlink(missing_ok=True)
