"""What will go wrong with a declaration on a platform, though it can be built; nothing is run to know it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from coldstart_sdk import plugins
from coldstart_sdk.cli.console import BOLD, YELLOW, Console
from coldstart_sdk.cli.prepare import Asked, Prepared, named_target, prepare
from coldstart_sdk.errors import Problem
from coldstart_sdk.spec import Snapshot, Spec


@dataclass(frozen=True, kw_only=True)
class Warned:
    """One thing, on one platform."""

    target: str
    problem: Problem


def of(asked: Asked, spec: Spec) -> tuple[Warned, ...]:
    """On the platform that was named; without one, wherever the snapshot that is declared can be taken."""
    named = named_target(asked)
    targets = (named,) if named else tuple(_snapshotting(asked, spec))
    return tuple(warned for target in targets for warned in of_plan(prepare(replace(asked, target=target))))


def of_plan(prepared: Prepared) -> Iterator[Warned]:
    backend = plugins.backend(prepared.plan.backend)
    if isinstance(backend, plugins.Lint):
        for problem in backend.lint(prepared.plan, prepared.project):
            yield Warned(target=backend.name, problem=problem)


def show(warned: tuple[Warned, ...], console: Console) -> None:
    for each in warned:
        parts = {
            "warn:": f"on {each.target}, {each.problem.message}",
            "at:": each.problem.where or each.target,
            "fix:": each.problem.fix,
        }
        for label, text in parts.items():
            style = YELLOW if label == "warn:" else BOLD
            console.insist(console.painted(f"{label:<7}", style) + text)
        console.insist("")


def as_data(warned: tuple[Warned, ...]) -> list[Mapping[str, str | None]]:
    return [
        {
            "target": each.target,
            "message": each.problem.message,
            "where": each.problem.where,
            "fix": each.problem.fix,
        }
        for each in warned
    ]


def _snapshotting(asked: Asked, spec: Spec) -> Iterator[str]:
    wanted = Snapshot(asked.snapshot) if asked.snapshot else spec.snapshot
    if wanted in {Snapshot.NONE, Snapshot.AUTO}:
        return
    for found in plugins.found():
        if found.problem is None and wanted in plugins.backend(found.name).capabilities.snapshots:
            yield found.name
