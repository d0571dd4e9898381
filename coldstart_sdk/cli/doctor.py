"""`coldstart doctor`: look at this machine, and say what will go wrong before it does."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import click
from click.exceptions import Exit

from coldstart_sdk import entry
from coldstart_sdk.cli import settings
from coldstart_sdk.cli.console import GREEN, RED, YELLOW, Console
from coldstart_sdk.cli.findings import Finding, Level, ok, problem
from coldstart_sdk.cli.verb import complete_file, verb
from coldstart_sdk.errors import ColdstartError, LifecycleError, UsageError
from coldstart_sdk.spec import Spec

_STYLES = {Level.OK: GREEN, Level.WARN: YELLOW, Level.PROBLEM: RED}


@verb(
    "doctor",
    ("coldstart doctor", "this machine"),
    ("coldstart doctor app.py", "and whether the origins of its weights can be reached"),
    ("coldstart doctor app.py --json", "for a script; exit code 6 when there is a problem"),
    ("coldstart doctor s3://bucket/models", "what that store can do with the credentials that are here"),
    ("coldstart doctor s3", "the same for the store that COLDSTART_STORE or S3_BUCKET names"),
)
@click.argument("file", required=False, metavar="[FILE[:CLASS]|s3://…]", shell_complete=complete_file)
@click.option(
    "--policy",
    type=click.Choice(["reader", "writer"]),
    help="Print the least that a worker must be allowed in that store, and do nothing.",
)
def command(console: Console, file: str | None, policy: str | None) -> None:
    """Look at Python, torch, CUDA, disk, memory, limits, credentials, proxies and the network.

    Of a credential only its name is shown. Exits with 0 unless there is a problem.
    """
    if policy is not None:
        from coldstart_sdk.cli import probe  # noqa: PLC0415 - only where a store is asked for

        console.result(json.dumps(probe.policy(_store(file), policy), indent=2) + "\n")
        return
    findings: list[Finding] = []
    for finding in _findings(file):
        findings.append(finding)
        if not console.json:
            _show(finding, console)
    problems = [finding for finding in findings if finding.level is Level.PROBLEM]
    if console.json:
        console.result_json({"ok": not problems, "findings": findings})
    else:
        warnings = sum(finding.level is Level.WARN for finding in findings)
        console.say(f"{_count(len(problems), 'problem')}, {_count(warnings, 'warning')}")
    if problems:
        raise Exit(LifecycleError.exit_code)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _findings(file: str | None) -> Iterator[Finding]:
    if file == "s3" or (file or "").startswith("s3://"):
        from coldstart_sdk.cli import probe  # noqa: PLC0415 - `--help` does without it

        yield from probe.s3(_store(file))
        return
    from coldstart_sdk.cli import examine  # noqa: PLC0415 - as above

    spec: Spec | None = None
    said = settings.Settings()
    try:
        project = entry.folder_of(file) if file else Path.cwd()
        said = settings.of_project(project)
        if file is not None:
            from coldstart_sdk.cli import prepare  # noqa: PLC0415 - as above

            spec = prepare.read(file)
            yield ok("declaration", f"{spec.qualname} is sound")
    except ColdstartError as error:
        for each in error.problems:
            where = f" ({each.where})" if each.where else ""
            yield problem("declaration", f"{each.message}{where}", fix=each.fix)
    yield from examine.everything(spec, said)
    if spec is not None:
        from coldstart_sdk.cli import reach  # noqa: PLC0415 - as above

        yield from reach.hosts(spec)


def _store(file: str | None) -> str:
    """The address that was given, or that is set."""
    if file and file.startswith("s3://"):
        return file
    named = settings.store(None, os.environ, None, settings.of_project(Path.cwd()))
    if named is None or not named.startswith("s3://"):
        raise UsageError("no store on S3 is set", fix="Name it: coldstart doctor s3://bucket/prefix")
    return named


def _show(finding: Finding, console: Console) -> None:
    level = f"{finding.level.value:<8}"
    if console.colour_out:
        level = console.painted(level, _STYLES[finding.level])
    console.result(f"{level} {finding.about:<12} {finding.said}\n")
    if finding.fix:
        console.result(f"{'':<8} {'fix:':<12} {finding.fix}\n")
