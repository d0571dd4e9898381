"""Volumes as Modal keeps them: what was committed, and for each container a folder of its own.

A container sees what was committed when it started or last reloaded. What it writes, others see after a
commit: its own, one in the background, or the one at its end. The later commit of one file wins.
"""

from __future__ import annotations

import os
import shutil
import stat
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

LINKED_BYTES = 16 << 20
"""From this size on a file is linked, not copied: weights are written once. Whoever changes one in place
changes it for everybody, which Modal would not do."""
Mark = tuple[int, ...] | str
"""What tells that a file is another one, or was written to: a link's target, `/` for a folder."""


@dataclass(frozen=True, kw_only=True)
class Volume:
    id: str
    name: str
    folder: Path
    """What was committed."""
    version: Any
    """api_pb2.VolumeFsVersion"""
    lock: threading.Lock = field(default_factory=threading.Lock, compare=False)


class View:
    """A volume as one container sees it."""

    def __init__(self, volume: Volume, folder: Path) -> None:
        self.volume = volume
        self.folder = folder
        self._here: Mapping[str, Mark] = {}
        """As it was when it held what was committed."""
        self._there: Mapping[str, Mark] = {}
        """What was committed, as it was then."""
        folder.mkdir(parents=True)
        self.follow()

    def uncommitted(self) -> tuple[str, ...]:
        """What was written or removed here since."""
        return _differing(self._here, _marks(self.folder))

    def commit(self) -> None:
        with self.volume.lock:
            here = _marks(self.folder)
            changed = _differing(self._here, here)
            _bring(changed, self.folder, self.volume.folder)
            there = _marks(self.volume.folder) if changed else {}
            kept = {path: mark for path, mark in self._there.items() if path not in changed}
            self._there = kept | {path: there[path] for path in changed if path in there}
            self._here = here

    def follow(self, also: Iterable[str] = ()) -> None:
        """See what others have committed; `also` are paths that are to be as they were committed."""
        with self.volume.lock:
            there = _marks(self.volume.folder)
            _bring(sorted({*_differing(self._there, there), *also}), self.volume.folder, self.folder)
            self._there, self._here = there, _marks(self.folder)

    def forget(self) -> tuple[str, ...]:
        """Go back to what was committed, as on another machine; what was lost by it."""
        lost = self.uncommitted()
        self.follow(lost)
        return lost


def open_below(process: int, folder: Path) -> str | None:
    """A path in there that this process, or one that it started, has open or works in."""
    for each in _with_children(process):
        with suppress(OSError):  # it has ended meanwhile
            for link in (*Path(f"/proc/{each}/fd").iterdir(), Path(f"/proc/{each}/cwd")):
                with suppress(OSError, ValueError):  # closed meanwhile; or it lies elsewhere
                    return str(link.readlink().relative_to(folder))
    return None


def _with_children(process: int) -> Iterator[int]:
    yield process
    with suppress(OSError):  # it has ended meanwhile
        for task in Path(f"/proc/{process}/task").iterdir():
            for child in (task / "children").read_text(encoding="ascii").split():
                yield from _with_children(int(child))


def _marks(root: Path) -> dict[str, Mark]:
    found: dict[str, Mark] = {}
    for folder, folders, files in os.walk(root):
        for name in (*folders, *files):
            path = os.path.join(folder, name)  # noqa: PTH118 - many files
            with suppress(FileNotFoundError):  # gone since
                found[os.path.relpath(path, root)] = _mark(path)
    return found


def _mark(path: str) -> Mark:
    told = os.lstat(path)
    if stat.S_ISLNK(told.st_mode):
        return str(Path(path).readlink())
    return "/" if stat.S_ISDIR(told.st_mode) else (told.st_ino, told.st_size, told.st_mtime_ns, told.st_mode)


def _differing(before: Mapping[str, Mark], now: Mapping[str, Mark]) -> tuple[str, ...]:
    return tuple(sorted(path for path in {**before, **now} if before.get(path) != now.get(path)))


def _bring(paths: Iterable[str], source: Path, target: Path) -> None:
    """Make these be there what they are here, or be missing."""
    for path in paths:  # sorted: a folder comes before what lies in it
        with suppress(FileNotFoundError, NotADirectoryError):  # gone since: the next time sees that
            _one(source / path, target / path, source, target)


def _one(here: Path, there: Path, source: Path, target: Path) -> None:
    if here.is_dir() and not here.is_symlink():
        if there.is_symlink() or there.is_file():
            there.unlink()
        there.mkdir(parents=True, exist_ok=True)
        return
    if there.is_dir() and not there.is_symlink():
        shutil.rmtree(there)
    if not (here.exists() or here.is_symlink()):
        there.unlink(missing_ok=True)
        return
    part = target.with_name(f".{target.name}.part")
    part.unlink(missing_ok=True)
    _copy(here, part, source, target)
    part.replace(there)
    part.unlink(missing_ok=True)  # two names of one file are left as they are


def _copy(file: Path, part: Path, source: Path, target: Path) -> None:
    if file.is_symlink():
        led = file.readlink()
        part.symlink_to(target / led.relative_to(source) if led.is_relative_to(source) else led)
        return
    if file.stat().st_size >= LINKED_BYTES:
        with suppress(OSError):  # another file system
            os.link(file, part)
            return
    shutil.copy2(file, part)
