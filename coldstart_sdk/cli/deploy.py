"""`coldstart deploy`: build the bundle and hand it to the platform."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from coldstart_sdk import bundle, plugins
from coldstart_sdk.cli import foreseen, inputs, live
from coldstart_sdk.cli.build import compiled, shown
from coldstart_sdk.cli.console import Console
from coldstart_sdk.cli.prepare import Asked, Prepared, prepare_elsewhere
from coldstart_sdk.cli.quiet import quietly
from coldstart_sdk.cli.verb import (
    file_argument,
    home_option,
    out_option,
    settings_options,
    target_option,
    verb,
)
from coldstart_sdk.errors import PluginError
from coldstart_sdk.plugins import Preview


@verb(
    "deploy",
    ("coldstart deploy app.py --target modal", "build into build/modal/, then deploy it"),
    ("coldstart deploy app.py --target runpod --dry-run", "only say what would change"),
    ("coldstart deploy app.py --target runpod --yes --json", "ask nothing, for a script"),
)
@file_argument
@click.option("--dry-run", is_flag=True, help="Only say what would change on the platform.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@target_option()
@out_option
@settings_options
@home_option
def command(
    console: Console, *, file: str, dry_run: bool, yes: bool, out: str | None, **said: str | None
) -> None:
    """Build the bundle and hand it to the platform, under the name of the declaration.

    Where the platform can say what that changes, it is shown, and done once you agree.
    """
    prepared = prepare_elsewhere(Asked(file=file, **said))
    backend = plugins.backend(prepared.plan.backend)
    platform = plugins.platform(backend)
    preview = plugins.preview(backend)
    made, folder = compiled(prepared, out)
    bundle.write(made, folder)
    console.did("build", f"{shown(folder)} was written")
    foreseen.show(tuple(foreseen.of_plan(prepared)), console)
    if dry_run and preview is None:
        raise PluginError(
            f"the backend {backend.name!r} cannot say what a deploy would change",
            fix="Leave --dry-run out, and read the bundle instead.",
            where=str(folder),
        )
    if preview and not _wanted(preview, prepared, folder, console, dry_run=dry_run, yes=yes):
        return
    with quietly(wanted=console.quiet):
        answer = platform.deploy(prepared.plan, folder)
    if console.json:
        console.result_json(dict(answer))
        return
    told = {"changed"} if preview else set()  # what is shown before the question is not shown again
    console.result(console.table(live.rows({key: value for key, value in answer.items() if key not in told})))
    words = inputs.first_call(prepared.plan.spec, file).replace("coldstart run", "coldstart invoke", 1)
    console.next(f"{words} --target {shlex.quote(backend.name)}")


def _wanted(  # noqa: PLR0913 - one name for each option
    preview: Preview, prepared: Prepared, folder: Path, console: Console, *, dry_run: bool, yes: bool
) -> bool:
    """Show what would change; whether it shall be done."""
    changes = preview.changes(prepared.plan, folder)
    for line in changes:
        console.say(f"  {line}")
    if not dry_run and (not changes or live.agreed(f"Change {prepared.plan.spec.name} so?", yes=yes)):
        return True
    did = "would change" if changes else "nothing to change"
    did = did if dry_run else "left as it is"
    if console.json:
        console.result_json({"did": did, "changed": list(changes)})
    else:
        console.did(prepared.plan.spec.name, did)
    return False
