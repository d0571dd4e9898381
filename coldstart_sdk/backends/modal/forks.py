"""Restore one image several times, here: each restore is a fork of the process that the snapshot is taken of.

A fork has the memory of its parent and none of its threads, which is what a restored process must cope with.
It is stricter than Modal, which keeps threads: what works here does not stand on one.
"""

from __future__ import annotations

import json
import os
import random
import select
import signal
import warnings
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NoReturn

from coldstart_sdk.errors import LifecycleError

if TYPE_CHECKING:
    from coldstart_sdk.backends.modal.worker import Worker

LONGEST_S = 120.0
"""How long one restore may take."""


def restores(worker: Worker, count: int) -> Iterator[dict[str, Any]]:
    """What became of each restore, one after the other."""
    for number in range(1, count + 1):
        yield {"restore": number, "of": count, **_one(worker)}


def _one(worker: Worker) -> dict[str, Any]:
    said, says = os.pipe()
    with warnings.catch_warnings():
        # Other threads are Modal's, and none of them is used in the fork.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        os.close(said)
        _live(worker, says)
    os.close(says)
    try:
        return _heard(said, child)
    finally:
        os.close(said)


def _heard(said: int, child: int) -> dict[str, Any]:
    ready, _, _ = select.select([said], [], [], LONGEST_S)
    if not ready:
        os.kill(child, signal.SIGKILL)
    text = b"".join(iter(lambda: os.read(said, 1 << 16), b"")) if ready else b""
    _, status = os.waitpid(child, 0)
    if text:
        heard: dict[str, Any] = json.loads(text)
        return heard
    ended = f"ended by signal {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else "ended"
    reason = f"{ended} before READY" if ready else f"not READY after {LONGEST_S:g} s"
    return {"ok": False, "reason": reason}


def _live(worker: Worker, says: int) -> NoReturn:
    told: dict[str, Any] = {"ok": False, "reason": "a hook ended the process"}
    try:
        worker.says = False
        with suppress(RuntimeError):  # a loop whose thread stayed behind cannot be closed
            worker.life.lanes.close()
        worker.wake()
        told = {"ok": True, "draw": random.random()}  # noqa: S311 - shows that no two restores draw alike
    except LifecycleError as error:
        told = {"ok": False, "reason": error.message, "where": error.where, "fix": error.fix}
    finally:
        os.write(says, json.dumps(told).encode())
        os._exit(0)
