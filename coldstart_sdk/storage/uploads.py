"""Start the upload beside a worker, and tell what it says.

The process is its own: it neither shares the worker's interpreter nor ends with it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

from coldstart_sdk import record
from coldstart_sdk.events import Emit, Noted, StepProgress, now
from coldstart_sdk.spec import WeightSpec
from coldstart_sdk.storage import stores
from coldstart_sdk.storage.home import Home, write_whole
from coldstart_sdk.storage.lease import Pace
from coldstart_sdk.storage.sync import ref_of
from coldstart_sdk.storage.upload import Order

_PACKAGE = Path(__file__).parents[2]


def start(  # noqa: PLR0913 - what a step knows, each by its name
    weights: Sequence[WeightSpec],
    *,
    store: str,
    home: Path,
    project: Path,
    step: str,
    emit: Emit,
    pace: Pace | None = None,
) -> subprocess.Popen[str]:
    """Start it; what it says becomes events for as long as somebody is there to hear."""
    rooms = Home.open(home)
    order = Order(
        home=str(home),
        store=stores.placed(store, project),
        refs=tuple(dict.fromkeys(ref_of(weight, project) for weight in weights)),
        pace=pace or Pace(),
    )
    text = record.canonical(order).encode()
    written = rooms.root / "uploads" / f"{record.digest(order)[7:23]}.json"
    write_whole(written, text)
    with (rooms.root / "uploads" / "log").open("a", encoding="utf-8") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "coldstart_sdk.storage.upload", str(written)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            cwd=rooms.root / "uploads",  # a module of the user's must not be found instead of ours
            env=_environment(os.environ),
            start_new_session=True,
            text=True,
        )
    assert process.stdout is not None  # noqa: S101 - a pipe, as was asked for
    threading.Thread(
        target=_tell, args=(process, process.stdout, store, step, emit), name="coldstart-upload", daemon=True
    ).start()
    return process


def _environment(env: Mapping[str, str]) -> dict[str, str]:
    """Ours, with the folder that we were imported from, and few threads."""
    found = os.pathsep.join(filter(None, (str(_PACKAGE), env.get("PYTHONPATH", ""))))
    return {**env, "PYTHONPATH": found}


def _tell(process: subprocess.Popen[str], said: IO[str], store: str, step: str, emit: Emit) -> None:
    with said:
        for line in said:
            with suppress(ValueError, KeyError, TypeError):
                _tell_one(json.loads(line), store, step, emit)
    if code := process.wait():
        emit(Noted(at_s=now(), step=step, message=f"the upload ended with {code}; the next start goes on"))


def _tell_one(told: Mapping[str, object], store: str, step: str, emit: Emit) -> None:
    if isinstance(sent := told.get("sent"), dict):
        if sent["outcome"] == "sent":
            rate = sent["sent_bytes"] / max(sent["seconds"], 0.001) / 1e6
            message = f"sent {sent['sent_bytes'] / 1e6:.1f} MB to {store} at {rate:.0f} MB/s"
        else:
            message = f"{store}: {sent['outcome']}"
        emit(Noted(at_s=now(), step=step, message=message))
        return
    done, total = told["done_bytes"], told["total_bytes"]
    if isinstance(done, int) and isinstance(total, int):
        emit(StepProgress(at_s=now(), step=step, done_bytes=done, total_bytes=total))
