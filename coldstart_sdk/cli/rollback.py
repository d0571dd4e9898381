"""`coldstart rollback`: bring an earlier release back."""

from __future__ import annotations

import click

from coldstart_sdk.cli import live
from coldstart_sdk.cli.console import Console
from coldstart_sdk.cli.verb import home_option, target_option, verb
from coldstart_sdk.errors import PlatformError


@verb(
    "rollback",
    ("coldstart rollback app.py --target runpod", "to the release before the one that is live"),
    ("coldstart rollback voice 3 --target runpod --json", "to one of `coldstart history`"),
)
@live.model_argument
@click.argument("release", required=False)
@target_option()
@home_option
def command(
    console: Console, *, model: str, release: str | None, target: str | None, home: str | None
) -> None:
    """Make an earlier release live again; without RELEASE the one before the latest."""
    found = live.find(model, target, "rollback", home)
    told = found.platform.rollback(found.app, release or _before(found))
    if console.json:
        console.result_json(dict(told))
        return
    console.result(console.table((name, str(value)) for name, value in told.items()))


def _before(found: live.Live) -> str:
    """The latest release but one, by whatever name the platform gives it."""
    releases = found.platform.history(found.app)
    if len(releases) < 2:  # noqa: PLR2004 - the live one, and one to go back to
        raise PlatformError(
            f"{found.app} has no earlier release", fix=f"coldstart delete {found.app} takes it down."
        )
    earlier = releases[1]
    return str(earlier.get("release") or earlier.get("version"))
