"""Time what torch reads, moves, fills with random numbers and compiles, once torch is there."""

from __future__ import annotations

import functools
import os
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any

from coldstart_sdk.events import Resource, now
from coldstart_sdk.recorder.names import (
    CACHE_BYPASSES,
    CACHE_HITS,
    CACHE_MISSES,
    CACHEABLE_S,
    COMPILE,
    DEVICE_ASKED,
    INITS,
    INITS_S,
    MOVE,
    READ,
    RECOMPILES,
)
from coldstart_sdk.recorder.seams import Seams
from coldstart_sdk.recorder.sink import Sink

_DRAWS = (
    "uniform_",
    "normal_",
    "trunc_normal_",
    "xavier_uniform_",
    "xavier_normal_",
    "kaiming_uniform_",
    "kaiming_normal_",
    "orthogonal_",
    "sparse_",
)
_FILLS = ("normal_", "uniform_")
"""Methods of a tensor that libraries fill one with by themselves."""
_LEAST_S = 0.001


class Tensors:
    """The watchers of one start."""

    def __init__(self, sink: Sink, seams: Seams, project: Path) -> None:
        self._sink = sink
        self._seams = seams
        self._project = str(project) + os.sep
        self._began_s: dict[int, float] = {}
        self._last: dict[str, float] = {}
        self._drawn = threading.local()
        """Whether the calling thread is in a draw: some are made of others."""

    def watch(self, module: ModuleType) -> None:
        """Watch this module, which has just been loaded."""
        watchers = {
            "torch": self._torch,
            "safetensors.torch": self._safetensors,
            "torch._dynamo.callback": self._dynamo,
        }
        watchers[module.__name__](module)

    def _torch(self, torch: Any) -> None:  # noqa: ANN401 - the module
        for name in _DRAWS:
            self._seams.replace(torch.nn.init, name, self._drawing)
        for name in _FILLS:
            self._seams.replace(torch.Tensor, name, self._drawing)
        self._seams.replace(torch, "load", self._reading)
        self._seams.replace(torch.nn.Module, "to", self._moving)
        self._seams.replace(torch.nn.Module, "cuda", self._moving)
        self._seams.replace(torch.cuda, "is_available", self._asking)

    def _safetensors(self, module: ModuleType) -> None:
        self._seams.replace(module, "load_file", self._reading)

    def _dynamo(self, callback: Any) -> None:  # noqa: ANN401 - the module
        with suppress(AttributeError):  # older ones have no such callbacks: their compilations go unseen
            handler = callback.callback_handler
            handler.register_start_callback(self._compile_begins)
            handler.register_end_callback(self._compile_ends)
            self._seams.also(lambda: handler.remove_start_callback(self._compile_begins))
            self._seams.also(lambda: handler.remove_end_callback(self._compile_ends))

    # ---- wrappers

    def _drawing(self, original: Callable[..., Any]) -> Callable[..., Any]:
        drawing = self._drawn

        @functools.wraps(original)
        def draw(*arguments: Any, **options: Any) -> object:  # noqa: ANN401 - a tensor, and how it is filled
            filled = arguments[0] if arguments else options.get("tensor")
            if getattr(drawing, "is_told", False) or getattr(filled, "is_meta", False):
                return original(*arguments, **options)
            drawing.is_told = True
            started_s = now()
            try:
                return original(*arguments, **options)
            finally:
                drawing.is_told = False
                self._sink.count({INITS: 1.0, INITS_S: now() - started_s})

        return draw

    def _reading(self, original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def read(file: Any, *arguments: object, **options: object) -> object:  # noqa: ANN401 - a path or an open file
            started_s = now()
            try:
                return original(file, *arguments, **options)
            finally:
                name, size = _file(file)
                self._sink.span(f"{READ}:{name}", Resource.DISK, started_s, now(), count=size)

        return read

    def _moving(self, original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def move(module: Any, *arguments: object, **options: object) -> object:  # noqa: ANN401 - a torch module
            started_s = now()
            try:
                return original(module, *arguments, **options)
            finally:
                ended_s = now()
                where = str(arguments[0] if arguments else options.get("device", "cuda"))
                if ended_s - started_s >= _LEAST_S:
                    self._sink.span(f"{MOVE}:{where[:20]}", Resource.GPU, started_s, ended_s)

        return move

    def _asking(self, original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def is_available() -> object:
            asked_by = sys._getframe(1).f_code.co_filename  # noqa: SLF001 - the documented way to see who calls
            if asked_by.startswith(self._project) and "site-packages" not in asked_by:
                self._sink.count({DEVICE_ASKED: 1.0})
            return original()

        return is_available

    # ---- compilations

    def _compile_begins(self, _what: object) -> None:
        self._began_s[threading.get_ident()] = now()

    def _compile_ends(self, _what: object) -> None:
        began_s = self._began_s.pop(threading.get_ident(), None)
        if began_s is not None:
            self._sink.span(f"{COMPILE}:torch", Resource.CPU, began_s, now())

    def step_ends(self, step: str) -> None:
        """Tell what torch has counted itself since the last step ended."""
        dynamo = sys.modules.get("torch._dynamo.utils")
        if dynamo is None:
            return
        seen = _counted(dynamo)
        fresh = {name: count - self._last.get(name, 0.0) for name, count in seen.items()}
        self._last = seen
        if told := {name: count for name, count in fresh.items() if count > 0}:
            self._sink.count(told, step=step)


def _counted(dynamo: Any) -> dict[str, float]:  # noqa: ANN401 - the module
    with suppress(AttributeError, TypeError, KeyError):
        counters, times = dynamo.counters, dynamo.compilation_time_metrics
        inductor = counters.get("inductor", {})
        return {
            CACHE_HITS: float(inductor.get("fxgraph_cache_hit", 0)),
            CACHE_MISSES: float(inductor.get("fxgraph_cache_miss", 0)),
            CACHE_BYPASSES: float(
                inductor.get("fxgraph_cache_bypass", 0)
                + counters.get("aot_autograd", {}).get("autograd_cache_bypass", 0)
            ),
            RECOMPILES: float(_again()),
            CACHEABLE_S: float(sum(times.get("fx_codegen_and_compile", ()))),
        }
    return {}


def _again() -> int:
    """How often code was compiled that had been before: torch counts each piece under a number of its own."""
    convert = sys.modules.get("torch._dynamo.convert_frame")
    compiled: dict[object, int] = getattr(convert, "FRAME_COMPILE_COUNTER", {})
    return sum(compiled.values()) - len(compiled)


def _file(file: object) -> tuple[str, int | None]:
    if not isinstance(file, str | os.PathLike):
        file = getattr(file, "name", None)
    if not isinstance(file, str | os.PathLike):
        return "memory", None
    path = Path(file)
    with suppress(OSError):
        return path.name, path.stat().st_size
    return path.name, None
