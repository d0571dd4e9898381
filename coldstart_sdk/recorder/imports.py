"""Time each top-level package while it is imported, and count the sources that had no bytecode.

The first finder of all looks a package up through the others, and times the loader that they found; the
loader is put back before anyone can see it. Submodules pass by at the price of one look at a name.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.machinery import ExtensionFileLoader, ModuleSpec, SourceFileLoader, SourcelessFileLoader
from types import ModuleType
from typing import Any

from coldstart_sdk.events import Resource, now
from coldstart_sdk.recorder.names import IMPORT, SOURCES, SOURCES_S
from coldstart_sdk.recorder.seams import Seams, unseen
from coldstart_sdk.recorder.sink import Sink

_TIMED = (SourceFileLoader, SourcelessFileLoader, ExtensionFileLoader)
"""Loaders that are made for one module each."""
_LEAST_S = 0.002

Loaded = Callable[[ModuleType], None]


def watch(sink: Sink, seams: Seams, *, then: Mapping[str, Loaded], before: Callable[[str], None]) -> None:
    """Watch imports; call `then[name]` when that module is loaded, at once if it already is."""
    finder = _Finder(sink, then, before)
    sys.meta_path.insert(0, finder)
    seams.also(finder.leave)
    seams.replace(SourceFileLoader, "source_to_code", lambda original: _counting(original, sink))
    for name, loaded in then.items():
        if module := sys.modules.get(name):
            loaded(module)


class _Finder:
    """Finds nothing by itself."""

    def __init__(self, sink: Sink, then: Mapping[str, Loaded], before: Callable[[str], None]) -> None:
        self._sink = sink
        self._then = then
        self._before = before

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if "." in name and name not in self._then:
            return None
        spec = self._found(name, path, target)
        loader = spec.loader if spec else None
        if type(loader) in _TIMED:
            self._before(name)
            loader.exec_module = _Timed(loader, name, self._sink, self._then.get(name))  # type: ignore[method-assign,union-attr] # put back before it runs
        return spec

    def leave(self) -> None:
        if self in sys.meta_path:
            sys.meta_path.remove(self)

    def _found(self, name: str, path: Sequence[str] | None, target: ModuleType | None) -> ModuleSpec | None:
        for finder in [*sys.meta_path]:
            find = None if finder is self else getattr(finder, "find_spec", None)
            if find and (spec := find(name, path, target)) is not None:
                return spec  # type: ignore[no-any-return] # the protocol of finders
        return None


class _Timed:
    """A loader's `exec_module`, once."""

    def __init__(self, loader: Any, name: str, sink: Sink, then: Loaded | None) -> None:  # noqa: ANN401 - one of _TIMED
        self._loader = loader
        self._name = name
        self._sink = sink
        self._then = then

    def __call__(self, module: ModuleType) -> None:
        del self._loader.exec_module
        started_s = now()
        try:
            self._loader.exec_module(module)
        finally:
            self._ended(started_s)
        if self._then:
            self._then(module)

    def _ended(self, started_s: float) -> None:
        ended_s = now()
        if "." not in self._name and ended_s - started_s >= _LEAST_S:
            self._sink.span(f"{IMPORT}:{self._name}", Resource.CPU, started_s, ended_s)


unseen(_Timed.__call__)  # type: ignore[arg-type] # a method's function


def _counting(original: Callable[..., Any], sink: Sink) -> Callable[..., Any]:
    def source_to_code(self: object, *arguments: object, **options: object) -> object:
        started_s = now()
        try:
            return original(self, *arguments, **options)
        finally:
            sink.count({SOURCES: 1.0, SOURCES_S: now() - started_s})

    return unseen(source_to_code)  # type: ignore[arg-type] # a plain function
