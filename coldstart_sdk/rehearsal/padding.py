"""Make a small set of weights weigh as much as a large one, so that a link has to carry it.

The padding is files full of nothing beside the weights: it is fetched, verified and kept like them, and
nobody loads it.
"""

from __future__ import annotations

import os
from pathlib import Path

SHARD_BYTES = 256 << 20
"""About the size of a shard of real weights."""


def pad(root: Path, folder: Path, *, name: str = "padding", total_bytes: int) -> int:
    """Add `name-00.bin` and so on to the folder until everything below the root has that size; how many."""
    there = sum(file.stat().st_size for file in root.rglob("*") if file.is_file())
    left, number = total_bytes - there, 0
    while left > 0:
        size = min(SHARD_BYTES, left)
        with (folder / f"{name}-{number:02}.bin").open("wb") as file:
            file.write(f"padding {number}".encode()[:size])  # no two alike, or one blob would serve for all
            os.ftruncate(file.fileno(), size)
        left, number = left - size, number + 1
    return number
