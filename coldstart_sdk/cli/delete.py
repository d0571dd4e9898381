"""`coldstart delete`: take down what is live."""

from __future__ import annotations

import click

from coldstart_sdk.cli import live
from coldstart_sdk.cli.console import Console
from coldstart_sdk.cli.verb import home_option, target_option, verb


@verb(
    "delete",
    ("coldstart delete app.py --target runpod", "asks first"),
    ("coldstart delete voice --target modal --yes", "asks nothing"),
)
@live.model_argument
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@target_option()
@home_option
def command(console: Console, *, model: str, yes: bool, target: str | None, home: str | None) -> None:
    """Take down what is live under a name, with what waits in its queue. A volume stays."""
    found = live.find(model, target, "delete", home)
    is_gone = live.agreed(f"Delete {found.app} on {found.target} for good?", yes=yes)
    if is_gone:
        found.platform.delete(found.app)
    if console.json:
        console.result_json({"app": found.app, "deleted": is_gone})
    elif is_gone:
        console.did(found.app, f"was deleted on {found.target}")
    else:
        console.did(found.app, "was left as it is")
