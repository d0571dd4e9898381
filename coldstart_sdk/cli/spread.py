"""Points that were measured, as a median with the least and the most beside it."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from coldstart_sdk.trace import figures


@dataclass(frozen=True, kw_only=True)
class Spread:
    """Median, least and most, and every point that they were drawn from."""

    median: float
    least: float
    most: float
    points: tuple[float, ...]

    @classmethod
    def of(cls, points: Sequence[float]) -> Spread | None:
        """None where nothing was measured."""
        if not points:
            return None
        return cls(
            median=statistics.median(points), least=min(points), most=max(points), points=tuple(points)
        )


def time(spread: Spread | None) -> str:
    """`21 ms (20–25)`, `1.20 s (810 ms – 2.31 s)`: a unit that all three share is told once."""
    if spread is None:
        return ""
    said = [figures.duration(seconds) for seconds in (spread.median, spread.least, spread.most)]
    units = {word.partition(" ")[2] for word in said}
    if len(units) > 1 or "" in units:
        return f"{said[0]} ({said[1]} – {said[2]})"
    return f"{said[0]} ({said[1].partition(' ')[0]}–{said[2].partition(' ')[0]})"


def times(spread: Spread | None) -> str:
    """`1.02 x (0.98–1.10)`."""
    return "" if spread is None else f"{spread.median:.2f} x ({spread.least:.2f}–{spread.most:.2f})"
