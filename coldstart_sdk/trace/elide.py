"""Fit names into columns: wide characters count twice, and names that differ stay different if they can."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

_TAILS = (0.5, 0.25, 0.75, 0.0, 1.0)
"""Shares of the room that go to a name's end, tried in this order."""


def columns(text: str) -> int:
    """How many columns of a terminal it fills."""
    return sum(2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text)


def head(text: str, width: int) -> str:
    """As much of its beginning as fits."""
    taken = 0
    for at, char in enumerate(text):
        taken += columns(char)
        if taken > width:
            return text[:at]
    return text


def elide(text: str, width: int, mark: str, *, tail: float = 0.5) -> str:
    """The text, with `mark` in place of what does not fit."""
    if columns(text) <= width:
        return text
    room = max(0, width - len(mark))
    end = head(text[::-1], int(room * tail))[::-1]
    return head(text, room - columns(end)) + mark[:width] + end


def elide_all(names: Sequence[str], width: int, mark: str) -> list[str]:
    """All of them, cut at the place that leaves the most of them different."""
    ways = ([elide(name, width, mark, tail=tail) for name in names] for tail in _TAILS)
    return max(ways, key=lambda cut: len(set(cut)))


def plain(text: str) -> str:
    """One line, in which nothing steers a terminal or breaks a document."""
    return "".join("?" if unicodedata.category(char)[0] == "C" else char for char in " ".join(text.split()))
