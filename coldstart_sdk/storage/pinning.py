"""Find out what a weight is, to the byte; and what differs between two locks."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from coldstart_sdk.errors import StorageError
from coldstart_sdk.events import Emit
from coldstart_sdk.manifest import CHUNK_BYTES, FileEntry, Lock, Locked, Manifest
from coldstart_sdk.spec import Origin, WeightSpec
from coldstart_sdk.storage import blobs, chunks, locks, manifests
from coldstart_sdk.storage.home import Home
from coldstart_sdk.storage.sync import ref_of, sync


@dataclass(frozen=True, kw_only=True)
class Change:
    """One line of what a lock's new version does to the old one."""

    weight: str
    what: str
    """`added`, `removed`, `revision`, `file added`, `file removed` or `file changed`."""
    before: str | None
    after: str | None


def pinned(  # noqa: PLR0913 - what a sync needs, each by its name
    name: str,
    weight: WeightSpec,
    *,
    home: Path,
    project: Path,
    step: str,
    emit: Emit,
    cancelled: threading.Event,
) -> Locked:
    """Fetch it from its origin, and say what came, with the digest of each chunk."""
    sync(name, weight, home=home, project=project, step=step, emit=emit, cancelled=cancelled, alone=True)
    rooms = Home(home)
    manifest = manifests.read_ref(rooms, ref_of(weight, project))
    if manifest is None:
        raise StorageError(
            f"what was fetched of {name!r} is gone again",
            where=str(home),
            fix="Let nothing else clear COLDSTART_HOME, and lock again.",
        )
    files = tuple(_with_chunks(rooms, entry, cancelled) for entry in manifest.files)
    return Locked(declared=locks.declared(weight), manifest=replace(manifest, files=files))


def can_be(weight: WeightSpec) -> bool:
    """What lies beside the declaration is as it is; a lock would only forbid to change it."""
    return weight.origin is not Origin.LOCAL


def changes(before: Lock | None, after: Lock) -> tuple[Change, ...]:
    old = {} if before is None else before.weights
    return tuple(
        change
        for name in sorted({*old, *after.weights})
        for change in _changes(name, old.get(name), after.weights.get(name))
    )


def _with_chunks(home: Home, entry: FileEntry, cancelled: threading.Event) -> FileEntry:
    if entry.chunks or entry.size_bytes <= CHUNK_BYTES:
        return entry
    blob = home.blob(entry.digest)
    if blobs.digest_of_file(blob, cancelled) != entry.digest:
        blob.unlink(missing_ok=True)
        raise StorageError(
            f"{entry.path!r} was damaged on this disk, and is removed", where=str(blob), fix="Lock again."
        )
    return replace(entry, chunks=chunks.of_file(blob, cancelled))


def _changes(name: str, before: Locked | None, after: Locked | None) -> Iterator[Change]:
    if before is None or after is None:
        what = "added" if before is None else "removed"
        yield Change(weight=name, what=what, before=_said(before), after=_said(after))
        return
    if before.manifest.revision != after.manifest.revision:
        yield Change(
            weight=name,
            what="revision",
            before=before.manifest.revision,
            after=after.manifest.revision,
        )
    old, new = _digests(before.manifest), _digests(after.manifest)
    for path in sorted({*old, *new}):
        if old.get(path) != new.get(path):
            what = "file added" if path not in old else "file removed" if path not in new else "file changed"
            yield Change(weight=name, what=f"{what}: {path}", before=old.get(path), after=new.get(path))


def _digests(manifest: Manifest) -> dict[str, str]:
    return {entry.path: entry.digest for entry in manifest.files}


def _said(locked: Locked | None) -> str | None:
    return None if locked is None else locked.manifest.revision
