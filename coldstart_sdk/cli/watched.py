"""What reading a declaration depended on, so that it need not be read again until something of that changes.

Importing a declaration may cost seconds: a top-level `import torch` alone costs three. What was read is kept
with everything it came from: the files outside the interpreter that were imported or opened, the names of the
project's modules, every environment variable that the project's sources name, the interpreter and what is
installed. Where a declaration started a program, opened a connection or listed a folder, nothing is kept.
"""

from __future__ import annotations

import functools
import hashlib
import os
import re
import sys
import sysconfig
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

import coldstart_sdk

_OUTSIDE = frozenset(
    {
        "glob.glob",
        "os.exec",
        "os.fork",
        "os.forkpty",
        "os.listdir",
        "os.posix_spawn",
        "os.scandir",
        "os.system",
        "pathlib.Path.glob",
        "pathlib.Path.rglob",
        "socket.connect",
        "socket.getaddrinfo",
        "subprocess.Popen",
    }
)
"""Audit events after which an answer may differ although no file that we saw did."""
_PSEUDO = ("/proc", "/sys", "/dev")
_PACKAGES = frozenset({"site-packages", "dist-packages"})
_OURS = str(Path(coldstart_sdk.__file__).parent)
_IMPORTER = "<frozen importlib."


@dataclass(frozen=True, kw_only=True)
class Watched:
    """Everything that one reading came from."""

    files: Mapping[str, str | None]
    """Path → digest; None: it was looked for, and was not there."""
    modules: Mapping[str, str]
    """Folder → digest of the names of the modules in it, one of which may hide another."""
    env: Mapping[str, str]
    """Name → digest of the value; no value is kept."""
    words: tuple[str, ...]
    """Every word of the sources in lower case: a variable of such a name may appear later."""
    interpreter: str

    def is_fresh(self) -> bool:
        return (
            self.interpreter == _interpreter()
            and all(_digest_of_file(path) == digest for path, digest in self.files.items())
            and all(_names_in(Path(folder)) == digest for folder, digest in self.modules.items())
            and _environment(frozenset(self.words)) == self.env
        )


@dataclass
class Seen:
    """What an open recording has seen so far."""

    project: Path
    interpreter: str
    paths: set[Path] = field(default_factory=set)
    outside: bool = False
    """Something that cannot be looked at again was asked."""
    before: frozenset[str] = field(default_factory=lambda: frozenset(sys.modules))

    def watched(self) -> Watched | None:
        """All of it as data; None where it cannot be told whether it changed."""
        if self.outside:
            return None
        imported = {name: sys.modules.get(name) for name in set(sys.modules) - self.before}
        files = {Path(path) for module in imported.values() if (path := getattr(module, "__file__", None))}
        files |= self.paths
        ours = [path for path in map(_source_of, files) if not _is_installed(path)]
        sources = [path for path in ours if path.suffix == ".py"]
        words = {word.casefold() for path in sources for word in _words(path)}
        return Watched(
            files={str(path): _digest_of_file(path) for path in sorted(set(ours))},
            modules={
                str(folder): _names_in(folder)
                for folder in {self.project, *(path.parent for path in sources)}
            },
            env=_environment(words),
            words=tuple(sorted(words)),
            interpreter=self.interpreter,
        )


@contextmanager
def recording(project: Path) -> Iterator[Seen]:
    """Take down what is opened and asked while a declaration of that project is read."""
    global _hooked  # noqa: PLW0603 - an audit hook cannot be taken away, so there is one for each process
    if not _hooked:
        sys.addaudithook(_heard)
        _hooked = True
    seen = Seen(project=project, interpreter=_interpreter())
    _open.append(seen)
    try:
        yield seen
    finally:
        _open.remove(seen)


_open: list[Seen] = []
_hooked = False


def _heard(event: str, arguments: tuple[object, ...]) -> None:
    if not _open:
        return
    if event == "open":
        path = arguments[0]
        if isinstance(path, str | bytes | os.PathLike):
            _open[-1].paths.add(Path(os.path.abspath(os.fsdecode(path))))  # noqa: PTH100 - `resolve` would open files in turn
    elif event in _OUTSIDE and not _by_importing(sys._getframe(1)):  # noqa: SLF001 - the caller of the audited call
        _open[-1].outside = True


def _by_importing(frame: FrameType | None) -> bool:
    """Whether the import of a library asked, or we did, rather than the user's own code."""
    while frame is not None:
        name = frame.f_code.co_filename
        if name.startswith((_IMPORTER, _OURS)):
            return True
        if not name.startswith("<") and not _is_installed(Path(name)):
            return False
        frame = frame.f_back
    return True


def _source_of(path: Path) -> Path:
    """Of a compiled file, what it was compiled from."""
    if path.parent.name == "__pycache__" and path.suffix == ".pyc":
        return path.parent.parent / f"{path.name.partition('.')[0]}.py"
    return path


def _is_installed(path: Path) -> bool:
    """Whether it came with the interpreter or with a package: both are known by other means."""
    return str(path).startswith(_installed())


@functools.cache
def _installed() -> tuple[str, ...]:
    places = {
        *(sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")),
        *(path for path in sys.path if Path(path).name in _PACKAGES),
        _OURS,
        *_PSEUDO,
    }
    return tuple(f"{place.rstrip('/')}/" for place in places)


def _interpreter() -> str:
    """What Python this is, where it imports from, and when each place of packages last changed."""
    places = [path for path in map(Path, sys.path) if path.name in _PACKAGES]
    code = sorted(Path(_OURS).rglob("*.py"))
    stamps = [path.stat().st_mtime_ns for path in (*places, *code) if path.exists()]
    return _digest(repr((sys.version, sys.prefix, sys.path[1:], _OURS, stamps)).encode())


def _digest_of_file(path: Path | str) -> str | None:
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - it may be a string
            return _digest(file.read())
    except OSError:
        return None


def _names_in(folder: Path) -> str:
    """Which modules could be imported from it."""
    try:
        names = [
            entry.name
            for entry in os.scandir(folder)
            if entry.name.endswith((".py", ".so")) or (entry.is_dir() and entry.name.isidentifier())
        ]
    except OSError:
        names = []
    return _digest("\0".join(sorted(name for name in names if name != "__pycache__")).encode())


def _environment(words: Collection[str]) -> dict[str, str]:
    """The variables that go by one of these words, each with a digest of its value."""
    return {
        name: _digest(f"{name}={value}".encode("utf-8", "surrogateescape"))
        for name, value in sorted(os.environ.items())
        if name.casefold() in words
    }


def _words(path: Path) -> Iterator[str]:
    try:
        yield from re.findall(r"[A-Za-z_]\w*", path.read_text(encoding="utf-8", errors="replace"))
    except OSError:
        return


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
