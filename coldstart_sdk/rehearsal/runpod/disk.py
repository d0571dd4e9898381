"""A folder behind a disk of a chosen speed, for whatever reads or writes it, mapped files too.

bindfs mounts the folder a second time through FUSE and paces its reads and writes. What was read once is in
the page cache, as with any disk; a new mount begins with an empty one.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from coldstart_sdk.errors import PlatformError

_PATIENCE_S = 10.0


@contextmanager
def slowed(folder: Path, place: Path, rate_bytes_s: float) -> Iterator[None]:
    """While it lasts, the files of `folder` are at `place`, at that speed."""
    bindfs = shutil.which("bindfs")
    if bindfs is None:
        raise PlatformError(
            "the speed of a disk is bindfs's to set, and it is not here",
            fix="Install it (apt install bindfs), or leave disk out.",
        )
    place.mkdir(exist_ok=True)
    rates = [f"--{way}-rate={rate_bytes_s:.0f}" for way in ("read", "write")]
    # Without `kernel_cache` every opening of a file would be read from the disk again.
    command = [bindfs, "-f", "--no-allow-other", *rates, "-o", "kernel_cache", str(folder), str(place)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as mount:
        try:
            _until_mounted(mount, place)
            yield
        finally:
            _unmount(place)
            mount.terminate()


def _until_mounted(mount: subprocess.Popen[str], place: Path) -> None:
    ends = time.monotonic() + _PATIENCE_S
    while not os.path.ismount(place):
        if mount.poll() is not None or time.monotonic() > ends:
            mount.terminate()
            said = " ".join((mount.stderr.read() if mount.stderr else "").split())
            raise PlatformError(
                f"bindfs could not mount a disk: {said[-200:] or 'it said nothing'}",
                fix="It needs /dev/fuse, and fusermount where you are not root; or leave disk out.",
            )
        time.sleep(0.01)


def _unmount(place: Path) -> None:
    """At once, whoever still has a file open there: an upload may outlive its worker."""
    for command in (("fusermount", "-uz"), ("fusermount3", "-uz"), ("umount", "-l")):
        if not os.path.ismount(place):
            return
        if shutil.which(command[0]):
            subprocess.run([*command, str(place)], capture_output=True, check=False)
