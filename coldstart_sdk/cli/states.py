"""Starts from a declared state of the machine, here or under a platform's own worker on loopback."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from coldstart_sdk.cli import elsewhere
from coldstart_sdk.cli.filling import fill
from coldstart_sdk.cli.measure import Measured, Requests, measure, scratch_folder
from coldstart_sdk.cli.prepare import Prepared
from coldstart_sdk.cli.start import switched
from coldstart_sdk.errors import StorageError, UsageError
from coldstart_sdk.plan import StepKind
from coldstart_sdk.spec import Snapshot
from coldstart_sdk.trace.model import Trace

LOCAL = "local"
EMPTY, SECOND, SAME, RESTORE = "empty", "second", "same", "restore"
STATES: Mapping[str, str] = {
    EMPTY: "no weights, no caches of ours, their pages dropped",
    SECOND: "an empty machine, and a store that a start before has filled",
    SAME: "the same machine again: what a start before kept is here",
    RESTORE: "from a snapshot: time counts from the restore",
}
_REHEARSED = {EMPTY: "empty", SECOND: "store", SAME: "warm", RESTORE: "restore"}
"""What the rehearsals call them."""


def usual(prepared: Prepared) -> str:
    """What callers meet."""
    return EMPTY if prepared.plan.snapshot is Snapshot.NONE else RESTORE


def refuse(states: Sequence[str], prepared: Prepared) -> None:
    """A state that this plan cannot be in."""
    if RESTORE in states and prepared.plan.snapshot is Snapshot.NONE:
        raise UsageError(
            "there is no snapshot to restore from on this target",
            fix="Measure it where snapshots are taken: --target modal --snapshot cpu; else use --state same.",
        )
    if SECOND in states and prepared.plan.store is None:
        raise UsageError(
            "a second boot elsewhere needs a store that the first one has filled",
            fix="Give one: --store s3://bucket/models, or measure --state same.",
        )


class Machines:
    """What each start finds; one that an earlier start has to leave is made once, by a start of its own."""

    def __init__(self, prepared: Prepared, requests: Requests | None, options: Mapping[str, str]) -> None:
        self._prepared = prepared
        self._requests = requests
        self._options = options
        self._is_used = False
        self._is_filled = False

    def start(self, state: str, skip: tuple[str, ...]) -> Measured:
        """One start in that state, without these steps."""
        env = switched(self._prepared, skip, ())
        if self._prepared.plan.backend != LOCAL:
            measured = self._elsewhere(state, ",".join(skip))
        elif state == SAME:
            measured = self._again(env)
        else:
            measured = self._empty(env, state)
        if state == SECOND:
            _refuse_unfilled(measured.trace)
        return measured

    def _elsewhere(self, state: str, skip: str) -> Measured:
        options = {"state": _REHEARSED[state], **({"skip": skip} if skip else {})}
        return elsewhere.measure(self._prepared, self._requests, {**self._options, **options})

    def _again(self, env: Mapping[str, str]) -> Measured:
        if not self._is_used:
            measure(self._prepared, None, env=env)
            self._is_used = True
        return measure(self._prepared, self._requests, env=env)

    def _empty(self, env: Mapping[str, str], state: str) -> Measured:
        with scratch_folder() as home:
            if state == SECOND and not self._is_filled:
                self._fill(env)
            drop_pages(self._prepared.project)
            return measure(replace(self._prepared, home=Path(home)), self._requests, env=env)

    def _fill(self, env: Mapping[str, str]) -> None:
        """Put what a first machine fetched into the store."""
        with scratch_folder() as first:
            measure(replace(self._prepared, home=Path(first)), None, env=env)
            if store := self._prepared.plan.store:
                fill(self._prepared, store=store, home=Path(first))
        self._is_filled = True


def _refuse_unfilled(trace: Trace) -> None:
    fetches = [step for step in trace.steps if step.name.startswith(f"{StepKind.FETCH.value}:")]
    if not any("store" in (step.tier or "") for step in fetches):
        raise StorageError(
            "no weight came from the store: the start before did not fill it",
            fix="Look at its upload with `coldstart run`; `coldstart doctor` looks at the store itself.",
        )


def drop_pages(folder: Path) -> int:
    """Put the files of a folder out of the page cache, as far as an ordinary user may; how many."""
    dropped = 0
    for path in [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]:
        with suppress(OSError), path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            dropped += 1
    return dropped
