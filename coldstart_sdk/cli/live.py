"""From a name, or the declaration that has it, to what is live under it and who looks after that."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click

from coldstart_sdk import entry, plugins
from coldstart_sdk.cli import prepare, settings
from coldstart_sdk.cli.verb import complete_file
from coldstart_sdk.errors import UsageError
from coldstart_sdk.plugins import Platform
from coldstart_sdk.spec import Spec

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, kw_only=True)
class Live:
    """One deployed declaration."""

    app: str
    target: str
    platform: Platform
    spec: Spec | None
    """What was declared, where a file was named."""


def find(model: str, target: str | None, verb: str, home: str | None) -> Live:
    """`model` is a declaration's file, a path to its folder, or the name that it was deployed under."""
    is_file = "." in model or "/" in model  # a name has neither
    said = settings.of_project(entry.folder_of(model) if is_file else Path.cwd())
    name = target or settings.of_environment(os.environ).target or said.target
    if name is None:
        raise prepare.no_platform()
    platform = plugins.platform(plugins.backend(name), verb)
    spec = prepare.spec_of(model, settings.home(home, os.environ, said)) if is_file else None
    return Live(app=spec.name if spec else model, target=name, platform=platform, spec=spec)


def model_argument(function: F) -> F:
    """FILE[:CLASS], or a name."""
    return click.argument("model", metavar="NAME|FILE[:CLASS]", shell_complete=complete_file)(function)


def rows(told: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What a platform has to say of a change, a line for each thing."""
    for name, value in told.items():
        for each in value if isinstance(value, list | tuple) else [value]:
            if each is not None:
                yield name, str(each)


def agreed(question: str, *, yes: bool) -> bool:
    """What a person says; whoever cannot be asked has to say it beforehand."""
    if yes:
        return True
    if not sys.stdin.isatty():
        raise UsageError("nobody is here to be asked", fix="Add --yes to do it without a question.")
    return click.confirm(question, err=True)
