"""Look after COLDSTART_HOME: what no ref reaches any more, and whether what is there is whole.

`survey` only looks; `clear` removes what was found and is still nobody's. A file's age is when it was last
linked, not when it was written: whoever still uses a set links it again. A start that comes upon something
gone fetches it again. What a volume or a folder serves where it lies has no blob here, only a name in a view.
"""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from coldstart_sdk.errors import StorageError
from coldstart_sdk.manifest import FileEntry, Manifest
from coldstart_sdk.spec import Origin
from coldstart_sdk.storage import blobs, hub_cache, manifests, views
from coldstart_sdk.storage.home import Home
from coldstart_sdk.storage.janitor import GRACE_S, Damage, Held, Survey

OBSERVING = ".observing-"
"""How the folder is called in which a start is observed; one that was killed leaves it."""
_ASIDE = (".part", ".journal", ".lock")


def sets(home: Home) -> Iterator[Held]:
    """Every set that can be read, whole or not."""
    for ref in _refs(home):
        if (held := held_as(home, ref)) is not None:
            yield held


def held_as(home: Home, ref: str) -> Held | None:
    """The set of that name; None where there is none, or none that can be read."""
    manifest = manifests.read_ref(home, ref)
    if manifest is None:
        return None
    # Files beside a declaration stay where they are; the others are ours.
    files = () if manifest.origin is Origin.LOCAL else manifest.files
    lacking = tuple(entry.path for entry in files if not _is_here(home, entry))
    return Held(ref=ref, manifest=manifest, lacking=lacking)


def verify(home: Home, held: Held, moved: Callable[[int], None] = lambda _: None) -> Iterator[Damage]:
    """Read each blob of a set from first to last. A damaged one is removed, and fetched by the next start."""
    for entry in () if held.manifest.origin is Origin.LOCAL else held.manifest.files:
        if problem := _problem(home, held.manifest, entry):
            yield Damage(ref=held.ref, path=entry.path, problem=problem, digest=entry.digest)
        moved(entry.size_bytes)


def survey(home: Home, *, grace_s: float = GRACE_S, now_s: float | None = None) -> Survey:
    """What no ref reaches, and nobody has linked or written to for as long as the grace period."""
    before_s = (time.time() if now_s is None else now_s) - grace_s
    reached = _reached(home)
    kept = [*_files(home.root / "blobs" / "sha256"), *_files(home.root / "manifests" / "sha256")]
    idle = [file for file in kept if file not in reached and _is_old(file, before_s)]
    inodes = {_inode(file) for file in idle}
    shown = [view for view in _views(home) if _is_old(view, before_s) and _shows(view, inodes)]
    left = [file for file in _half_done(home) if _is_old(file, before_s)]
    return Survey(
        unreached=tuple(path.relative_to(home.root).as_posix() for path in (*shown, *idle, *left)),
        uploads=(),
        bytes=sum(file.stat().st_size for file in (*idle, *left)),
        kept=sum(file.parent.parent.name == "blobs" for file in kept if file in reached),
    )


def clear(home: Home, found: Survey, *, grace_s: float = GRACE_S, now_s: float | None = None) -> Survey:
    """Remove what was found and is still nobody's; what was removed."""
    again = survey(home, grace_s=grace_s, now_s=now_s)
    gone = tuple(key for key in found.unreached if key in set(again.unreached))
    for key in gone:
        path = home.root / key
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    return Survey(unreached=gone, uploads=(), bytes=again.bytes, kept=again.kept)


def _problem(home: Home, manifest: Manifest, entry: FileEntry) -> str | None:
    file = _file(home, manifest, entry)
    try:
        if blobs.digest_of_file(file, threading.Event()) == entry.digest:
            return None
    except FileNotFoundError:
        return "missing"
    # Its views are the same bytes under other names, and would be taken for good copies of what comes next.
    shown = {_inode(file)}
    for view in [view for view in _views(home) if _shows(view, shown)]:
        shutil.rmtree(view, ignore_errors=True)
    if file != home.blob(entry.digest):
        return "damaged, on the volume or in the folder that serves it"
    file.unlink(missing_ok=True)
    return "damaged"


def _file(home: Home, manifest: Manifest, entry: FileEntry) -> Path:
    blob = home.blob(entry.digest)
    return blob if blob.exists() else views.of_set(home.views, manifest) / entry.path


def _reached(home: Home) -> frozenset[Path]:
    """All that a ref leads to. Where one of them cannot be read, nothing may go."""
    reached: set[Path] = set()
    for ref in _refs(home):
        if (held := held_as(home, ref)) is None:
            raise StorageError(
                f"the ref {ref!r} cannot be read",
                where=str(home.ref(ref)),
                fix="Fetch that set again, or remove the file, before anything is cleaned up.",
            )
        reached |= {home.blob(entry.digest) for entry in held.manifest.files}
        reached.add(home.manifest(manifests.digest_of(held.manifest)))
    return frozenset(reached)


def _refs(home: Home) -> tuple[str, ...]:
    return tuple(file.name for file in _files(home.root / "refs"))


def _is_here(home: Home, entry: FileEntry) -> bool:
    with suppress(OSError):
        return home.blob(entry.digest).stat().st_size == entry.size_bytes
    return False


def _half_done(home: Home) -> Iterator[Path]:
    """Fetches that were given up, and what a process that died was about to rename."""
    yield from (file for file in _files(home.partial) if file.suffix in _ASIDE)
    for room in ("blobs/sha256", "manifests/sha256", "refs"):
        yield from (file for file in _files(home.root / room, hidden=True) if file.suffix)


def _files(folder: Path, *, hidden: bool = False) -> Iterator[Path]:
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.name.startswith(".") == hidden and path.is_file():
            yield path


def _views(home: Home) -> Iterator[Path]:
    """All that shows blobs: plain folders, what the hub's client reads, and what an observed start left."""
    yield from _folders(home.views)
    yield from _folders(home.root / hub_cache.FOLDER)
    yield from home.root.glob(f"{OBSERVING}*")


def _folders(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.is_dir():
            yield path


def _is_old(path: Path, before_s: float) -> bool:
    """By the time of the last link: that of the last write is the same for all blobs."""
    with suppress(OSError):
        return path.stat().st_ctime < before_s
    return False


def _inode(file: Path) -> tuple[int, int]:
    seen = file.stat()
    return seen.st_dev, seen.st_ino


def _shows(view: Path, idle: set[tuple[int, int]]) -> bool:
    """Whether the folder links to any of these files, or to one that is gone; or was never finished."""
    if view.name.startswith("."):
        return True
    files = (Path(folder) / name for folder, _, names in os.walk(view) for name in names)
    return any(not file.exists() or _inode(file) in idle for file in files)
