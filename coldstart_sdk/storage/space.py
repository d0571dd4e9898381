"""Space first: what does not fit is refused before its first byte."""

from __future__ import annotations

import os
from pathlib import Path

from coldstart_sdk.errors import StorageError


def refuse_too_large(directory: Path, needed_bytes: int) -> None:
    state = os.statvfs(directory)
    free = state.f_bavail * state.f_frsize
    if needed_bytes <= free:
        return
    raise StorageError(
        f"{human(needed_bytes)} are needed and {human(free)} are free",
        where=str(directory),
        fix=f"Free {human(needed_bytes - free)}, or set COLDSTART_HOME to a disk with {human(needed_bytes)}.",
    )


def human(count: float) -> str:
    """Decimal units, as disks and links are sold; rounded up, so that it can be acted on."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:  # noqa: PLR2004 - the step between units
            return f"{-(-count * 10 // 1) / 10:g} {unit}" if unit != "B" else f"{count:g} B"
        count /= 1000
    return f"{-(-count * 10 // 1) / 10:g} TB"
