"""`coldstart deploy`: build the bundle and hand it to the platform."""

from __future__ import annotations

from coldstart_sdk import bundle, plugins
from coldstart_sdk.cli.build import compiled, shown
from coldstart_sdk.cli.console import Console
from coldstart_sdk.cli.prepare import Asked, prepare
from coldstart_sdk.cli.verb import (
    file_argument,
    home_option,
    out_option,
    settings_options,
    target_option,
    verb,
)


@verb(
    "deploy",
    ("coldstart deploy app.py --target modal", "build into build/modal/, then deploy it"),
    ("coldstart deploy app.py --target runpod --json", "what the platform said, for a script"),
)
@file_argument
@target_option(required=True)
@out_option
@settings_options
@home_option
def command(console: Console, *, file: str, out: str | None, **said: str | None) -> None:
    """Build the bundle and hand it to the platform, under the name of the declaration."""
    prepared = prepare(Asked(file=file, **said))
    platform = plugins.platform(plugins.backend(prepared.plan.backend))
    made, folder = compiled(prepared, out)
    bundle.write(made, folder)
    console.did("build", f"{shown(folder)} was written")
    answer = platform.deploy(prepared.plan, folder)
    if console.json:
        console.result_json(dict(answer))
        return
    console.result(console.table((key, str(value)) for key, value in answer.items()))
