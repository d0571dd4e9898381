"""A file or a directory on this machine.

Nothing is copied: the view holds symbolic links to the files themselves, so a large local model costs one
hashing and no space, and what the user changes there is what the next start sees. Hard links are not used,
because a library that wrote into its weights would then change our copy behind its name. Files are hashed
again only when their size, time or inode say that they changed.
"""

from __future__ import annotations

import json
import os
import stat
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from coldstart_sdk import record
from coldstart_sdk.errors import StorageError
from coldstart_sdk.events import Resource, now
from coldstart_sdk.manifest import FileEntry
from coldstart_sdk.spec import WeightSpec
from coldstart_sdk.storage import blobs, names, patterns, suspicion
from coldstart_sdk.storage.cancel import stop_if
from coldstart_sdk.storage.home import write_whole
from coldstart_sdk.storage.report import DISK, ORIGIN, Report


@dataclass(frozen=True, kw_only=True)
class Hashed:
    """The files of a local set."""

    entries: tuple[FileEntry, ...]
    files: dict[str, Path]
    """Path in the set → file."""
    hashed_bytes: int
    """How many bytes had to be read to know them."""


def root_of(weight: WeightSpec, project: Path) -> Path:
    return project / Path(weight.source).expanduser()


def hashed(
    weight: WeightSpec, root: Path, stamps_at: Path, *, report: Report, cancelled: threading.Event
) -> Hashed:
    files = _files(weight, root)
    known = _read_stamps(stamps_at)
    total = sum(file.stat().st_size for file in files.values())
    entries, stamps, read = [], {}, 0
    for path, file in files.items():
        stop_if(cancelled)
        started_s = now()
        stamp = _stamp(file)
        digest = known.get(path, {}).get(stamp)
        tier = DISK if digest else ORIGIN
        if digest is None:
            suspicion.refuse_disguised(file, path, str(file))
            digest = _digest(file, stamp, cancelled)
            read += file.stat().st_size
        size = int(stamp.partition(" ")[0])
        stamps[path] = {stamp: digest}
        entries.append(FileEntry(path=path, size_bytes=size, digest=digest))
        report.span(path, resource=Resource.DISK, started_s=started_s, ended_s=now(), count=size, tier=tier)
        report.progress(sum(entry.size_bytes for entry in entries), total)
    if stamps != known:
        write_whole(stamps_at, json.dumps(stamps, sort_keys=True).encode())
    return Hashed(entries=tuple(entries), files=files, hashed_bytes=read)


def _files(weight: WeightSpec, root: Path) -> dict[str, Path]:
    where = str(root)
    if root.is_file():
        return {root.name: root}
    if not root.is_dir():
        raise StorageError(
            "there is no such file or directory"
            if not root.exists()
            else "that is neither a file nor a directory",
            where=where,
            fix="A relative path starts at the directory of the declaration.",
        )
    every = {file.relative_to(root).as_posix(): file for file in sorted(_walk(root))}
    wanted = {path: file for path, file in every.items() if patterns.wanted(path, weight)}
    patterns.refuse_nothing(wanted, weight, seen=len(every), where=where)
    names.check(wanted, where=where)
    for path, file in wanted.items():
        _refuse_strange(path, file)
    return wanted


def _walk(root: Path) -> Iterator[Path]:
    """Every entry that is no directory; links to directories are followed, once each."""
    entered: set[tuple[int, int]] = set()
    for folder, folders, files in os.walk(root, followlinks=True):
        state = Path(folder).stat()
        if (state.st_dev, state.st_ino) in entered:
            folders.clear()
            continue
        entered.add((state.st_dev, state.st_ino))
        yield from (Path(folder) / file for file in files)


def _refuse_strange(path: str, file: Path) -> None:
    try:
        mode = file.stat().st_mode
    except OSError as broken:
        raise StorageError(
            f"{path!r} cannot be read: {broken.strerror}",
            where=str(file),
            fix="Mend the link, or exclude it.",
        ) from broken
    if not stat.S_ISREG(mode):
        raise StorageError(
            f"{path!r} is not a regular file",
            where=str(file),
            fix="Remove it, or leave it out with exclude=[…].",
        )
    if not os.access(file, os.R_OK):
        raise StorageError(
            f"{path!r} may not be read", where=str(file), fix="Allow reading it, or exclude it."
        )


def _digest(file: Path, stamp: str, cancelled: threading.Event) -> str:
    digest = blobs.digest_of_file(file, cancelled)
    if _stamp(file) != stamp:
        raise StorageError(
            "the file changed while it was read", where=str(file), fix="Let whoever writes it finish."
        )
    return digest


def _stamp(file: Path) -> str:
    """Changes when the content does, as far as a file system tells."""
    state = file.stat()
    return f"{state.st_size} {state.st_mtime_ns} {state.st_ctime_ns} {state.st_dev} {state.st_ino}"


def _read_stamps(stamps_at: Path) -> dict[str, dict[str, str]]:
    try:
        stamps = record.from_data(dict[str, dict[str, str]], json.loads(stamps_at.read_bytes()))
    except (OSError, ValueError):
        return {}
    return stamps
