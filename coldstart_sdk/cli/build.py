"""`coldstart build`: write the bundle for one platform."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from coldstart_sdk import bundle, plugins
from coldstart_sdk.bundle import Bundle
from coldstart_sdk.cli.console import Console
from coldstart_sdk.cli.prepare import Asked, Prepared, prepare
from coldstart_sdk.cli.verb import (
    file_argument,
    home_option,
    out_option,
    settings_options,
    target_option,
    verb,
)
from coldstart_sdk.errors import UsageError


@verb(
    "build",
    ("coldstart build app.py --target modal", "into build/modal/ beside the declaration"),
    ("coldstart build app.py --target runpod --out image", "into a folder of your choice"),
    ("coldstart build app.py --target runpod --pin", "and write down the digest of the base image first"),
    ("coldstart build app.py --target runpod --check", "write nothing; exit code 4 when the bundle is stale"),
)
@file_argument
@target_option()
@out_option
@click.option("--check", is_flag=True, help="Only say whether the folder holds this very bundle.")
@click.option(
    "--pin", is_flag=True, help="Ask the registry which image the base is now; keep it in base.lock."
)
@settings_options
@home_option
def command(
    console: Console, *, file: str, out: str | None, check: bool, pin: bool, **said: str | None
) -> None:
    """Write everything that the platform needs into a folder; its own tools can run what is there."""
    prepared = prepare(Asked(file=file, **said))
    if pin:
        _pin(prepared, console, check=check)
    made, folder = compiled(prepared, out)
    if check:
        bundle.check(made, folder)
        written: tuple[Path, ...] = ()
        console.did("build", f"{shown(folder)} was up to date")
    else:
        written = bundle.write(made, folder)
    if console.json:
        console.result_json(
            {
                "target": made.target,
                "out": str(folder),
                "files": [str(path) for path in written],
                "stale": False,
            }
        )
        return
    for path in written:
        console.result(f"wrote   {shown(path)}\n")
    target = prepared.plan.backend
    offers = plugins.verbs(plugins.backend(target))
    if target == "local":
        console.next(f"sh {shlex.quote(shown(folder))}/run.sh")
    elif verb_ := next((verb for verb in ("deploy", "rehearse") if verb in offers), None):
        console.next(f"coldstart {verb_} {shlex.quote(file)} --target {target}")


def _pin(prepared: Prepared, console: Console, *, check: bool) -> None:
    if check:
        raise UsageError("--check changes nothing, and --pin would", fix="Leave one of them out.")
    pinned = plugins.pinning(plugins.backend(prepared.plan.backend)).pin(prepared.plan, prepared.project)
    console.did("base", f"pinned in {shown(pinned)}")


def compiled(prepared: Prepared, out: str | None) -> tuple[Bundle, Path]:
    """The bundle, and the folder that it belongs in."""
    compiler = plugins.compiler(plugins.backend(prepared.plan.backend))
    return compiler.compile(prepared.plan, prepared.project), folder_of(prepared, out)


def folder_of(prepared: Prepared, out: str | None) -> Path:
    return Path(out) if out else prepared.project / "build" / prepared.plan.backend


def shown(path: Path) -> str:
    """The path as a user would type it."""
    try:
        return path.resolve().relative_to(Path.cwd()).as_posix()
    except ValueError:
        return str(path)
