"""Time each program that compiles, fetches, installs or deletes, from start to end; nobody waits longer."""

from __future__ import annotations

import os
import re
import select
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from coldstart_sdk.events import Resource, now
from coldstart_sdk.recorder.names import COMPILERS, DELETE, FETCHERS, INSTALLERS, RUN
from coldstart_sdk.recorder.sink import Sink

_SHELLS = frozenset({"sh", "bash", "dash", "zsh"})
_BEFORE = frozenset({"env", "nice", "sudo", "time", "exec"})
"""They run what comes after them."""
_FETCHES = frozenset({"clone", "fetch", "pull", "lfs"})
"""What git says when it brings something."""
_BUCKETS = ("s3://", "gs://", "az://")


def started(pid: int, command: object, started_s: float, sink: Sink) -> None:
    """Follow what `subprocess` has started."""
    said, step = told(command), sink.step
    if said and step:
        _follow(pid, lambda: sink.span(*said, started_s, now(), step=step))


def waited(original: Callable[[Any], int], command: object, sink: Sink) -> int:
    """What `os.system` gives, which waits for what it starts."""
    started_s = now()
    try:
        return original(command)
    finally:
        if said := told(command):
            sink.span(*said, started_s, now())


def told(command: object) -> tuple[str, Resource] | None:
    """What a command is called in a trace, and what it uses; None where it is nobody's business."""
    words = [*_words(command)]
    for at, word in enumerate(words):
        name, rest = _name(word), tuple(words[at + 1 :])
        if name in _BEFORE or "=" in name:
            continue
        if name.startswith("python"):
            name, rest = _by_python(rest)
        if name == "rm":
            return f"{DELETE}:{_name(rest[-1]) if rest else name}", Resource.DISK
        if name in COMPILERS:
            return f"{RUN}:{name}", Resource.CPU
        if name in INSTALLERS and "install" in rest[:2]:
            return f"{RUN}:{name}", Resource.NET
        if name in FETCHERS and _brings(name, rest):
            return f"{RUN}:{name}", Resource.NET
        if isinstance(command, list | tuple) and not _is_shell(command):
            return None
    return None


def _words(command: object) -> Sequence[str]:
    """One by one; of a shell's line those of all its commands."""
    if isinstance(command, list | tuple):
        words = [os.fsdecode(word) for word in command if isinstance(word, str | bytes | os.PathLike)]
        return _split(words[-1]) if _is_shell(words) else words
    if isinstance(command, str | bytes | os.PathLike):
        return _split(os.fsdecode(command))
    return ()


def _is_shell(words: Sequence[object]) -> bool:
    """Whether it is `sh -c …`."""
    if len(words) < 3 or not isinstance(words[1], str | bytes):  # noqa: PLR2004 - a shell, its option, its line
        return False
    return _name(str(words[0])) in _SHELLS and os.fsdecode(words[1]).startswith("-") and "c" in str(words[1])


def _split(line: str) -> list[str]:
    return [word.strip("'\"") for word in re.split(r"[\s;&|()]+", line) if word]


def _name(word: str) -> str:
    """The file name, without a version: `/usr/bin/g++-12` is `g++`."""
    return re.sub(r"-[0-9.]+$", "", word.rstrip("/").rpartition("/")[2])


def _by_python(rest: tuple[str, ...]) -> tuple[str, tuple[str, ...]]:
    """`python -m pip …` is pip, `python setup.py build_ext` a build."""
    for at, word in enumerate(rest[:4]):
        if word == "-m" and at + 1 < len(rest):
            return rest[at + 1], rest[at + 2 :]
        if _name(word) == "setup.py":
            return "setup.py", rest[at + 1 :]
    return "", rest


def _brings(name: str, rest: Sequence[str]) -> bool:
    """Whether it fetches: git does other things too, and a bucket's client may send."""
    if name == "git":
        return not _FETCHES.isdisjoint(rest[:3])
    return not (rest and rest[-1].startswith(_BUCKETS))


def _follow(pid: int, ended: Callable[[], None]) -> None:
    """Call back when the process ends, without taking its exit code from whoever waits for it."""
    with suppress(OSError, AttributeError):  # a kernel without pidfd tells nothing
        descriptor = os.pidfd_open(pid)
        threading.Thread(
            target=_wait, args=(descriptor, ended), name="coldstart-programs", daemon=True
        ).start()


def _wait(descriptor: int, ended: Callable[[], None]) -> None:
    try:
        select.select([descriptor], [], [])
        ended()
    finally:
        os.close(descriptor)
