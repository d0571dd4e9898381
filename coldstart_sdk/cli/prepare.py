"""From FILE[:CLASS] and all that is set beside it to a plan.

Reading a declaration imports the user's file. `spec_of` therefore keeps what it read for as long as nothing
that it came from has changed.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from coldstart_sdk import entry, record
from coldstart_sdk.cli import settings, watched
from coldstart_sdk.cli.settings import Settings
from coldstart_sdk.cli.watched import Watched
from coldstart_sdk.errors import PlanError, UsageError
from coldstart_sdk.plan import Plan
from coldstart_sdk.spec import Snapshot, Spec
from coldstart_sdk.storage import locks


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What the command line says about a plan; None: nothing."""

    file: str
    target: str | None = None
    store: str | None = None
    snapshot: str | None = None
    home: str | None = None


@dataclass(frozen=True, kw_only=True)
class Prepared:
    plan: Plan
    project: Path
    home: Path
    settings: Settings
    """What the project's pyproject.toml says."""


def prepare(asked: Asked, *, observed: bool = True) -> Prepared:
    """The plan of one target, whatever it takes to make it.

    What the lock says that load was seen to fetch belongs to the weights, unless not `observed`.
    """
    project = entry.folder_of(asked.file)
    said = settings.of_project(project)
    home = settings.home(asked.home, os.environ, said)
    target = named_target(asked) or "local"
    spec = spec_of(asked.file, home)
    if observed:
        spec = replace(spec, weights=locks.with_observed(spec.weights, locks.of_project(project)))
    return Prepared(plan=_plan(spec, target, asked, said, project), project=project, home=home, settings=said)


def prepare_elsewhere(asked: Asked) -> Prepared:
    """The plan of the platform that was named: where another one is meant, this machine is no default."""
    if named_target(asked) is None:
        raise no_platform()
    return prepare(asked)


def no_platform() -> UsageError:
    return UsageError("no platform is named", fix="Add --target runpod, or --target modal.")


def named_target(asked: Asked) -> str | None:
    """The one that the command line, the environment or the project names, in this order."""
    project = entry.folder_of(asked.file)
    said = (settings.of_environment(os.environ), settings.of_project(project))
    return asked.target or next((each.target for each in said if each.target), None)


def prepare_here(asked: Asked, *, observed: bool = True) -> Prepared:
    """The plan of a start on this machine; what was asked for and cannot be had here is no silent `none`."""
    prepared = prepare(asked, observed=observed)
    if asked.snapshot not in {None, Snapshot.AUTO.value, prepared.plan.snapshot.value}:
        raise PlanError(
            f"here are no memory snapshots, and --snapshot {asked.snapshot} asks for one",
            where="--snapshot",
            fix=f"Leave it out, or look elsewhere: coldstart plan FILE -t modal --snapshot {asked.snapshot}.",
        )
    return prepared


def spec_of(reference: str, home: Path) -> Spec:
    """The declaration as data, read again only where something that it came from has changed."""
    path, name = entry.parse(reference)
    kept = home / "specs" / f"{_digest(f'{path.resolve()}:{name or str()}')}.json"
    if (known := _kept(kept)) is not None:
        return known
    with watched.recording(path.resolve().parent) as seen:
        spec = read(reference)
    if (came_from := seen.watched()) is not None:
        _keep(_Kept(spec=spec, came_from=came_from), kept)
    return spec


def read(reference: str) -> Spec:
    """The declaration as data; what its file prints while it is imported is no result of ours."""
    from coldstart_sdk.declare import read as declare  # noqa: PLC0415 - brings pydantic; a kept spec needs none

    with contextlib.redirect_stdout(sys.stderr):
        return declare.read_file(reference)


@dataclass(frozen=True, kw_only=True)
class _Kept:
    format: ClassVar[int] = 1
    spec: Spec
    came_from: Watched


def _kept(path: Path) -> Spec | None:
    try:
        kept = record.from_data(_Kept, json.loads(path.read_bytes()))
    except (OSError, ValueError):
        return None
    return kept.spec if kept.came_from.is_fresh() else None


def _keep(kept: _Kept, path: Path) -> None:
    """Best effort: without it the next start reads again."""
    with contextlib.suppress(OSError):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False, encoding="utf-8") as scratch:
            json.dump(record.to_data(kept), scratch)
        Path(scratch.name).replace(path)


def _plan(spec: Spec, target: str, asked: Asked, said: Settings, project: Path) -> Plan:
    from coldstart_sdk import __version__, planner, plugins  # noqa: PLC0415 - a bad FILE is told without them

    backend = plugins.backend(target)
    plan = planner.plan(
        spec,
        target,
        backend.capabilities,
        store=settings.store(asked.store, os.environ, spec.store, said),
        snapshot=settings.snapshot(asked.snapshot, os.environ, spec.snapshot, said),
        sdk=__version__,
    )
    return replace(plan, notes=(*plan.notes, *plugins.notes(backend, plan, project)))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()
