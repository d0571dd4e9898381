"""`coldstart rehearse`: run the bundle here, under the platform's own worker code."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Mapping
from typing import Any

import click

from coldstart_sdk import bundle, plugins
from coldstart_sdk.cli import answers, inputs
from coldstart_sdk.cli.build import compiled, folder_of
from coldstart_sdk.cli.console import Console
from coldstart_sdk.cli.prepare import Asked, Prepared, prepare_elsewhere
from coldstart_sdk.cli.program import exit_with
from coldstart_sdk.cli.quiet import quietly
from coldstart_sdk.cli.verb import (
    F,
    complete_endpoint,
    file_argument,
    home_option,
    out_option,
    set_option,
    settings_options,
    target_option,
    verb,
)
from coldstart_sdk.errors import LifecycleError, PluginError, UsageError
from coldstart_sdk.spec import Spec

_FLAGS: Mapping[str, tuple[str, str]] = {
    "requests": ("N", "How many of it, one after another."),
    "state": ("NAME", "What the worker finds: empty, warm; runpod: volume, store, baked; modal: restore."),
    "hub": ("DIR", "A folder of org/name/files, served as the Hugging Face hub."),
    "net": ("SPEED", "Of the link to that hub, or to all that is asked: 1Gbit, 100MB/s."),
    "disk": ("SPEED", "Of the worker's disk and volume; needs bindfs."),
    "fault": ("NAME", "What goes wrong; runpod: refused, terminated, cancelled."),
    "image": ("REF", "Run in the root of an image built of this bundle; needs buildah."),
}
"""Option of a rehearsal → its value's name, and what it is for. Which ones a target knows, it says itself."""


def _complete_value(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    try:
        known = plugins.rehearsal_options(plugins.backend(str(ctx.params.get("target"))))
    except PluginError:
        return []
    return [each for each in (known or {}).get(parameter.name or "", ()) if each.startswith(incomplete)]


def _rehearsal_flags(function: F) -> F:
    for name, (metavar, say) in reversed(tuple(_FLAGS.items())):
        function = click.option(f"--{name}", metavar=metavar, help=say, shell_complete=_complete_value)(
            function
        )
    return function


@verb(
    "rehearse",
    ("coldstart rehearse app.py --target runpod", "the platform's own job loop, on loopback"),
    ("coldstart rehearse app.py speak -i text=hi --target modal", "one endpoint, with these arguments"),
    (
        "coldstart rehearse app.py --target runpod --hub models --net 1Gbit --disk 500MB/s",
        "over a link and a disk of that speed, from a hub in a folder of org/name/files",
    ),
    (
        "coldstart rehearse app.py --target runpod --net 1Gbit",
        "from the real hub and store, over such a link",
    ),
    (
        "coldstart rehearse app.py --target runpod --state volume --fault terminated",
        "a volume that an earlier worker has filled; the platform ends the next one in its start",
    ),
)
@file_argument
@click.argument("endpoint", required=False, shell_complete=complete_endpoint)
@click.option(
    "--input",
    "-i",
    "given",
    multiple=True,
    metavar="NAME=VALUE",
    help="One argument of the request, as `run` takes it. May be repeated.",
)
@target_option()
@_rehearsal_flags
@set_option
@out_option
@settings_options
@home_option
def command(  # noqa: PLR0913 - one name for each option
    console: Console,
    *,
    file: str,
    endpoint: str | None,
    given: tuple[str, ...],
    out: str | None,
    pairs: tuple[str, ...],
    **said: str | None,
) -> None:
    """Run the compiled bundle against the platform on loopback: no account is needed.

    Without arguments the request is the one in the bundle's test_input.json. Where no worker answers, the
    exit code is 6; after a --fault it is 0, whatever came of it.
    """
    flags = {name: value for name in _FLAGS if (value := said.pop(name)) is not None}
    prepared = prepare_elsewhere(Asked(file=file, **said))
    options = _together(chosen(pairs), flags, _request(prepared.plan.spec, endpoint, given))
    with quietly(wanted=console.quiet):
        answer = rehearsed(prepared, out, options)
    if console.json:
        console.result_json(dict(answer))
    else:
        console.result(console.table(answers.rows(answer, folder_of(prepared, out) / "rehearsal")))
    if "trace" not in answer and "fault" not in options:
        exit_with(LifecycleError.exit_code)


def rehearsed(prepared: Prepared, out: str | None, options: Mapping[str, Any]) -> Mapping[str, Any]:
    """What came of one rehearsal of the bundle, which is then in its folder."""
    backend = plugins.backend(prepared.plan.backend)
    rehearsal = plugins.rehearsal(backend)
    refuse_unknown(options, plugins.rehearsal_options(backend), prepared.plan.backend)
    made, folder = compiled(prepared, out)
    bundle.write(made, folder)
    return rehearsal.rehearse(prepared.plan, folder, options)


def _request(spec: Spec, endpoint: str | None, given: tuple[str, ...]) -> dict[str, str]:
    """The options that name one request; nothing where none was named."""
    if endpoint is None and not given:
        return {}
    called = inputs.endpoint_of(spec, endpoint)
    return {"endpoint": called.method, "input": json.dumps(dict(inputs.arguments(called, given)))}


def _together(*said: Mapping[str, str]) -> dict[str, str]:
    options: dict[str, str] = {}
    for some in said:
        if twice := options.keys() & some.keys():
            raise UsageError(f"{min(twice)} is said twice", fix="Leave the --set of it out.")
        options |= some
    return options


def refuse_unknown(options: Mapping[str, Any], known: Mapping[str, object] | None, target: str) -> None:
    """An option that this rehearsal does not know; of one that does not say what it knows, all pass."""
    unknown = sorted(options.keys() - known.keys()) if known is not None else []
    if unknown and known is not None:
        near = difflib.get_close_matches(unknown[0], known, n=1)
        guess = f"Did you mean {near[0]}? " if near else ""
        raise UsageError(
            f"a rehearsal on {target} has no option {unknown[0]!r}",
            fix=f"{guess}It takes {', '.join(sorted(known))}.",
            where=f"--{unknown[0]}" if unknown[0] in _FLAGS else f"--set {unknown[0]}=…",
        )


def chosen(pairs: Iterable[str]) -> dict[str, str]:
    """Each `--set NAME=VALUE`."""
    return dict(_pair(pair) for pair in pairs)


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise UsageError(f"--set {text[:40]!r} has no `=`", fix="Write --set name=value.")
    return name, value
