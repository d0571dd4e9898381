"""Look after a store: what no ref reaches, what uploads have left behind, and whether what is there is whole.

`survey` only looks, and says what could go; `clean` removes exactly that, and looks again before it does.
Only what is older than a grace period is ever named, and nothing at all while somebody sends.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from coldstart_sdk.errors import StorageError
from coldstart_sdk.manifest import FileEntry, Manifest
from coldstart_sdk.storage import layout, manifests
from coldstart_sdk.storage.transient import TransientError

if TYPE_CHECKING:
    from coldstart_sdk.plugins import Store, Stored

GRACE_S = 24 * 3600.0
_LEASE_LIMIT = 4096


@runtime_checkable
class _HasUploads(Protocol):
    def unfinished(self, prefix: str) -> Iterator[tuple[str, str, float | None]]: ...
    def abandon(self, key: str, upload: str) -> None: ...


@dataclass(frozen=True, kw_only=True)
class Survey:
    """What a store holds that nobody needs."""

    unreached: tuple[str, ...]
    """Keys of blobs and manifests that no ref reaches."""
    uploads: tuple[tuple[str, str], ...]
    """Key and id of uploads that were begun and never ended."""
    bytes: int
    kept: int
    """How many blobs the refs reach."""


@dataclass(frozen=True, kw_only=True)
class Damage:
    """One file that is not what its manifest says."""

    ref: str
    path: str
    problem: str
    digest: str | None = None
    """What its bytes should be; None where the manifest itself is damaged."""


@dataclass(frozen=True, kw_only=True)
class Held:
    """One set that a ref names."""

    ref: str
    manifest: Manifest
    lacking: tuple[str, ...]
    """Paths of files that are not there."""


def sets(store: Store) -> Iterator[Held]:
    """Every set that can be read, whole or not."""
    for ref in _refs(store):
        with suppress(manifests.BadManifestError, StorageError):
            if (manifest := layout.read(store, ref)) is not None:
                lacking = tuple(entry.path for entry in manifest.files if _lacks(store, entry))
                yield Held(ref=ref, manifest=manifest, lacking=lacking)


def survey(store: Store, *, grace_s: float = GRACE_S, now_s: float | None = None) -> Survey:
    """What no ref reaches and is older than the grace period; raises where that cannot be told."""
    now_s = time.time() if now_s is None else now_s
    reached = _reached(store)
    old = [
        stored
        for prefix in ("blobs/", "manifests/")
        for stored in store.keys(prefix)
        if stored.key not in reached and _is_old(stored, now_s - grace_s)
    ]
    return Survey(
        unreached=tuple(stored.key for stored in old),
        uploads=tuple(_uploads(store, now_s - grace_s)),
        bytes=sum(stored.size_bytes for stored in old),
        kept=sum(key.startswith("blobs/") for key in reached),
    )


def clean(store: Store, found: Survey, *, grace_s: float = GRACE_S, now_s: float | None = None) -> Survey:
    """Remove what was found and is still nobody's; what was removed."""
    now_s = time.time() if now_s is None else now_s
    if sender := _sender(store, now_s - grace_s):
        raise StorageError(
            f"somebody is filling {sender!r} just now",
            where=store.address,
            fix="Wait until it has ended, or until its lease is older than the grace period.",
        )
    again = survey(store, grace_s=grace_s, now_s=now_s)
    gone = tuple(key for key in found.unreached if key in set(again.unreached))
    for key in gone:
        store.remove(key)
    left = tuple(upload for upload in found.uploads if upload in set(again.uploads))
    if isinstance(store, _HasUploads):
        for key, upload in left:
            store.abandon(key, upload)
    return Survey(unreached=gone, uploads=left, bytes=again.bytes, kept=again.kept)


def verify(store: Store) -> Iterator[Damage]:
    """Read every blob that a ref reaches, from first to last; each one that is damaged or missing."""
    seen: dict[str, str | None] = {}
    for ref in _refs(store):
        try:
            manifest = layout.read(store, ref)
        except (manifests.BadManifestError, StorageError) as bad:
            yield Damage(ref=ref, path="", problem=str(bad))
            continue
        for entry in manifest.files if manifest else ():
            if entry.digest not in seen:
                seen[entry.digest] = _problem(store, entry)
            if problem := seen[entry.digest]:
                yield Damage(ref=ref, path=entry.path, problem=problem, digest=entry.digest)


def _reached(store: Store) -> frozenset[str]:
    """Every key that a ref leads to. Where one of them cannot be read, nothing may go."""
    reached: set[str] = set()
    for ref in _refs(store):
        try:
            manifest = layout.read(store, ref)
        except manifests.BadManifestError as bad:
            raise StorageError(
                f"the ref {ref!r} cannot be read: {bad}",
                where=store.address,
                fix="Send that set again, or remove its ref, before anything is cleaned up.",
            ) from bad
        if manifest is not None:
            reached |= _keys(manifest)
    return frozenset(reached)


def _refs(store: Store) -> Sequence[str]:
    return [stored.key.removeprefix("refs/") for stored in store.keys("refs/")]


def _keys(manifest: Manifest) -> set[str]:
    blobs = {layout.blob_key(entry.digest) for entry in manifest.files}
    return {layout.manifest_key(manifests.digest_of(manifest)), *blobs}


def _is_old(stored: Stored, before_s: float) -> bool:
    """A store that keeps no times says nothing, and nothing is removed from it."""
    return stored.modified_s is not None and stored.modified_s < before_s


def _uploads(store: Store, before_s: float) -> Iterator[tuple[str, str]]:
    if isinstance(store, _HasUploads):
        # Some stores do not list them, and some credentials may not.
        with suppress(StorageError, TransientError):
            for key, upload, begun_s in store.unfinished(""):
                if begun_s is not None and begun_s < before_s:
                    yield key, upload


def _sender(store: Store, before_s: float) -> str | None:
    """Whose lease is held, unless its holder is long gone."""
    for stored in store.keys("leases/"):
        text = store.read(stored.key, limit_bytes=_LEASE_LIMIT)
        with suppress(ValueError, AttributeError):
            if not json.loads(text or b"{}").get("over", True) and not _is_old(stored, before_s):
                return stored.key.removeprefix("leases/")
    return None


def _lacks(store: Store, entry: FileEntry) -> bool:
    seen = store.stat(layout.blob_key(entry.digest))
    return seen is None or seen.size_bytes != entry.size_bytes


def _problem(store: Store, entry: FileEntry) -> str | None:
    key = layout.blob_key(entry.digest)
    stored = store.stat(key)
    if stored is None:
        return "missing"
    if stored.size_bytes != entry.size_bytes:
        return f"{stored.size_bytes} bytes, not {entry.size_bytes}"
    hashed = hashlib.sha256()
    for block in store.blocks(key):
        hashed.update(block)
    return None if f"sha256:{hashed.hexdigest()}" == entry.digest else "damaged"
