"""The weights of one declaration: where each of them is, brought here, and sent to the store."""

from __future__ import annotations

import os
import shlex
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass

from click.exceptions import Exit

from coldstart_sdk.cli.console import Console, as_data
from coldstart_sdk.cli.prepare import Prepared
from coldstart_sdk.cli.story import Story
from coldstart_sdk.errors import ColdstartError, Problem, StorageError, UsageError
from coldstart_sdk.events import Event, Outcome, StepEnded, StepProgress, StepStarted, now
from coldstart_sdk.manifest import Manifest
from coldstart_sdk.plan import Step, Work
from coldstart_sdk.plugins import Store
from coldstart_sdk.spec import Origin, WeightSpec
from coldstart_sdk.steps import Site, Steps
from coldstart_sdk.storage import blobs, clearing, layout, locks, tiers, upload
from coldstart_sdk.storage.home import Home
from coldstart_sdk.storage.janitor import Held
from coldstart_sdk.storage.sync import ref_of
from coldstart_sdk.storage.transient import TransientError
from coldstart_sdk.storage.upload import Order, Sent
from coldstart_sdk.trace import figures

_WELL = frozenset({"sent", "already there", "others have it"})


@dataclass(frozen=True, kw_only=True)
class Whereabouts:
    """One weight of a declaration, and where it is."""

    name: str
    origin: str
    source: str
    revision: str | None
    """Of what is here."""
    files: int | None
    bytes: int | None
    here: str
    """`yes`, `no`, `3 of 4 files`, or `another revision` than the lock's."""
    lock: str
    """`yes`, `no` or `stale`; `-` for what lies beside the declaration."""
    store: str
    """`yes` or `no`; `-` without a store."""


class Moving:
    """What can be done with the weights of one declaration, all or some by name."""

    def __init__(self, prepared: Prepared, file: str, names: tuple[str, ...], console: Console) -> None:
        self._prepared = prepared
        self._file = file
        self._console = console
        self._weights = _chosen(prepared.plan.spec.weights, names, file)
        self._home = Home.open(prepared.home)
        self._story = Story(console)
        self._telling = threading.Lock()
        self._steps = Steps(
            prepared.plan,
            Site(project=prepared.project, home=prepared.home, emit=self._tell, alone=True),
        )

    @property
    def refs(self) -> Mapping[str, str]:
        """Name → the ref under which its set is kept."""
        return {name: ref_of(weight, self._prepared.project) for name, weight in self._weights.items()}

    @property
    def _store(self) -> str | None:
        return tiers.store_address(self._prepared.plan.store, os.environ, self._prepared.project)

    # ---- look

    def list(self) -> None:
        found = list(self._whereabouts())
        if self._console.json:
            self._console.result_json({"store": self._store, "weights": found})
            return
        heads = ("NAME", "FROM", "REVISION", "FILES", "SIZE", "HERE", "LOCK", "STORE")
        self._console.result(self._console.table(map(_row, found), heads=heads))
        self._console.next(f"coldstart weights pull {shlex.quote(self._file)}")

    def _whereabouts(self) -> Iterator[Whereabouts]:
        in_store = self._in_store()
        for name, weight in self._weights.items():
            held = clearing.held_as(self._home, self.refs[name])
            manifest = None if held is None else held.manifest
            lock, matches = self._lock_of(name, weight, manifest)
            yield Whereabouts(
                name=name,
                origin=weight.origin.value,
                source=weight.source,
                revision=None if manifest is None else manifest.revision,
                files=None if manifest is None else len(manifest.files),
                bytes=None if manifest is None else manifest.bytes,
                here=_here(held) if matches else "another revision",
                lock=lock,
                store=in_store.get(name, "-"),
            )

    def _lock_of(self, name: str, weight: WeightSpec, here: Manifest | None) -> tuple[str, bool]:
        """What the lock says of it, and whether what is here is that."""
        if weight.origin is Origin.LOCAL:
            return "-", True
        lock = locks.of_project(self._prepared.project)
        try:
            locked = locks.manifest_of(lock, name, weight)
        except StorageError:
            return "stale", True
        if locked is None:
            return "no", True
        return "yes", here in {None, locked}

    def _in_store(self) -> Mapping[str, str]:
        if self._store is None:
            return {}
        with there(self._store) as store:
            return {
                name: "yes" if layout.pointed_or_none(store, ref) else "no"
                for name, ref in self.refs.items()
                if self._weights[name].origin is not Origin.LOCAL
            }

    # ---- bring

    def pull(self) -> None:
        self._fetch()
        blobs.settle(self._home)
        made = [self._steps.made.weights[name] for name in self._weights]
        if self._console.json:
            told = [{**asdict(weight), "path": str(weight.path)} for weight in made]
            self._console.result_json({"weights": told})
            return
        rows = ((weight.name, figures.size(weight.bytes), weight.tier, str(weight.path)) for weight in made)
        self._console.result(self._console.table(rows, heads=("NAME", "SIZE", "FROM", "PATH")))

    def _fetch(self) -> None:
        """Side by side, as a start does; one that fails does not stop the others."""
        steps = [
            step
            for step in self._prepared.plan.steps
            if step.work is Work.WEIGHT and step.target in self._weights
        ]
        with ThreadPoolExecutor(max_workers=len(steps)) as pool:
            try:
                failed = [error for error in pool.map(self._fetch_one, steps) if error]
            except BaseException:
                self._steps.cancelled.set()
                raise
        if failed:
            raise StorageError.of(tuple(problem for error in failed for problem in error.problems))

    def _fetch_one(self, step: Step) -> ColdstartError | None:
        try:
            with self._told(step.name):
                self._steps.do(step)
        except ColdstartError as error:
            return error
        return None

    # ---- send

    def push(self) -> None:
        store = self._store
        if store is None:
            raise UsageError(
                "no store is known",
                where=self._file,
                fix="Name it: --store s3://bucket/models, COLDSTART_STORE, or store= in the declaration.",
            )
        ours = {
            name: ref for name, ref in self.refs.items() if self._weights[name].origin is not Origin.LOCAL
        }
        if not ours:
            raise UsageError(
                "there is nothing to send: these weights lie beside the declaration",
                where=self._file,
                fix="They go along in the bundle, as part of the code.",
            )
        self._fetch()
        sent = {name: self._send(name, ref, store) for name, ref in ours.items()}
        bad = tuple(_problem(name, each, store) for name, each in sent.items() if each.outcome not in _WELL)
        if self._console.json:
            error = as_data(StorageError.of(bad)) if bad else {}
            self._console.result_json({"store": store, "sets": sent, **error})
            if bad:
                raise Exit(StorageError.exit_code)
            return
        rows = ((name, figures.size(each.sent_bytes), each.outcome) for name, each in sent.items())
        self._console.result(self._console.table(rows, heads=("NAME", "SENT", "OUTCOME")))
        if bad:
            raise StorageError.of(bad)

    def _send(self, name: str, ref: str, store: str) -> Sent:
        step = f"push:{name}"

        def say(told: Mapping[str, object]) -> None:
            done, total = told["done_bytes"], told["total_bytes"]
            if isinstance(done, int) and isinstance(total, int):
                self._tell(StepProgress(at_s=now(), step=step, done_bytes=done, total_bytes=total))

        with self._told(step):
            order = Order(home=str(self._prepared.home), store=store, refs=(ref,))
            (sent,) = upload.run(order, say)
        return sent

    # ---- tell

    def _tell(self, event: Event) -> None:
        with self._telling:
            self._story(event)

    @contextmanager
    def _told(self, step: str) -> Iterator[None]:
        """The story of one step."""
        self._tell(StepStarted(at_s=now(), step=step))
        outcome = Outcome.FAILED
        try:
            yield
            outcome = Outcome.DONE
        finally:
            self._tell(StepEnded(at_s=now(), step=step, outcome=outcome, reason=None))


@contextmanager
def there(address: str) -> Iterator[Store]:
    """Our folder in a store; one that does not answer is an error of its own."""
    try:
        with closing(tiers.store_below(address)) as store:
            yield store
    except (TransientError, OSError) as failed:
        raise StorageError(
            f"the store does not answer: {failed}",
            where=address,
            fix="Look what is wrong with it: coldstart doctor s3",
        ) from failed


def _chosen(weights: Mapping[str, WeightSpec], names: tuple[str, ...], file: str) -> dict[str, WeightSpec]:
    if not weights:
        raise UsageError(
            "the declaration has no weights",
            where=file,
            fix='Declare them, for example weights={"f5": Weights.hf("org/name")}.',
        )
    if unknown := [name for name in names if name not in weights]:
        raise UsageError(
            f"there are no weights {unknown[0]!r}",
            where=file,
            fix=f"The declaration has {', '.join(sorted(weights))}.",
        )
    return {name: weight for name, weight in weights.items() if not names or name in names}


def _problem(name: str, sent: Sent, store: str) -> Problem:
    return Problem(
        message=f"{name}: {sent.outcome}",
        where=store,
        fix=sent.fix or "Push again: it goes on where it stopped.",
    )


def _here(held: Held | None) -> str:
    if held is None:
        return "no"
    count = len(held.manifest.files)
    return "yes" if not held.lacking else f"{count - len(held.lacking)} of {count} files"


def _row(at: Whereabouts) -> tuple[str, ...]:
    return (
        at.name,
        f"{at.origin}:{at.source}",
        short(at.revision or "-"),
        "-" if at.files is None else str(at.files),
        "-" if at.bytes is None else figures.size(at.bytes),
        at.here,
        at.lock,
        at.store,
    )


def short(revision: str) -> str:
    """A revision as a person tells it from others."""
    return revision.rpartition(":")[2].strip('"')[:12]
