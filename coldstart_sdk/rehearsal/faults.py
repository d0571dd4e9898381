"""What can go wrong at an origin, as data.

Each fault waits for a GET of a path it matches, lets `skip` of them pass, and then strikes `times` of them.
"""

from __future__ import annotations

import fnmatch
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar, TypeAlias


@dataclass(frozen=True, kw_only=True)
class _Fault:
    tagged: ClassVar[bool] = True
    path: str = "*"
    """A shell pattern over the path, without its first slash."""
    times: int | None = 1
    """None: for ever."""
    skip: int = 0


@dataclass(frozen=True, kw_only=True)
class Cut(_Fault):
    """The body ends early, and the connection with it."""

    after_bytes: int = 0
    reset: bool = False
    """With a reset instead of an orderly end."""


@dataclass(frozen=True, kw_only=True)
class Refuse(_Fault):
    """A status instead of the file."""

    status: int = 503
    retry_after: str | None = None
    """The header's value, as it is sent."""


@dataclass(frozen=True, kw_only=True)
class WrongRange(_Fault):
    """The answer to a range is another range, one byte further on."""


@dataclass(frozen=True, kw_only=True)
class IgnoreRange(_Fault):
    """The answer to a range is 200 and the whole file."""


@dataclass(frozen=True, kw_only=True)
class Shorten(_Fault):
    """A shorter body, with a Content-Length that agrees with it."""

    by_bytes: int = 1


@dataclass(frozen=True, kw_only=True)
class Flip(_Fault):
    """One bit of one byte of the file is wrong; strikes where that byte is sent."""

    at_byte: int = 0


@dataclass(frozen=True, kw_only=True)
class Stall(_Fault):
    """After so many bytes nothing more comes, and the connection stays open."""

    after_bytes: int = 0


@dataclass(frozen=True, kw_only=True)
class NewETag(_Fault):
    """The file has been replaced: another ETag, and 412 to the old one."""


Fault: TypeAlias = Cut | Refuse | WrongRange | IgnoreRange | Shorten | Flip | Stall | NewETag


class Script:
    """The faults still to come."""

    def __init__(self, faults: Iterable[Fault] = ()) -> None:
        self._lock = threading.Lock()
        self._waiting = [_Waiting(fault) for fault in faults]

    def add(self, faults: Iterable[Fault]) -> None:
        with self._lock:
            self._waiting.extend(_Waiting(fault) for fault in faults)

    def clear(self) -> None:
        with self._lock:
            self._waiting.clear()

    def strike(self, path: str, start: int, end: int, *, ranged: bool) -> Fault | None:
        """The fault for this request, if there is one; the first that matches."""
        with self._lock:
            for waiting in self._waiting:
                if waiting.matches(path, start, end, ranged=ranged) and waiting.is_due():
                    return waiting.fault
        return None


class _Waiting:
    def __init__(self, fault: Fault) -> None:
        self.fault = fault
        self._seen = 0

    def matches(self, path: str, start: int, end: int, *, ranged: bool) -> bool:
        if not fnmatch.fnmatchcase(path, self.fault.path):
            return False
        match self.fault:
            case Flip(at_byte=at_byte):
                return start <= at_byte < end
            case WrongRange() | IgnoreRange():
                return ranged
            case _:
                return True

    def is_due(self) -> bool:
        self._seen += 1
        nth = self._seen - self.fault.skip
        return nth > 0 and (self.fault.times is None or nth <= self.fault.times)
