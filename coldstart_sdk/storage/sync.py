"""Bring one declared set of weights to this machine: what is here already, else the first tier that has it.

Whole and verified, or not at all. Bytes become blobs, the set becomes a manifest, and last of all a ref
names it; the view is built from what the manifest lists. A pinned declaration that is here asks nobody; what
the set consists of is the lock's word, else that of the first tier that knows it, else the origin's.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from coldstart_sdk import record
from coldstart_sdk.errors import StorageError
from coldstart_sdk.events import Emit, Resource, now
from coldstart_sdk.frozen import dataclass
from coldstart_sdk.manifest import MANIFEST_VERSION, FileEntry, Manifest
from coldstart_sdk.spec import Origin, WeightSpec
from coldstart_sdk.storage import blobs, manifests, names, views
from coldstart_sdk.storage.cancel import stop_if
from coldstart_sdk.storage.home import Home, mending
from coldstart_sdk.storage.report import DISK, ORIGIN, Report
from coldstart_sdk.storage.transient import TransientError
from coldstart_sdk.storage.weights import LocalWeight

if TYPE_CHECKING:
    from coldstart_sdk.storage.remote import Listing, RemoteFile
    from coldstart_sdk.storage.tiers import Tier

T = TypeVar("T")

_NO_TIER = (StorageError, TransientError, manifests.BadManifestError, OSError)
"""Why a tier may not serve; none of them ends a start."""


def sync(  # noqa: PLR0913 - what a step knows, each by its name
    name: str,
    weight: WeightSpec,
    *,
    home: Path,
    project: Path,
    step: str,
    emit: Emit,
    cancelled: threading.Event,
    tiers: Sequence[Tier] = (),
    locked: Manifest | None = None,
    here: str = DISK,
    tree: str | None = None,
    alone: bool = False,
) -> LocalWeight:
    """The set, verified, on this machine. Raises `cancel.Cancelled` soon after `cancelled` is set.

    `tiers` are asked in their order before the origin; `locked` is what the set must consist of;
    `here` is what the place of `home` is called; `tree` is where files may lie that were there before us.
    Alone: nothing else in this process wants the interpreter meanwhile, so this process reads.
    """
    report = Report(step, emit)
    stop_if(cancelled)
    rooms = Home.open(home)
    one = _Sync(
        name=name,
        weight=weight,
        home=rooms,
        project=project,
        report=report,
        cancelled=cancelled,
        tiers=tuple(tiers),
        locked=locked,
        here=here,
        tree=tree,
        alone=alone,
    )
    with mending(home):
        return one.local() if weight.origin is Origin.LOCAL else one.remote()


def ref_of(weight: WeightSpec, project: Path) -> str:
    """Under which name this declaration's set is found again, wherever it is put and linked."""
    is_local = weight.origin is Origin.LOCAL
    where = str((project / Path(weight.source).expanduser()).absolute()) if is_local else weight.source
    identity = record.digest(
        [
            weight.origin,
            where,
            weight.revision,
            sorted(weight.include),
            sorted(weight.exclude),
            weight.sha256,
            weight.filename,
        ]
    )
    return f"{weight.origin.value}-{views.name_of(_public(weight), identity)}"


@dataclass(frozen=True, kw_only=True)
class _Sync:
    name: str
    weight: WeightSpec
    home: Home
    project: Path
    report: Report
    cancelled: threading.Event
    tiers: tuple[Tier, ...]
    locked: Manifest | None
    here: str
    tree: str | None
    alone: bool

    @property
    def _ref(self) -> str:
        return ref_of(self.weight, self.project)

    # ---- a path on this machine

    def local(self) -> LocalWeight:
        from coldstart_sdk.storage.origins import local  # noqa: PLC0415 - one origin is loaded, not four

        found = local.hashed(
            self.weight,
            local.root_of(self.weight, self.project),
            self.home.stamps(self._ref),
            report=self.report,
            cancelled=self.cancelled,
        )
        tier = ORIGIN if found.hashed_bytes else self.here
        self.report.tried(
            self.here, hit=tier == self.here, reason=None if tier == self.here else "new or changed since"
        )
        if tier == ORIGIN:
            self.report.tried(ORIGIN, hit=True)
        manifest = self._manifest(revision=record.digest(found.entries), entries=found.entries)
        self._keep(manifest)
        targets = {path: file.resolve() for path, file in found.files.items()}
        where = record.digest({path: str(target) for path, target in targets.items()})
        name = views.name_of(self.weight.source, where)
        view = views.build(self.home.views / name, targets, symbolic=True)
        return self._weight(view, manifest, tier, one_file=local.root_of(self.weight, self.project).is_file())

    # ---- this machine, the tiers, an origin on the network

    def remote(self) -> LocalWeight:
        kept = self._kept()
        if kept is not None and self.locked not in {None, kept}:
            kept = None
        lacking = None if kept is None else self._lacking(kept)
        is_here = kept is not None and not lacking
        if kept is not None and is_here and (self.locked or self._is_pinned()):
            return self._from_disk(kept, reason=None)
        if not is_here:
            count = 0 if kept is None else len(kept.files)
            self.report.tried(self.here, hit=False, reason=_missed(lacking, count))
        gathered = _Gathered(self.locked or (kept if self._is_pinned() else None))
        with nullcontext() if is_here else self._foreseen(gathered.wanted):
            served = self._from_tiers(gathered, kept if is_here else None) if self.tiers else None
            if served is None and not is_here and self.tree is not None:
                served = self._from_tree(self.tree, gathered.wanted)
            return served or self._from_origin(kept if is_here else None, gathered.wanted)

    def _foreseen(self, wanted: Manifest | None) -> AbstractContextManager[None]:
        """What reads is made ready while we ask who has it, unless somebody near may."""
        if not all(tier.is_far for tier in self.tiers):
            return nullcontext()
        from coldstart_sdk.storage import transfer  # noqa: PLC0415 - a warm start has no use for it

        return transfer.foreseen(None if wanted is None else wanted.bytes, alone=self.alone)

    def _from_tiers(self, gathered: _Gathered, here: Manifest | None) -> LocalWeight | None:
        """The set from the first tier that completes it; None where the origin must."""
        for tier in self.tiers:
            known = gathered.wanted is not None
            wanted = gathered.wanted or self._told(tier)
            if wanted is None:
                continue
            if wanted == here:
                return self._from_disk(wanted, reason=f"the {tier.name} has nothing newer")
            if not known:
                gathered.wanted = wanted
                gathered.places |= self._those_here(wanted)
            lacking = [entry for entry in wanted.files if entry.path not in gathered.places]
            gathered.places |= self._brought(tier, lacking)
            left = [entry.path for entry in lacking if entry.path not in gathered.places]
            if not left:
                self.report.tried(tier.name, hit=True)
                self._keep(wanted)
                return self._view(wanted, tier.name, gathered.places)
            reason = f"{len(lacking) - len(left)} of {len(lacking)} files are there, whole"
            self.report.tried(tier.name, hit=False, reason=reason)
        return None

    def _from_tree(self, address: str, wanted: Manifest | None) -> LocalWeight | None:
        """The set as it lies in a tree of plain files; None where it does not, or not whole."""
        from coldstart_sdk.storage import plain_tree  # noqa: PLC0415 - only where there may be one
        from coldstart_sdk.storage.transfer import ChangedError  # noqa: PLC0415 - as above

        try:
            listing = self._asked(lambda: plain_tree.listing(self.weight, address, self.cancelled))
            if listing is None:
                self.report.tried(plain_tree.NAME, hit=False, reason="nothing of it is there")
                return None
            fetched = self._fetch(_described(listing, wanted), tier=plain_tree.NAME)
            lacking = plain_tree.lacking_shard(self.home, {entry.path: entry for entry in fetched})
        except (*_NO_TIER, ChangedError) as refused:
            self.report.tried(plain_tree.NAME, hit=False, reason=_said(refused))
            return None
        manifest = self._manifest(revision=listing.revision, entries=fetched)
        if lacking is not None or wanted not in {None, manifest}:
            reason = f"{lacking!r} is missing" if lacking else "it is not what the lock says"
            self.report.tried(plain_tree.NAME, hit=False, reason=reason)
            return None
        self.report.tried(plain_tree.NAME, hit=True)
        if wanted is None and self.weight.sha256 is None:
            self.report.noted(f"{self.name}: taken as it lies in {address}; a lock would say if it is whole")
        self._keep(manifest)
        return self._view(manifest, plain_tree.NAME)

    def _told(self, tier: Tier) -> Manifest | None:
        """What a tier says that the set consists of; a miss is reported here."""
        from coldstart_sdk.storage import tiers  # noqa: PLC0415 - a start without tiers does without

        try:
            told = self._asked(lambda: tier.manifest(self._ref))
        except _NO_TIER as refused:
            self.report.tried(tier.name, hit=False, reason=_said(refused))
            return None
        reason: str | None = "nothing of it is there"
        if told is not None:
            reason = tiers.misfit(told, self.weight, _public(self.weight))
        if reason is not None:
            self.report.tried(tier.name, hit=False, reason=reason)
            return None
        return told

    def _brought(self, tier: Tier, entries: Sequence[FileEntry]) -> Mapping[str, Path]:
        """Where the files lie that a tier has whole; what it refuses is a note, and the next one's turn."""
        from coldstart_sdk.storage.tiers import Asking  # noqa: PLC0415 - as above

        try:
            asking = Asking(home=self.home, report=self.report, cancelled=self.cancelled, alone=self.alone)
            return tier.bring(entries, asking)
        except _NO_TIER as refused:
            self.report.noted(f"{self.name}: the {tier.name}: {_said(refused)}")
            # What came whole before it failed counts.
            return self._places(entry for entry in entries if blobs.has(self.home, entry, self.cancelled))

    def _those_here(self, manifest: Manifest) -> Mapping[str, Path]:
        started_s = now()
        here = [entry for entry in manifest.files if blobs.has(self.home, entry, self.cancelled)]
        for entry in here:
            self._span_of_kept(entry, started_s)
        return self._places(here)

    def _places(self, entries: Iterable[FileEntry]) -> dict[str, Path]:
        return {entry.path: self.home.blob(entry.digest) for entry in entries}

    def _asked(self, call: Callable[[], T]) -> T:
        """Aside, so that a tier that does not answer does not hold up a cancelled start."""
        from coldstart_sdk.storage.listing import aside  # noqa: PLC0415 - a warm start has no use for it

        return aside(call, self.cancelled)

    def _kept(self) -> Manifest | None:
        kept = manifests.read_ref(self.home, self._ref)
        if kept is not None or self.weight.origin is not Origin.URL or not self.weight.sha256:
            return kept
        # Another declaration may have brought the very same bytes.
        from coldstart_sdk.storage.origins import url  # noqa: PLC0415 - one origin is loaded, not four

        digest = url.digest_of(self.weight) or ""
        try:
            size = self.home.blob(digest).stat().st_size
        except OSError:
            return None
        entry = FileEntry(path=url.file_name(self.weight), size_bytes=size, digest=digest)
        return self._manifest(revision=digest, entries=(entry,))

    def _is_pinned(self) -> bool:
        """Whether the declaration can only ever mean the same bytes."""
        match self.weight.origin:
            case Origin.URL:
                return self.weight.sha256 is not None
            case Origin.HF:
                return re.fullmatch(r"[0-9a-f]{40}", self.weight.revision or "") is not None
            case _:
                return False

    def _lacking(self, manifest: Manifest) -> tuple[str, ...]:
        there = {entry.path for entry in manifest.files if self.home.blob(entry.digest).exists()}
        lacking = blobs.missing(self.home, manifest, self.cancelled)
        for path in there.intersection(lacking):
            self.report.noted(f"{self.name}: {path!r} was changed on this machine; it is fetched again")
        return lacking

    def _from_disk(self, manifest: Manifest, *, reason: str | None) -> LocalWeight:
        self.report.tried(self.here, hit=True, reason=reason)
        started_s = now()
        self._keep(manifest)
        weight = self._view(manifest, self.here)
        for entry in manifest.files:
            self._span_of_kept(entry, started_s)
        return weight

    def _from_origin(self, kept: Manifest | None, wanted: Manifest | None) -> LocalWeight:
        from coldstart_sdk.storage.remote import UnreachableError  # noqa: PLC0415 - a warm start has no use for it

        if self.locked is not None:
            return self._as_locked(self.locked)
        try:
            listing = self._listing(kept)
        except UnreachableError as unreachable:
            self.report.tried(ORIGIN, hit=False, reason=unreachable.message)
            if kept is None:
                raise
            self.report.noted(f"{self.name}: {unreachable.message}; what was fetched before is used")
            return self._from_disk(kept, reason="the origin does not answer")
        if kept is not None and kept.revision == listing.revision != "":
            self.report.tried(ORIGIN, hit=False, reason="nothing newer")
            return self._from_disk(kept, reason=None)
        self.report.tried(ORIGIN, hit=True)
        return self._fetched(_described(listing, wanted))

    def _as_locked(self, wanted: Manifest) -> LocalWeight:
        """These very files, from where the origin has them; it is not asked what else there is."""
        from coldstart_sdk.storage import locked  # noqa: PLC0415 - only where there is a lock

        self.report.tried(ORIGIN, hit=True)
        self._fetch(locked.listing(self.weight, wanted))
        self._keep(wanted)
        return self._view(wanted, ORIGIN)

    def _fetched(self, listing: Listing) -> LocalWeight:
        from coldstart_sdk.storage.transfer import ChangedError  # noqa: PLC0415 - a warm start has no use for it

        try:
            entries = self._fetch(listing)
        except ChangedError:
            # Asked once more: whoever publishes replaced it while we read.
            listing = self._listing(None)
            try:
                entries = self._fetch(listing)
            except ChangedError as again:
                raise StorageError(
                    f"{again.path!r} changes at the origin faster than it can be read",
                    where=_public(self.weight),
                    fix="Wait until it is published, or name a fixed revision.",
                ) from again
        manifest = self._manifest(revision=listing.revision, entries=entries)
        self._keep(manifest)
        return self._view(manifest, ORIGIN)

    def _fetch(self, listing: Listing, *, tier: str = ORIGIN) -> tuple[FileEntry, ...]:
        from coldstart_sdk.storage import transfer  # noqa: PLC0415 - a warm start has no use for it
        from coldstart_sdk.storage.remote import Limits  # noqa: PLC0415 - as above

        names.check((remote.path for remote in listing.files), where=_public(self.weight))
        started_s = now()
        here = {
            entry.path: entry
            for entry in map(transfer.known, listing.files)
            if entry is not None and blobs.has(self.home, entry, self.cancelled)
        }
        for entry in here.values():
            self._span_of_kept(entry, started_s)
        fetched = transfer.fetch(
            [remote for remote in listing.files if remote.path not in here],
            home=self.home,
            limits=Limits.from_environment(alone=self.alone),
            report=self.report,
            cancelled=self.cancelled,
            tier=tier,
        )
        return tuple((here | fetched)[remote.path] for remote in listing.files)

    def _listing(self, kept: Manifest | None) -> Listing:
        from coldstart_sdk.storage.listing import ask  # noqa: PLC0415 - a warm start has no use for it

        return ask(
            self.weight,
            kept=None if kept is None else kept.revision,
            where=_public(self.weight),
            cancelled=self.cancelled,
        )

    # ---- from bytes to what the user sees

    def _manifest(self, *, revision: str, entries: Sequence[FileEntry]) -> Manifest:
        return Manifest(
            version=MANIFEST_VERSION,
            origin=self.weight.origin,
            source=_public(self.weight),
            revision=revision,
            files=tuple(sorted(entries, key=lambda entry: entry.path)),
        )

    def _keep(self, manifest: Manifest) -> None:
        if manifests.read_ref(self.home, self._ref) != manifest:
            manifests.point(self.home, self._ref, manifests.keep(self.home, manifest))

    def _view(self, manifest: Manifest, tier: str, places: Mapping[str, Path] | None = None) -> LocalWeight:
        targets = {**self._places(manifest.files), **(places or {})}
        view = views.build(views.of_set(self.home.views, manifest), targets)
        return self._weight(view, manifest, tier, one_file=self.weight.origin is Origin.URL)

    def _weight(self, view: Path, manifest: Manifest, tier: str, *, one_file: bool) -> LocalWeight:
        path = view / manifest.files[0].path if one_file else view
        return LocalWeight(
            name=self.name,
            path=path,
            tier=tier,
            bytes=manifest.bytes,
            revision=manifest.revision,
            ref=self._ref,
        )

    def _span_of_kept(self, entry: FileEntry, started_s: float) -> None:
        if self.report.has_told(entry.path):
            return  # a tier has brought it, before the next one was asked for the others
        self.report.span(
            entry.path,
            resource=Resource.DISK,
            started_s=started_s,
            ended_s=now(),
            count=entry.size_bytes,
            tier=self.here,
        )


class _Gathered:
    """What the tiers have given so far."""

    def __init__(self, wanted: Manifest | None) -> None:
        self.wanted = wanted
        """What the set consists of, once somebody has said it."""
        self.places: dict[str, Path] = {}
        """Where each file lies that is there, whole."""


def _described(listing: Listing, wanted: Manifest | None) -> Listing:
    """The listing with what is known of this very revision: chunks, and digests that nobody publishes."""
    if wanted is None or wanted.revision != listing.revision or not listing.revision:
        return listing
    known = {(entry.path, entry.size_bytes): entry for entry in wanted.files}
    return replace(
        listing,
        files=tuple(_proven(file, known.get((file.path, file.size_bytes or 0))) for file in listing.files),
    )


def _proven(remote: RemoteFile, entry: FileEntry | None) -> RemoteFile:
    if entry is None or remote.digest not in {None, entry.digest}:
        return remote
    return replace(remote, digest=entry.digest, chunks=entry.chunks)


def _said(refused: Exception) -> str:
    return refused.message if isinstance(refused, StorageError) else str(refused)


def _missed(lacking: Sequence[str] | None, count: int) -> str:
    if lacking is None:
        return "nothing of it is here"
    return f"{len(lacking)} of {count} files are missing"


def _public(weight: WeightSpec) -> str:
    """The source without what may be a secret: an address in a declaration can be a signed one."""
    if weight.origin is not Origin.URL:
        return weight.source
    scheme, _, rest = weight.source.partition("://")
    host, slash, path = re.split(r"[?#]", rest, maxsplit=1)[0].partition("/")
    return f"{scheme}://{host.rpartition('@')[2]}{slash}{path}"
