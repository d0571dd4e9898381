"""What kind of disk a directory lies on."""

from __future__ import annotations

import functools
import os
from pathlib import Path

_OUR_OWN = frozenset({"btrfs", "ext2", "ext3", "ext4", "f2fs", "overlay", "tmpfs", "xfs", "zfs"})
_MOUNTS = Path("/proc/self/mountinfo")


def is_our_own(directory: Path) -> bool:
    """Whether no other machine can read it: what is written there need not be flushed to be seen."""
    return kind(directory) in _OUR_OWN


def kind(directory: Path) -> str | None:
    """The file system's name, as `mount` has it; None where nobody says."""
    try:
        return _kinds().get(directory.stat().st_dev)
    except (OSError, ValueError, IndexError):
        return None


@functools.cache
def _kinds() -> dict[int, str]:
    return read_kinds(_MOUNTS.read_text(encoding="utf-8", errors="replace"))


def read_kinds(mounts: str) -> dict[int, str]:
    """Device → kind, of the kernel's list of what is mounted."""
    kinds = {}
    for line in mounts.splitlines():
        here, _, there = line.partition(" - ")
        major, _, minor = here.split()[2].partition(":")
        kinds[os.makedev(int(major), int(minor))] = there.split()[0]
    return kinds
