"""`coldstart history`: the releases of what is live."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from coldstart_sdk.cli import live
from coldstart_sdk.cli.console import Console
from coldstart_sdk.cli.verb import home_option, target_option, verb


@verb(
    "history",
    ("coldstart history app.py --target runpod", "each release, the latest first"),
    ("coldstart history voice --target modal --json", "for a script"),
)
@live.model_argument
@target_option()
@home_option
def command(console: Console, *, model: str, target: str | None, home: str | None) -> None:
    """List the releases of a deployed declaration, the latest first."""
    found = live.find(model, target, "history", home)
    releases = found.platform.history(found.app)
    if console.json:
        console.result_json({"releases": [dict(release) for release in releases]})
        return
    columns = list(releases[0]) if releases else []
    rows = [tuple(_cell(release, column) for column in columns) for release in releases]
    console.result(console.table(rows, heads=[column.upper() for column in columns]))
    if len(releases) > 1:
        console.next(f"coldstart rollback {shlex.quote(model)} --target {found.target}")


def _cell(release: Mapping[str, Any], column: str) -> str:
    value = release.get(column)
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or "-"
    return {True: "yes", False: "", None: "-"}.get(value, str(value)) if _is_plain(value) else str(value)


def _is_plain(value: object) -> bool:
    return value is None or isinstance(value, bool)
