"""`coldstart lock`: write down what each weight is, to the byte."""

from __future__ import annotations

import shlex
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import click

from coldstart_sdk import entry
from coldstart_sdk.cli import observing, prepare, settings
from coldstart_sdk.cli.console import YELLOW, Console
from coldstart_sdk.cli.story import Story
from coldstart_sdk.cli.verb import file_argument, home_option, verb
from coldstart_sdk.errors import StorageError, UsageError
from coldstart_sdk.events import Emit, Outcome, StepEnded, StepStarted, now
from coldstart_sdk.manifest import LOCK_NAME, LOCK_VERSION, Lock, Locked
from coldstart_sdk.spec import WeightSpec
from coldstart_sdk.storage import loading, locks, pinning
from coldstart_sdk.storage.home import write_whole
from coldstart_sdk.trace import figures

_SHOWN = 12


@verb(
    "lock",
    ("coldstart lock app.py", "lock what is new in the declaration, leave the rest as it is"),
    ("coldstart lock app.py --update", "ask every origin anew, and show what changes"),
    ("coldstart lock app.py --observe", "start once, and lock what load fetches by itself, too"),
    ("coldstart lock app.py --json", "for a script"),
)
@file_argument
@click.option("--update", is_flag=True, help="Ask the origins anew, for weights that are locked too.")
@click.option("--observe", is_flag=True, help="Start once, and lock also what load fetches undeclared.")
@home_option
def command(console: Console, file: str, *, update: bool, observe: bool, home: str | None) -> None:
    """Write coldstart.lock beside FILE: each weight's commit, files, sizes and digests.

    What is not here yet is fetched, because only whoever has the bytes can say what they are. A start with a
    lock asks no origin what there is, and takes no other bytes.
    """
    import os  # noqa: PLC0415 - for the settings alone

    project = entry.folder_of(file)
    place = settings.home(home, os.environ, settings.of_project(project))
    declared = _declared(prepare.spec_of(file, place).weights, file, may_be_none=observe)
    before = locks.of_project(project)
    story = Story(console)
    locking = _Locking(project=project, home=place, story=story)
    kept = {} if update or before is None else _still_true(before, declared)
    seen = {} if before is None else _seen(before, declared)
    weights = {name: kept.get(name) or locking.pinned(name, weight) for name, weight in declared.items()}
    others: tuple[str, ...] = ()
    if observe:
        # The start that is observed follows the lock of what is declared.
        _put(Lock(version=LOCK_VERSION, weights=weights), project)
        prepared = prepare.prepare_here(prepare.Asked(file=file, home=home), observed=False)
        found = observing.observe(prepared, story)
        others = found.others
        seen = {
            name: replace(locking.pinned(name, weight), observed=True)
            for name, weight in found.weights.items()
        }
    _write(Lock(version=LOCK_VERSION, weights={**seen, **weights}), project, before, console)
    _tell_others(others, console)
    _tell_pickles(weights, console)
    console.next(f"coldstart run {shlex.quote(file)}")


class _Locking:
    def __init__(self, *, project: Path, home: Path, story: Emit) -> None:
        self._project = project
        self._home = home
        self._story = story

    def pinned(self, name: str, weight: WeightSpec) -> Locked:
        """One weight, told as a step of a start is."""
        step = f"fetch:{name}"
        self._story(StepStarted(at_s=now(), step=step))
        outcome = Outcome.FAILED
        try:
            locked = pinning.pinned(
                name,
                weight,
                home=self._home,
                project=self._project,
                step=step,
                emit=self._story,
                cancelled=threading.Event(),
            )
            outcome = Outcome.DONE
        finally:
            self._story(StepEnded(at_s=now(), step=step, outcome=outcome, reason=None))
        return locked


def _declared(weights: Mapping[str, WeightSpec], file: str, *, may_be_none: bool) -> dict[str, WeightSpec]:
    lockable = {name: weight for name, weight in weights.items() if pinning.can_be(weight)}
    if lockable or may_be_none:
        return lockable
    raise UsageError(
        "there is nothing to lock: the declaration has no weights from anywhere else",
        where=file,
        fix="Declare them, for example weights={'f5': Weights.hf('org/name')}.",
    )


def _still_true(lock: Lock, declared: Mapping[str, WeightSpec]) -> dict[str, Locked]:
    return {
        name: locked
        for name, locked in lock.weights.items()
        if name in declared and locked.declared == locks.declared(declared[name])
    }


def _seen(lock: Lock, declared: Mapping[str, WeightSpec]) -> dict[str, Locked]:
    """What an earlier start was seen to fetch, until another one is observed."""
    return {name: locked for name, locked in lock.weights.items() if locked.observed and name not in declared}


def _tell_others(others: tuple[str, ...], console: Console) -> None:
    """What is not from the hub has no address that we could see."""
    for path in others:
        console.did(
            "not locked", f"load fetched {path}: declare it with Weights.url", style=YELLOW, insist=True
        )


def _tell_pickles(weights: Mapping[str, Locked], console: Console) -> None:
    """A pickle beside a safetensors file is fetched for nothing; one alone runs code when it is loaded."""
    for name, locked in sorted(weights.items()):
        paths = [Path(entry.path) for entry in locked.manifest.files]
        pickles = [path for path in paths if loading.is_pickle(path)]
        if not pickles:
            continue
        first, has_twin = pickles[0], any(path.suffix == ".safetensors" for path in paths)
        mend = f"leave it out: exclude=['*{first.suffix}']" if has_twin else "look for a safetensors file"
        said = f"{name}: {first.as_posix()} runs code when it is loaded; {mend}"
        console.did("pickle", said, style=YELLOW)


def _put(lock: Lock, project: Path) -> bool:
    """Whether it was not there already."""
    path, text = project / LOCK_NAME, locks.text_of(lock).encode()
    if path.is_file() and path.read_bytes() == text:
        return False
    try:
        write_whole(path, text)
    except OSError as refused:
        raise StorageError(
            f"the lock cannot be written: {refused.strerror}",
            where=str(path),
            fix="Allow writing beside the declaration.",
        ) from refused
    return True


def _write(lock: Lock, project: Path, before: Lock | None, console: Console) -> None:
    started_s = time.monotonic()
    is_new = _put(lock, project) or lock != before
    found = pinning.changes(before, lock)
    if console.json:
        console.result_json({"path": str(project / LOCK_NAME), "written": is_new, "changes": found})
        return
    console.result("".join(f"{line}\n" for line in _told(found)))
    total = sum(locked.manifest.bytes for locked in lock.weights.values())
    said = f"{', '.join(sorted(lock.weights))}; {figures.size(total)}" + ("" if is_new else ", as before")
    console.did(
        "wrote" if is_new else "kept", f"{LOCK_NAME}: {said}", f"{time.monotonic() - started_s:.2f} s"
    )


def _told(found: tuple[pinning.Change, ...]) -> Iterator[str]:
    for change in found[:_SHOWN]:
        arrow = " → ".join(_short(each) for each in (change.before, change.after) if each)
        yield f"{change.weight}  {change.what}  {arrow}"
    if len(found) > _SHOWN:
        yield f"and {len(found) - _SHOWN} more changes"


def _short(text: str) -> str:
    scheme, colon, digits = text.rpartition(":")
    return f"{scheme}{colon}{digits[:12]}"
