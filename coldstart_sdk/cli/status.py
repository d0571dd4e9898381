"""`coldstart status`: what is live, and how its workers are."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from coldstart_sdk.cli import live
from coldstart_sdk.cli.console import Console
from coldstart_sdk.cli.verb import home_option, target_option, verb


@verb(
    "status",
    ("coldstart status app.py --target runpod", "workers, queue and rollout of what app.py declares"),
    ("coldstart status voice --target modal --json", "by its name, for a script"),
)
@live.model_argument
@target_option()
@home_option
def command(console: Console, *, model: str, target: str | None, home: str | None) -> None:
    """Show what is live under a name: its workers and their states, its queue, its rollout."""
    found = live.find(model, target, "status", home)
    told = found.platform.status(found.app)
    if console.json:
        console.result_json(dict(told))
        return
    console.result(console.table((name, text) for name, text in _lines(told) if text))
    if workers := _workers(told):
        console.result(f"\n{console.table(workers[1:], heads=workers[0])}")


def _lines(told: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What is one value stands in one line; a mapping names its values in it."""
    for name, value in told.items():
        if isinstance(value, Mapping):
            yield name, ", ".join(f"{key} {_short(each)}" for key, each in value.items() if each is not None)
        elif not isinstance(value, list | tuple) and value is not None:
            yield name, str(value)


def _workers(told: Mapping[str, Any]) -> list[tuple[str, ...]]:
    workers = told.get("workers")
    if not isinstance(workers, list) or not workers:
        return []
    columns = list(workers[0])
    rows = [
        tuple("-" if row.get(column) is None else _short(row[column]) for column in columns)
        for row in workers
    ]
    return [tuple(column.upper() for column in columns), *rows]


def _short(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)
