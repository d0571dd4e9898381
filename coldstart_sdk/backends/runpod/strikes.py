"""What becomes of a worker that could not start.

A container that ends is started again at once, into the same failure, while its callers wait. So it stays: it
tells each caller why, tries again from the beginning, and after the third time only tells, until the platform
takes it down for being idle. The count lives in the environment: a container's disk does not.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable

MOST = 3
_NAME = "COLDSTART_STRIKES"
_IDLE_S = 60.0
"""How long to wait for a moment without a job before trying again all the same."""


def so_far() -> int:
    """How many starts of this worker have failed before this one."""
    count = os.environ.get(_NAME, "")
    return int(count) if count.isdigit() else 0


def is_out(strikes: int) -> bool:
    return strikes >= MOST


def again(strikes: int, busy: Callable[[], bool], over: Callable[[], bool]) -> None:
    """Begin anew, in this very process, once no caller waits for an answer.

    Does not return, unless the platform has told us to end meanwhile: who begins anew has not heard that.
    """
    import multiprocessing  # noqa: PLC0415 - a worker that starts well has no use for it here

    time.sleep(float(strikes * strikes))
    ends = time.monotonic() + _IDLE_S
    while busy() and time.monotonic() < ends:
        time.sleep(0.05)
    if over():
        return
    for child in multiprocessing.active_children():
        child.terminate()  # the heartbeat; a second one is started beside the next try
        child.join(1.0)
    os.environ[_NAME] = str(strikes)
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606 - the same program again
