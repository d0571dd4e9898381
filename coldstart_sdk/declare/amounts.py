"""Durations and sizes as people write them."""

from __future__ import annotations

import math
import re

_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
_BYTES = {"B": 1} | {
    unit + suffix: scale**power
    for power, unit in enumerate("KMGTP", start=1)
    for suffix, scale in (("B", 1000), ("iB", 1024))
}
LONGEST_S = 24 * 3600
DURATION = 'seconds as a number, or a string such as "30s", "5m" or "1h"; more than 0 and at most 24h'
SIZE = 'bytes as a whole number, or a string such as "500MB", "10GB" or "1TiB"; more than 0'


def seconds(value: object) -> float | None:
    """The duration in seconds; None when it is not `DURATION`."""
    if isinstance(value, str):
        parts = re.findall(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)", value)
        if not re.fullmatch(r"(?:\d+(?:\.\d+)?\s*(?:ms|s|m|h|d)\s*)+", value):
            return None
        number = sum(float(count) * _SECONDS[unit] for count, unit in parts)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        number = value
    else:
        return None
    return float(number) if math.isfinite(number) and 0 < number <= LONGEST_S else None


def size_bytes(value: object) -> int | None:
    """The size in bytes; None when it is not `SIZE`."""
    if isinstance(value, str):
        match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGTP]?i?B)", value)
        if not match or match[2] not in _BYTES:
            return None
        value = round(float(match[1]) * _BYTES[match[2]])
    if not isinstance(value, int) or isinstance(value, bool):
        return None
    return value if 0 < value < 2**63 else None
