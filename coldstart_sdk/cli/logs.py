"""`coldstart logs`: what the workers say."""

from __future__ import annotations

import click

from coldstart_sdk.cli import live
from coldstart_sdk.cli.console import Console
from coldstart_sdk.cli.verb import home_option, target_option, verb


@verb(
    "logs",
    ("coldstart logs app.py --target runpod", "what its workers have said so far"),
    ("coldstart logs voice --target runpod --follow", "and what they say from now on"),
)
@live.model_argument
@click.option("--follow", "-f", is_flag=True, help="Go on with what is said from now on; Ctrl-C ends it.")
@target_option()
@home_option
def command(console: Console, *, model: str, target: str | None, follow: bool, home: str | None) -> None:
    """Print what the workers of a deployed declaration say, line by line."""
    found = live.find(model, target, "logs", home)
    lines = 0
    for line in found.platform.logs(found.app, follow=follow):
        lines += 1
        console.result_json({"line": line}) if console.json else console.result(f"{line}\n")
    if not lines:
        console.say("nothing was said; a platform lists no worker that was scaled down")
