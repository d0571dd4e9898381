"""Start once, and see what load downloads by itself.

It finds every library's cache empty but for what is declared. Nothing is patched: what lies there afterwards
was fetched, by whatever means.
"""

from __future__ import annotations

import glob
import re
import shutil
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from coldstart_sdk.backends.local import messages
from coldstart_sdk.cli.prepare import Prepared
from coldstart_sdk.cli.start import failure, interruptible, start
from coldstart_sdk.cli.story import Story
from coldstart_sdk.errors import LifecycleError
from coldstart_sdk.events import State, StateChanged
from coldstart_sdk.plan import StepKind
from coldstart_sdk.spec import Origin, WeightSpec
from coldstart_sdk.storage import blobs, hub_cache
from coldstart_sdk.storage.clearing import OBSERVING
from coldstart_sdk.storage.home import Home

_SHARED = ("blobs", "manifests", "refs", "partial", "seen", "stamps", "suspects", "uploads")
_COMMIT, _SHA256 = re.compile(r"[0-9a-f]{40}"), re.compile(r"[0-9a-f]{64}")
_NOT_NEEDED = {StepKind.WARMUP.value, StepKind.BACKGROUND.value}


@dataclass(frozen=True, kw_only=True)
class Observed:
    """What a load fetched that nobody declared."""

    weights: Mapping[str, WeightSpec]
    """Sets of the hub, pinned to the commit and the files that were fetched."""
    others: tuple[str, ...]
    """Files whose origin is not known, by their path in a library's cache."""


def observe(prepared: Prepared, story: Story) -> Observed:
    home = Home.open(prepared.home)
    with _bare(home) as bare:
        _run(replace(prepared, home=bare), story)
        sets = dict(_sets(bare / hub_cache.FOLDER, home))
        others = tuple(str(file.relative_to(bare)) for file in _files(bare / "torch"))
        _keep(bare / hub_cache.FOLDER, home)
    return Observed(weights=sets, others=others)


@contextmanager
def _bare(home: Home) -> Iterator[Path]:
    """A home with our files, and no library's."""
    bare = Path(tempfile.mkdtemp(prefix=OBSERVING, dir=home.root))
    try:
        for room in _SHARED:
            (bare / room).symlink_to(home.root / room)
        yield bare
    finally:
        shutil.rmtree(bare, ignore_errors=True)


def _run(prepared: Prepared, story: Story) -> None:
    """From nothing to READY, without what only requests need."""
    kinds = {step.kind.value for step in prepared.plan.steps}
    env = {
        "HF_HUB_CACHE": str(prepared.home / hub_cache.FOLDER),
        "HF_HUB_OFFLINE": "0",
        "TRANSFORMERS_OFFLINE": "0",
        "TORCH_HOME": str(prepared.home / "torch"),
        "COLDSTART_SKIP": ",".join(sorted(kinds & _NOT_NEEDED)),
    }
    started = start(prepared, env=env)

    def heard(report: messages.Report) -> None:
        if not isinstance(report, messages.Answered | messages.Chunk | messages.Refused | messages.Waiting):
            story(report)
        if isinstance(report, StateChanged) and report.state is State.READY:
            started.worker.release()

    with interruptible(started) as interrupted:
        started.follow(heard)
    if interrupted.signal is not None:
        raise KeyboardInterrupt
    if error := failure(started):
        raise error
    if not started.is_ready:
        raise LifecycleError("the worker ended before it was ready", fix="Look at the log above.")


def _sets(hub: Path, home: Home) -> Iterator[tuple[str, WeightSpec]]:
    """What lies in the hub's cache that we did not put there."""
    ours = {file.stat().st_ino for file in (home.root / "blobs" / "sha256").iterdir()}
    for snapshot in sorted(hub.glob("models--*/snapshots/*")):
        paths = sorted(
            file.relative_to(snapshot).as_posix()
            for file in _files(snapshot)
            if file.stat().st_ino not in ours
        )
        if paths and _COMMIT.fullmatch(snapshot.name):
            name = snapshot.parents[1].name.removeprefix("models--")
            yield (
                name,
                WeightSpec(
                    origin=Origin.HF,
                    source=name.replace("--", "/", 1),
                    revision=snapshot.name,
                    include=tuple(glob.escape(path) for path in paths),
                ),
            )


def _keep(hub: Path, home: Home) -> None:
    """Take over what was fetched, where its name is its digest: it need not be fetched again."""
    for blob in hub.glob("models--*/blobs/*"):
        digest = f"sha256:{blob.name}"
        if not _SHA256.fullmatch(blob.name) or blob.is_symlink() or home.blob(digest).exists():
            continue
        if blobs.digest_of_file(blob, threading.Event()) == digest:
            blobs.publish(home, blob, digest)


def _files(folder: Path) -> Iterator[Path]:
    yield from (file for file in folder.rglob("*") if file.is_file())
