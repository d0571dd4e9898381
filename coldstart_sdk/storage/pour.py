"""From a connection into a file, past this process: the kernel moves the bytes through a pipe.

Read and written they would be copied twice. What was poured is looked at afterwards, where it lies in the
kernel's memory. Only a plain connection can be poured from: what is encrypted must be read.
"""

from __future__ import annotations

import errno
import os
import sys
from contextlib import suppress

_PIPE_BYTES = 1 << 20
_CANNOT = frozenset({errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP})

CAN_POUR = sys.platform == "linux"


class Pipe:
    """What one stream pours through; empty whenever nobody pours."""

    def __init__(self) -> None:
        self._ends: tuple[int, int] | None = None

    @property
    def inlet(self) -> int:
        if self._ends is None:
            self._ends = _made()
        return self._ends[1]

    def drain(self, count: int, into: int, offset: int) -> None:
        """Put what was poured in, so many bytes, into a file."""
        if self._ends is None:
            return
        try:
            while count:
                moved = _moved(self._ends[0], count, into, offset)
                count -= moved
                offset += moved
        except BaseException:
            self.close()  # what is left in it belongs nowhere
            raise

    def close(self) -> None:
        ends, self._ends = self._ends, None
        for end in ends or ():
            os.close(end)


def _made() -> tuple[int, int]:
    import fcntl  # noqa: PLC0415 - only where something is poured

    ends = os.pipe()
    with suppress(OSError):  # all pipes of one user may only be so large together
        fcntl.fcntl(ends[1], fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
    return ends


def _moved(outlet: int, count: int, into: int, offset: int) -> int:
    try:
        return os.splice(outlet, into, count, offset_dst=offset)
    except OSError as refused:
        if refused.errno not in _CANNOT:
            raise
    # A file that takes nothing from pipes.
    piece = memoryview(os.read(outlet, count))
    written = 0
    while written < len(piece):
        written += os.pwrite(into, piece[written:], offset + written)
    return written
