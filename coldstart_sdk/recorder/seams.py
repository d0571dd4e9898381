"""Places of the interpreter and of libraries that can be watched, and put back as they were.

A watcher stands in the traceback of whatever it watches. Frames of ours there would be noise to a user, so
code of ours that runs under an import claims to be the import system's, whose frames Python leaves out.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from types import FunctionType
from typing import Any

_IMPORT_SYSTEM = "<frozen importlib._bootstrap_external>"


class Seams:
    """What was replaced, to be put back in reverse order."""

    def __init__(self) -> None:
        self._undo: list[Callable[[], None]] = []

    def replace(self, owner: Any, name: str, by: Callable[[Any], Any]) -> None:  # noqa: ANN401 - a class or module of anybody's
        """Put `by(original)` in the place of `owner.name`; a place that cannot be taken is left alone."""
        own = vars(owner).get(name, _INHERITED)
        original = getattr(owner, name, None)
        if original is None:
            return
        fresh = by(original)
        with suppress(AttributeError, TypeError):
            setattr(owner, name, fresh)
            self._undo.append(lambda: _put_back(owner, name, own, fresh))

    def also(self, undo: Callable[[], None]) -> None:
        """Do this too when everything is put back."""
        self._undo.append(undo)

    def put_back(self) -> None:
        while self._undo:
            self._undo.pop()()


def unseen(function: FunctionType) -> FunctionType:
    """The function, with its frames left out of the traceback of a failing import."""
    function.__code__ = function.__code__.replace(co_filename=_IMPORT_SYSTEM)
    return function


def _put_back(owner: Any, name: str, own: Any, fresh: Any) -> None:  # noqa: ANN401 - as above
    if vars(owner).get(name) is not fresh:
        return  # somebody else has watched it since, and holds on to ours
    with suppress(AttributeError, TypeError):
        if own is _INHERITED:
            delattr(owner, name)
        else:
            setattr(owner, name, own)


_INHERITED = object()
