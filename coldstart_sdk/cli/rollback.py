"""`coldstart rollback`: bring an earlier release back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

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
    """Make an earlier release live again; without RELEASE the one before what is live.

    A release that was already taken back is passed over, unless it is named.
    """
    found = live.find(model, target, "rollback", home)
    told = found.platform.rollback(found.app, release or _before(found))
    if console.json:
        console.result_json(dict(told))
        return
    console.result(console.table(live.rows(told)))


def _before(found: live.Live) -> str:
    """The latest release but one, by whatever name the platform gives it.

    Where an older release was made live again, what came between was not wanted: it is passed over.
    """
    releases = found.platform.history(found.app)
    images = [_image(releases[at:]) for at in range(len(releases))]
    same = max((at for at, image in enumerate(images) if image and image == images[0]), default=0)
    if same + 1 >= len(releases):
        between = ", ".join(_name(release) for release in releases[1:same])
        named = f"Name one that came between: {between}. Or: " if between else ""
        raise PlatformError(
            f"{found.app} has no earlier release", fix=f"{named}coldstart delete {found.app} takes it down."
        )
    return _name(releases[same + 1])


def _image(releases: Sequence[Mapping[str, Any]]) -> str | None:
    """Of the first of them: its own, or that of the one before it; None on a platform that names none."""
    return next((str(release["image"]) for release in releases if release.get("image")), None)


def _name(release: Mapping[str, Any]) -> str:
    return str(release.get("release") or release.get("version"))
