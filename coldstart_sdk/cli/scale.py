"""`coldstart scale`: how many workers there may be."""

from __future__ import annotations

import click

from coldstart_sdk.cli import live
from coldstart_sdk.cli.console import Console
from coldstart_sdk.cli.verb import home_option, target_option, verb
from coldstart_sdk.errors import UsageError


@verb(
    "scale",
    ("coldstart scale app.py --min 1 --max 5 --target runpod", "one worker always, at most five"),
    ("coldstart scale voice --min 0 --max 0 --target modal", "none until it is scaled again"),
)
@live.model_argument
@click.option("--min", "least", type=click.IntRange(min=0), required=True, help="Workers that are always up.")
@click.option("--max", "most", type=click.IntRange(min=0), required=True, help="Workers at most.")
@target_option()
@home_option
def command(  # noqa: PLR0913 - one name for each option
    console: Console, *, model: str, least: int, most: int, target: str | None, home: str | None
) -> None:
    """Change how many workers there may be, at once; the next deploy goes by the declaration again."""
    if least > most:
        raise UsageError(f"--min {least} is more than --max {most}", fix=f"Write --max {least}, or more.")
    found = live.find(model, target, "scale", home)
    told = found.platform.scale(found.app, least=least, most=most)
    if console.json:
        console.result_json(dict(told))
        return
    console.result(console.table(live.rows(told)))
