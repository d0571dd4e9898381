"""Compiled kernels: what an image was built with becomes the beginning of what the volume keeps."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

CACHE = "TRITON_CACHE_DIR"
"""Names one of the folders that lie side by side."""


def seed(env: Mapping[str, str], built: Path) -> bool:
    """Copy them there, once: whether that was done. Best effort: what is missing is compiled again."""
    if CACHE not in env:
        return False
    kept = Path(env[CACHE]).parent
    with suppress(OSError):
        if kept != built and built.is_dir() and not (kept.is_dir() and any(kept.iterdir())):
            shutil.copytree(built, kept, dirs_exist_ok=True)
            return True
    return False
