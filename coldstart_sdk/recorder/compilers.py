"""Time each compiler that is started, from its start to its end; nobody waits longer for it."""

from __future__ import annotations

import os
import re
import select
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from coldstart_sdk.events import Resource, now
from coldstart_sdk.recorder.names import RUN
from coldstart_sdk.recorder.seams import Seams
from coldstart_sdk.recorder.sink import Sink

_COMPILERS = frozenset(
    {
        "cc",
        "c++",
        "gcc",
        "g++",
        "clang",
        "clang++",
        "nvcc",
        "ptxas",
        "ninja",
        "hipcc",
        "cmake",
        "make",
        "rustc",
        "cargo",
    }
)


def watch(sink: Sink, seams: Seams, subprocess: Any) -> None:  # noqa: ANN401 - the module
    """Watch what `subprocess` starts."""
    seams.replace(subprocess.Popen, "__init__", lambda original: _starting(original, sink))


def _starting(original: Callable[..., None], sink: Sink) -> Callable[..., None]:
    def __init__(self: Any, args: Any, *rest: Any, **options: Any) -> None:  # noqa: ANN401, N807 - Popen's own
        started_s = now()
        original(self, args, *rest, **options)
        name, step = _program(args), sink.step
        if name in _COMPILERS and step:
            _follow(self.pid, lambda: sink.span(f"{RUN}:{name}", Resource.CPU, started_s, now(), step=step))

    return __init__


def _program(args: object) -> str:
    """The first word's file name, without a version: `/usr/bin/g++-12` is `g++`."""
    words = args.split() if isinstance(args, str) else args if isinstance(args, list | tuple) else [args]
    if not words or not isinstance(words[0], str | bytes | os.PathLike):
        return ""
    name = os.fsdecode(words[0]).rpartition("/")[2]
    return re.sub(r"-[0-9.]+$", "", name)


def _follow(pid: int, ended: Callable[[], None]) -> None:
    """Call back when the process ends, without taking its exit code from whoever waits for it."""
    with suppress(OSError, AttributeError):  # a kernel without pidfd tells nothing
        descriptor = os.pidfd_open(pid)
        threading.Thread(
            target=_wait, args=(descriptor, ended), name="coldstart-compiler", daemon=True
        ).start()


def _wait(descriptor: int, ended: Callable[[], None]) -> None:
    try:
        select.select([descriptor], [], [])
        ended()
    finally:
        os.close(descriptor)
