"""Where bytes are looked for before their origin: image, platform cache, volume, store, in this order.

A tier may know what a set consists of, and may have some of its files. What it gives is verified against
digests before it counts; what it has not, or has damaged, the next one is asked for.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from coldstart_sdk.errors import StorageError
from coldstart_sdk.events import Resource, now
from coldstart_sdk.frozen import dataclass
from coldstart_sdk.manifest import FileEntry, Manifest
from coldstart_sdk.spec import Origin, WeightSpec
from coldstart_sdk.storage import blobs, layout, stores
from coldstart_sdk.storage.cancel import Cancelled, stop_if
from coldstart_sdk.storage.home import Home, is_digest, write_whole
from coldstart_sdk.storage.report import DISK, Report

if TYPE_CHECKING:
    from coldstart_sdk.plugins import Store
    from coldstart_sdk.storage.http import Address
    from coldstart_sdk.storage.remote import RemoteFile

IMAGE, PLATFORM_CACHE, VOLUME, STORE = "image", "platform cache", "volume", "store"
_HASHERS = 4


@dataclass(frozen=True, kw_only=True)
class Asking:
    """What every tier is given: where files go, who hears of it, and who may stop it."""

    home: Home
    report: Report
    cancelled: threading.Event
    alone: bool = False
    """Whether nothing else in this process wants the interpreter meanwhile."""


class Tier(Protocol):
    """One place. Both verbs may raise StorageError, TransientError or OSError: then the next one is asked."""

    @property
    def name(self) -> str: ...
    @property
    def is_far(self) -> bool:
        """Whether its bytes come over the network."""

    def manifest(self, ref: str) -> Manifest | None:
        """What the set consists of, where this place knows."""

    def bring(self, entries: Sequence[FileEntry], asking: Asking) -> Mapping[str, Path]:
        """Path in the set → file with exactly these bytes, of as many as it has."""


@runtime_checkable
class _HasPaths(Protocol):
    def path(self, key: str) -> Path: ...


@runtime_checkable
class _HasAddresses(Protocol):
    def where(self, key: str) -> Address: ...


class StoreTier:
    """A store in our layout: the user's own copy, a volume, or what was baked into an image."""

    def __init__(
        self, name: str, opened: Callable[[], Store], *, read_url: str | None = None, is_far: bool = False
    ) -> None:
        """`opened` is called when it is asked; `read_url`, such as a CDN's, is read before the store."""
        self.name = name
        self.is_far = is_far
        self._opened = opened
        self._read_url = read_url
        self._known: Store | None = None

    @property
    def store(self) -> Store:
        if self._known is None:
            self._known = self._opened()
        return self._known

    def manifest(self, ref: str) -> Manifest | None:
        with closing(self.store):
            return layout.read(self.store, ref)

    def bring(self, entries: Sequence[FileEntry], asking: Asking) -> Mapping[str, Path]:
        if isinstance(self.store, _HasPaths):
            return self._in_place(self.store, entries, asking)
        if isinstance(self.store, _HasAddresses):
            return self._fetched(self.store, entries, asking)
        return self._copied(entries, asking)

    def _in_place(self, store: _HasPaths, entries: Sequence[FileEntry], asking: Asking) -> Mapping[str, Path]:
        files = {entry.path: store.path(layout.blob_key(entry.digest)) for entry in entries}
        return verified(files, entries, self.name, asking)

    def _fetched(
        self, store: _HasAddresses, entries: Sequence[FileEntry], asking: Asking
    ) -> Mapping[str, Path]:
        with closing(self.store):
            if self._read_url is not None:
                base = f"{self._read_url.rstrip('/')}/{stores.FOLDER}"
                try:
                    _transfer([_in_front(entry, base) for entry in entries], self.name, asking)
                except StorageError as refused:
                    asking.report.noted(f"read_url: {refused.message}; the store itself is asked")
            left = [entry for entry in entries if not blobs.has(asking.home, entry, asking.cancelled)]
            try:
                came = _transfer([_in_store(entry, store) for entry in left], self.name, asking)
            except StorageError:
                self._suspect(left, asking)
                raise
            lost = [entry for entry in left if entry.path not in came]
            self._suspect(lost, asking)
            return {entry.path: asking.home.blob(entry.digest) for entry in entries if entry not in lost}

    def _copied(self, entries: Sequence[FileEntry], asking: Asking) -> Mapping[str, Path]:
        """Of somebody else's store, which knows neither paths nor addresses."""
        brought = {}
        for entry in entries:
            if self.store.stat(layout.blob_key(entry.digest)) is None:
                continue
            started_s = now()
            if _copy(self.store, entry, asking):
                brought[entry.path] = asking.home.blob(entry.digest)
                _tell(entry, self.name, started_s, asking)
            else:
                asking.report.noted(f"{self.name}: {entry.path!r} is damaged")
                self._suspect([entry], asking)
        return brought

    def _suspect(self, entries: Sequence[FileEntry], asking: Asking) -> None:
        """Note what could not be had, so that the upload looks closer at it than at its size."""
        for entry in entries:
            if not blobs.has(asking.home, entry, asking.cancelled):
                with suppress(OSError):
                    write_whole(asking.home.suspect(entry.digest), b"")


@dataclass(frozen=True, kw_only=True)
class PlatformCacheTier:
    """Models of the hub that a platform keeps on its hosts, in the hub's own cache layout.

    It does not know when a copy of its own is whole, so it serves what others can describe.
    """

    weight: WeightSpec
    root: Path
    """The folder that holds `models--org--name`."""
    name: str = PLATFORM_CACHE
    is_far: bool = False

    def manifest(self, ref: str) -> Manifest | None:
        del ref
        return None

    def bring(self, entries: Sequence[FileEntry], asking: Asking) -> Mapping[str, Path]:
        snapshots = self.root / f"models--{self.weight.source.replace('/', '--')}" / "snapshots"
        found: dict[str, Path] = {}
        for snapshot in sorted(snapshots.iterdir()) if snapshots.is_dir() else ():
            left = [entry for entry in entries if entry.path not in found]
            found |= verified(
                {entry.path: snapshot / entry.path for entry in left}, left, self.name, asking, lenient=True
            )
        return found


@dataclass(frozen=True, kw_only=True)
class Places:
    """Where a worker may find what others put there; None: there is no such place."""

    image: Path | None = None
    """The folder that was baked: a home, as `bake` leaves it."""
    platform_cache: Path | None = None
    """The folder with `models--org--name`."""
    volume: Path | None = None
    """Where the volume is mounted."""
    store: str | None = None
    read_url: str | None = None

    @property
    def tree(self) -> str | None:
        """Where plain files may lie that were there before us: only buckets were filled by hand."""
        return self.store if self.store is not None and stores.scheme_of(self.store) == "s3" else None


def between(weight: WeightSpec, order: Sequence[str], places: Places, home: Path) -> tuple[Tier, ...]:
    """The tiers between this machine's own files and the origin, in their order."""
    made = {
        IMAGE: lambda: _mounted(IMAGE, places.image, home),
        PLATFORM_CACHE: lambda: _platform_cache(weight, places.platform_cache),
        VOLUME: lambda: _mounted(VOLUME, places.volume and places.volume / stores.FOLDER, home),
        STORE: lambda: _store(places),
    }
    return tuple(tier for name in order if name in made and (tier := made[name]()) is not None)


def own_place(places: Places, home: Path) -> str:
    """What the place of our own files is called in a trace."""
    for name, place in ((IMAGE, places.image), (VOLUME, places.volume)):
        if place is not None and home.is_relative_to(place):
            return name
    return DISK


def _mounted(name: str, root: Path | None, home: Path) -> Tier | None:
    """None for our own home: what lies there is asked first of all."""
    if root is None or home == root:
        return None
    return StoreTier(name, lambda: stores.opened(str(root)))


def _platform_cache(weight: WeightSpec, root: Path | None) -> Tier | None:
    return PlatformCacheTier(weight=weight, root=root) if root and weight.origin is Origin.HF else None


def _store(places: Places) -> Tier | None:
    address = places.store
    if address is None:
        return None
    far = stores.scheme_of(address) == "s3"
    return StoreTier(STORE, lambda: store_below(address), read_url=places.read_url, is_far=far)


def verified(
    files: Mapping[str, Path],
    entries: Sequence[FileEntry],
    tier: str,
    asking: Asking,
    *,
    lenient: bool = False,
) -> dict[str, Path]:
    """Those of the files that have exactly the bytes of their entries, read from first to last.

    Of a damaged one there is a note, unless lenient: then it only does not count.
    """
    hashing = _Hashing(files, [entry for entry in entries if _is_file(files[entry.path])], asking)
    hashing.run()
    for entry, started_s, ended_s in hashing.good:
        _tell(entry, tier, started_s, asking, ended_s=ended_s)
    if hashing.wrong and not lenient:
        path, why = hashing.wrong[0]
        asking.report.noted(f"{tier}: {len(hashing.wrong)} of {len(entries)} files: {path!r} {why}")
    return {entry.path: files[entry.path] for entry, _, _ in hashing.good}


def store_address(planned: str | None, env: Mapping[str, str], project: Path) -> str | None:
    """The store of this worker: its own environment wins over the plan; S3_BUCKET is the last word."""
    if named := env.get("COLDSTART_STORE"):
        return stores.placed(named, Path.cwd())
    if planned:
        return stores.placed(planned, project)
    bucket = env.get("S3_BUCKET", "").strip().removeprefix("s3://").strip("/")
    if not bucket or env.get("ENABLE_S3_MODEL_CACHE", "").lower() in {"false", "0", "no"}:
        return None
    return f"s3://{bucket}/models/"


def store_below(address: str) -> Store:
    """The store whose keys all lie below our own folder at that address."""
    return stores.opened(f"{address.rstrip('/')}/{stores.FOLDER}")


class _Hashing:
    """Several files hashed at once; hashing frees the interpreter."""

    def __init__(self, files: Mapping[str, Path], entries: Sequence[FileEntry], asking: Asking) -> None:
        self.good: list[tuple[FileEntry, float, float]] = []
        """Each with when its reading began and ended."""
        self.wrong: list[tuple[str, str]] = []
        self._files = files
        self._waiting = list(reversed(entries))
        self._cancelled = asking.cancelled

    def run(self) -> None:
        count = min(_HASHERS, len(self._waiting))
        hashers = [threading.Thread(target=self._work, name="coldstart-verify") for _ in range(count)]
        for hasher in hashers:
            hasher.start()
        for hasher in hashers:
            hasher.join()
        stop_if(self._cancelled)

    def _work(self) -> None:
        with suppress(Cancelled):  # raised again by the thread that asked
            while (entry := self._next()) is not None:
                started_s = now()
                if (why := self._misfit(entry)) is None:
                    self.good.append((entry, started_s, now()))
                else:
                    self.wrong.append((entry.path, why))

    def _next(self) -> FileEntry | None:
        try:
            return self._waiting.pop()
        except IndexError:
            return None

    def _misfit(self, entry: FileEntry) -> str | None:
        file = self._files[entry.path]
        try:
            if (size := file.stat().st_size) != entry.size_bytes:
                return f"has {size} bytes, not {entry.size_bytes}"
            return None if blobs.is_whole(file, entry, self._cancelled) else "is damaged"
        except OSError as refused:
            return f"cannot be read: {refused.strerror}"


def misfit(manifest: Manifest, weight: WeightSpec, source: str) -> str | None:
    """What makes a manifest that of something else than was declared; None for the right one."""
    if (manifest.origin, manifest.source) != (weight.origin, source):
        return "its manifest is of another set"
    if weight.origin is Origin.HF and _is_commit(weight.revision) and manifest.revision != weight.revision:
        return "its manifest is of another commit"
    if weight.sha256 is not None:
        declared = f"sha256:{weight.sha256.removeprefix('sha256:').lower()}"
        if is_digest(declared) and [entry.digest for entry in manifest.files] != [declared]:
            return "its manifest names another digest than was declared"
    return None


def _is_commit(revision: str | None) -> bool:
    return revision is not None and len(revision) == 40 and not set(revision) - set("0123456789abcdef")  # noqa: PLR2004 - a git commit


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:
        return False


def _tell(
    entry: FileEntry, tier: str, started_s: float, asking: Asking, *, ended_s: float | None = None
) -> None:
    asking.report.span(
        entry.path,
        resource=Resource.NET if tier == STORE else Resource.DISK,
        started_s=started_s,
        ended_s=now() if ended_s is None else ended_s,
        count=entry.size_bytes,
        tier=tier,
    )


def _transfer(files: Sequence[RemoteFile], tier: str, asking: Asking) -> Collection[str]:
    """Bring what can be had of them; the paths of what came."""
    from coldstart_sdk.storage import transfer  # noqa: PLC0415 - a start from a near tier has no use for it
    from coldstart_sdk.storage.remote import Limits  # noqa: PLC0415 - as above

    try:
        return transfer.fetch(
            files,
            home=asking.home,
            limits=Limits.from_environment(alone=asking.alone),
            report=asking.report,
            cancelled=asking.cancelled,
            tier=tier,
            partly=True,
        )
    except transfer.ChangedError as changed:
        raise StorageError(
            f"{changed.path!r} changed while it was read",
            fix="What is named by its digest must never change.",
        ) from changed


def _in_store(entry: FileEntry, store: _HasAddresses) -> RemoteFile:
    from coldstart_sdk.storage.remote import RemoteFile  # noqa: PLC0415 - as above

    key = layout.blob_key(entry.digest)
    return RemoteFile(
        path=entry.path,
        size_bytes=entry.size_bytes,
        identity=entry.digest,
        digest=entry.digest,
        chunks=entry.chunks,
        locate=lambda: store.where(key),
        redirects=False,
        fix_denied="The credentials may not read the store: allow s3:GetObject.",
    )


def _in_front(entry: FileEntry, base: str) -> RemoteFile:
    from coldstart_sdk.storage.http import Address  # noqa: PLC0415 - as above
    from coldstart_sdk.storage.remote import RemoteFile  # noqa: PLC0415 - as above

    address = Address(url=f"{base}/{layout.blob_key(entry.digest)}")
    return RemoteFile(
        path=entry.path,
        size_bytes=entry.size_bytes,
        identity=entry.digest,
        digest=entry.digest,
        chunks=entry.chunks,
        locate=lambda: address,
        fix_denied="read_url= must be readable without credentials.",
    )


def _copy(store: Store, entry: FileEntry, asking: Asking) -> bool:
    """Copy a blob here, hashed on its way; False for one that is not what its name says."""
    import hashlib  # noqa: PLC0415 - only where bytes are copied
    import os  # noqa: PLC0415 - as above

    aside = asking.home.partial / f"{entry.digest.partition(':')[2][:32]}.{os.urandom(6).hex()}.part"
    hashed, count = hashlib.sha256(), 0
    try:
        with aside.open("xb") as file:
            for block in store.blocks(layout.blob_key(entry.digest)):
                stop_if(asking.cancelled)
                count += len(block)
                if count > entry.size_bytes:
                    return False
                hashed.update(block)
                file.write(block)
        if f"sha256:{hashed.hexdigest()}" != entry.digest:
            return False
        blobs.publish(asking.home, aside, entry.digest)
        return True
    finally:
        aside.unlink(missing_ok=True)
