"""What `doctor` finds, one at a time: what it looked at, how that is, and the mend."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Level(str, enum.Enum):
    OK = "ok"
    WARN = "warn"
    """It works, and something will be slower or absent."""
    PROBLEM = "problem"
    """It will not work."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    about: str
    level: Level
    said: str
    fix: str | None = None
    """Set on everything that is not ok."""


def ok(about: str, said: str) -> Finding:
    return Finding(about=about, level=Level.OK, said=said)


def warn(about: str, said: str, *, fix: str) -> Finding:
    return Finding(about=about, level=Level.WARN, said=said, fix=fix)


def problem(about: str, said: str, *, fix: str) -> Finding:
    return Finding(about=about, level=Level.PROBLEM, said=said, fix=fix)
