"""`--watch`: start again after each change of the project.

Each turn is a process of its own, so that nothing of the last one is left in it: Python keeps what it has
imported.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import FrameType
from typing import NoReturn, TypeAlias

from click.exceptions import Exit

from coldstart_sdk import entry
from coldstart_sdk.cli import settings
from coldstart_sdk.cli.console import Console

Stamps: TypeAlias = Mapping[str, tuple[int, int]]
"""File → when it was written, and its size."""

_POLL_S = 0.2
_QUIET_S = 0.2
"""How long nothing may change before a turn begins: an editor writes in several strokes."""
_IGNORED = frozenset({"__pycache__", "build", "dist", "node_modules"})
_WATCHED = frozenset({".py", ".toml", ".json", ".yaml", ".yml", ".txt", ".lock"})
_NAMED = 3
"""Changed files that are named."""
_MOST = 20_000
"""Files that are looked at; a folder with more is no project."""


def again_and_again(reference: str, console: Console, *ours: str | None) -> NoReturn:
    """The same command without `--watch`, after each change; ends with SIGINT or SIGTERM.

    `ours` are the files that the command itself writes, whose change is none.
    """
    project = entry.folder_of(reference)
    home = settings.home(None, os.environ, settings.of_project(project))
    kept = frozenset({home, *(Path(path).resolve() for path in ours if path)})
    stop = _Stop()
    command = [
        sys.executable,
        "-m",
        "coldstart_sdk.cli",
        *(word for word in sys.argv[1:] if word != "--watch"),
    ]
    while not stop.asked.is_set():
        before = stamps(project, kept)
        with subprocess.Popen(command) as turn:
            stop.turn = turn
            changed = _until_change(before, lambda: stamps(project, kept), stop, _Ended(turn, console))
            _end(turn)
        if changed:
            more = " and more" if len(changed) > _NAMED else ""
            console.insist(f"changed {', '.join(changed[:_NAMED])}{more}: again")
    raise Exit(128 + (stop.signal or signal.SIGINT))


def stamps(project: Path, kept: frozenset[Path]) -> Stamps:
    """What each file of the project looks like now, but for what we keep there ourselves."""
    found: dict[str, tuple[int, int]] = {}
    for path in _files(project, kept):
        try:
            status = path.stat()
        except OSError:
            continue
        found[str(path.relative_to(project))] = (status.st_mtime_ns, status.st_size)
        if len(found) >= _MOST:
            break
    return found


class _Stop:
    """Whether we were asked to stop; what is running hears of it."""

    def __init__(self) -> None:
        self.asked = threading.Event()
        self.signal: int | None = None
        self.turn: subprocess.Popen[bytes] | None = None
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._asked)

    def _asked(self, number: int, _frame: FrameType | None) -> None:
        self.signal = number
        self.asked.set()
        # A terminal sends SIGINT to the turn itself; whoever sends SIGTERM sends it to us alone.
        if number == signal.SIGTERM and self.turn is not None and self.turn.poll() is None:
            self.turn.terminate()


class _Ended:
    """Says once that a turn has ended; of one that went well only where we are not quiet."""

    def __init__(self, turn: subprocess.Popen[bytes], console: Console) -> None:
        self._turn = turn
        self._console = console
        self._is_told = False

    def __call__(self) -> None:
        if not self._is_told and (code := self._turn.poll()) is not None:
            self._is_told = True
            tell = self._console.insist if code else self._console.say
            tell("waiting for the next change")


def _until_change(
    before: Stamps, look: Callable[[], Stamps], stop: _Stop, meanwhile: Callable[[], None]
) -> list[str]:
    """The files that changed, once nothing changes any more; none when we were asked to stop."""
    while not stop.asked.wait(_POLL_S):
        meanwhile()
        seen = look()
        if seen == before:
            continue
        while not stop.asked.wait(_QUIET_S):
            if (later := look()) == seen:
                return sorted(name for name in {*before, *seen} if before.get(name) != seen.get(name))
            seen = later
    return []


def _end(turn: subprocess.Popen[bytes]) -> None:
    """Ask it to end; it ends its own worker, or kills it when asked again."""
    for ask in (turn.terminate, turn.terminate, turn.kill):
        if turn.poll() is not None:
            return
        ask()
        try:
            turn.wait(10)
        except subprocess.TimeoutExpired:
            continue


def _files(folder: Path, kept: frozenset[Path]) -> Iterator[Path]:
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError:
        return
    for entry_ in entries:
        if entry_.name.startswith(".") or entry_.name in _IGNORED or entry_.is_symlink():
            continue
        path = Path(entry_.path)
        if path in kept:
            continue
        if entry_.is_dir():
            if not (path / "pyvenv.cfg").exists():
                yield from _files(path, kept)
        elif path.suffix in _WATCHED:
            yield path
