"""Spell durations, sizes and speeds: three digits, one unit, the same in every picture."""

from __future__ import annotations

_THOUSAND = 999.5
"""What rounds to less than a thousand stays in its unit."""
_SMALLEST_MS = 0.05
_WHOLE_MS = 9.95
_MINUTES_FROM_S = 119.5
_HOUR_M = 60
_UNITS = ("B", "kB", "MB", "GB", "TB")
_SLOWEST_MB = 0.01


def duration(seconds: float) -> str:
    """`0 ms`, `<0.1 ms`, `0.3 ms`, `520 ms`, `8.10 s`, `41.2 s`, `10m04s`, `2h05m`."""
    if seconds < 0:
        return "-" + duration(-seconds)
    if seconds * 1000 < _THOUSAND:
        return _milliseconds(seconds * 1000)
    if seconds < _MINUTES_FROM_S:
        return f"{three_digits(seconds)} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}m{rest:02d}s" if minutes < _HOUR_M else f"{minutes // 60}h{minutes % 60:02d}m"


def size(count: float) -> str:
    """`812 B`, `54.0 MB`, `1.30 GB`: powers of a thousand."""
    step = 0
    while step < len(_UNITS) - 1 and count >= _THOUSAND:
        count, step = count / 1000, step + 1
    return f"{count:.0f} B" if step == 0 else f"{three_digits(count)} {_UNITS[step]}"


def speed(count: float, seconds: float) -> str:
    """In MB/s, so that two of them can be held against each other."""
    per_s = count / seconds
    return f"{three_digits(per_s / 1e6)} MB/s" if per_s / 1e6 >= _SLOWEST_MB else f"{size(per_s)}/s"


def percent(share: float) -> str:
    """Rounded down, so that 100 % is all of it."""
    return f"{int(share * 100 + 1e-9)} %"


def three_digits(figure: float) -> str:
    for decimals, below in ((2, 9.995), (1, 99.95)):
        if figure < below:
            return f"{figure:.{decimals}f}"
    return f"{figure:.0f}"


def _milliseconds(figure: float) -> str:
    if figure < _SMALLEST_MS:
        return "<0.1 ms" if figure else "0 ms"
    return f"{figure:.1f} ms" if figure < _WHOLE_MS else f"{figure:.0f} ms"
