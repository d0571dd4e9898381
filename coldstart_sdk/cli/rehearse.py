"""`coldstart rehearse`: run the bundle here, under the platform's own worker code."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from coldstart_sdk import bundle, plugins
from coldstart_sdk.cli import answers
from coldstart_sdk.cli.build import compiled, folder_of
from coldstart_sdk.cli.console import Console
from coldstart_sdk.cli.prepare import Asked, Prepared, prepare
from coldstart_sdk.cli.verb import (
    file_argument,
    home_option,
    out_option,
    set_option,
    settings_options,
    target_option,
    verb,
)
from coldstart_sdk.errors import UsageError


@verb(
    "rehearse",
    ("coldstart rehearse app.py --target runpod", "the platform's own job loop, on loopback"),
    (
        "coldstart rehearse app.py --target modal --set hub=models --set net=100MB/s",
        "over a link of that speed, from a hub in a folder of org/name/files",
    ),
)
@file_argument
@target_option(required=True)
@out_option
@set_option
@settings_options
@home_option
def command(
    console: Console, *, file: str, out: str | None, pairs: tuple[str, ...], **said: str | None
) -> None:
    """Run the compiled bundle against the platform on loopback: no account is needed."""
    options = chosen(pairs)
    prepared = prepare(Asked(file=file, **said))
    answer = rehearsed(prepared, out, options)
    if console.json:
        console.result_json(dict(answer))
        return
    console.result(console.table(answers.rows(answer, folder_of(prepared, out) / "rehearsal")))


def rehearsed(prepared: Prepared, out: str | None, options: Mapping[str, Any]) -> Mapping[str, Any]:
    """What came of one rehearsal of the bundle, which is then in its folder."""
    rehearsal = plugins.rehearsal(plugins.backend(prepared.plan.backend))
    made, folder = compiled(prepared, out)
    bundle.write(made, folder)
    return rehearsal.rehearse(prepared.plan, folder, options)


def chosen(pairs: Iterable[str]) -> dict[str, str]:
    """Each `--set NAME=VALUE`."""
    return dict(_pair(pair) for pair in pairs)


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise UsageError(f"--set {text[:40]!r} has no `=`", fix="Write --set name=value.")
    return name, value
