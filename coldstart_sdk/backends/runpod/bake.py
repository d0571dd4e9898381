"""Fetch weights while an image is built: its stage runs this and nothing else.

What is baked is pinned, by the lock or to what was found: a worker that starts with it asks no origin. Tokens
are files below /run/secrets that one command of the build sees.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

from coldstart_sdk import record
from coldstart_sdk.backends.runpod import pins
from coldstart_sdk.errors import ColdstartError
from coldstart_sdk.events import Event, Noted, StepEnded, TierTried
from coldstart_sdk.manifest import Manifest
from coldstart_sdk.spec import Origin, WeightSpec
from coldstart_sdk.storage import blobs, locks, manifests
from coldstart_sdk.storage.home import Home
from coldstart_sdk.storage.sync import ref_of, sync

SECRETS = Path("/run/secrets")


def main(declared: Path, home: Path) -> NoReturn:
    """Bake, and end; an error in three lines, as everywhere."""
    try:
        bake(declared, home)
    except ColdstartError as error:
        sys.stderr.write(f"error: {error.message}\nat:    {error.where}\nfix:   {error.fix}\n")
        sys.exit(error.exit_code)
    sys.exit(0)


def bake(declared: Path, home: Path, *, secrets: Path = SECRETS) -> None:
    """Bring every weight of the file into `home`, and note what each one was pinned to."""
    _take_tokens(secrets)
    weights = record.from_data(dict[str, WeightSpec], json.loads(declared.read_text()))
    lock = locks.of_project(declared.parent)
    pinned = {
        name: _fetched(name, weight, home, locks.manifest_of(lock, name, weight))
        for name, weight in weights.items()
    }
    blobs.settle(Home(home))
    _link_by_name(home)
    pins.write(home, pinned)


def _fetched(name: str, weight: WeightSpec, home: Path, locked: Manifest | None) -> WeightSpec:
    """The weight, here, and as a declaration that can only mean these bytes, where its origin has such."""
    _sync(name, weight, home, locked)
    if locked is not None:  # the lock goes with the code, and says more than a revision
        return weight
    manifest = manifests.read_ref(Home.open(home), ref_of(weight, home))
    if manifest is None:
        return weight
    match weight.origin:
        case Origin.HF:
            pinned = replace(weight, revision=manifest.revision)
        case Origin.URL:
            pinned = replace(weight, sha256=manifest.files[0].digest.removeprefix("sha256:"))
        case _:
            return weight
    _sync(name, pinned, home)
    return pinned


def _sync(name: str, weight: WeightSpec, home: Path, locked: Manifest | None = None) -> None:
    sync(
        name,
        weight,
        home=home,
        project=home,
        step=f"fetch:{name}",
        emit=_say,
        cancelled=threading.Event(),
        locked=locked,
        alone=True,
    )


def _link_by_name(home: Path) -> None:
    """A second name for the same file would be copied as a second file; a link by name is copied as one."""
    known = {blob.name: blob for blob in (home / "blobs").rglob("*") if blob.is_file()}
    inodes = {blob.stat().st_ino: blob for blob in known.values()}
    for file in [file for file in (home / "views").rglob("*") if file.is_file() and not file.is_symlink()]:
        # A blob that was brought a second time is another file with the same bytes.
        blob = inodes.get(file.stat().st_ino) or known.get(_digest(file))
        if blob is not None:
            file.unlink()
            file.symlink_to(blob.absolute())


def _digest(file: Path) -> str:
    seen = hashlib.sha256()
    with file.open("rb") as content:
        while piece := content.read(1 << 20):
            seen.update(piece)
    return seen.hexdigest()


def _take_tokens(secrets: Path) -> None:
    for file in sorted(secrets.glob("*")) if secrets.is_dir() else ():
        if file.is_file() and (value := file.read_text().strip()):
            os.environ[file.name] = value


def _say(event: Event) -> None:
    match event:
        case TierTried(hit=True):
            sys.stdout.write(f"{event.step}  from {event.tier}\n")
        case StepEnded() | Noted():
            sys.stdout.write(f"{event}\n")
        case _:
            pass
