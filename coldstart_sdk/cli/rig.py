"""The hub, the store and the machines that two declarations of one service are compared on.

The setting is declared beforehand, in the nearest `bench.toml`. The weights are made by `weights.py` beside
the declaration, padded to the declared size, and served on loopback.
"""

from __future__ import annotations

import math
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from coldstart_sdk.cli.filling import fill
from coldstart_sdk.cli.measure import Requests, measure
from coldstart_sdk.cli.prepare import Prepared
from coldstart_sdk.cli.states import drop_pages
from coldstart_sdk.errors import StorageError, UsageError
from coldstart_sdk.rehearsal.hub import Hub
from coldstart_sdk.rehearsal.s3 import S3
from coldstart_sdk.spec import Place
from coldstart_sdk.trace.model import Trace

EMPTY, SECOND, SAME = "empty", "second", "same"
BEFORE, NOW = "before", "now"
SETTING, WEIGHTS = "bench.toml", "weights.py"
BUCKET = "bench"
STORE = f"s3://{BUCKET}/models"
_ENVIRONMENT = {
    "HF_HUB_DISABLE_XET": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_TOKEN": "",
    "AWS_ACCESS_KEY_ID": "bench",
    "AWS_SECRET_ACCESS_KEY": "bench",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What both sides run over."""

    hub_bytes_s: float
    store_bytes_s: float
    weights_bytes: int
    real_bytes: Mapping[str, int]
    """By the declaration's name: what its real weights weigh."""


@dataclass(frozen=True, kw_only=True)
class Side:
    name: str
    prepared: Prepared
    requests: Requests

    @property
    def is_baked(self) -> bool:
        """Whether its weights lie on the disk of every worker before it starts."""
        spec = self.prepared.plan.spec
        places = {weight.place or spec.place for weight in spec.weights.values()}
        return bool(places) and places <= {Place.IMAGE, Place.VOLUME}


def setting_above(folder: Path) -> Setting:
    """The setting that was declared for this declaration."""
    for place in (folder.resolve(), *folder.resolve().parents):
        if (path := place / SETTING).is_file():
            return _read(path)
    raise UsageError(
        f"there is no {SETTING} beside the declaration or above it",
        where=str(folder),
        fix="Write one: hub_mb_s = 30, store_mb_s = 300, weights_mb = 2800.",
    )


def _read(path: Path) -> Setting:
    if sys.version_info >= (3, 11):
        import tomllib  # noqa: PLC0415 - only this reads one
    else:
        import tomli as tomllib  # noqa: PLC0415 - as above
    try:
        said = tomllib.loads(path.read_text(encoding="utf-8"))
        hub, store, weights = (_megabytes(said[name]) for name in ("hub_mb_s", "store_mb_s", "weights_mb"))
        real = {str(name): int(_megabytes(size)) for name, size in said.get("real_mb", {}).items()}
    except (ValueError, KeyError, TypeError, AttributeError) as wrong:
        raise UsageError(
            f"{SETTING} cannot be read: {wrong}",
            where=str(path),
            fix="It needs hub_mb_s, store_mb_s and weights_mb, numbers above 0.",
        ) from wrong
    return Setting(hub_bytes_s=hub, store_bytes_s=store, weights_bytes=int(weights), real_bytes=real)


def _megabytes(said: object) -> float:
    if not isinstance(said, int | float) or not 0 < said < math.inf:
        raise ValueError(f"{said!r} is no number above 0")
    return said * 1e6


class Rig:
    """Starts sides from the states that it makes; a context manager.

    A first machine is kept: it is what `same` starts on, and what has filled the store.
    """

    def __init__(self, scratch: Path, setting: Setting) -> None:
        self._scratch = scratch
        self._setting = setting
        self._machines = 0
        self._first: dict[str, Path] = {}
        self._env: dict[str, str] = {}

    @contextmanager
    def open(self, project: Path) -> Iterator[None]:
        """Make the weights, and serve them."""
        folder = self._scratch / "hub"
        _make_weights(project, folder, self._setting.weights_bytes)
        with (
            Hub(folder, rate_bytes_s=self._setting.hub_bytes_s, process=True) as hub,
            S3(self._scratch / "store", rate_bytes_s=self._setting.store_bytes_s) as self._store,
        ):
            for repo in folder.glob("*/*"):
                hub.blobs(repo.relative_to(folder).as_posix())  # hashed now, not while a start waits for it
            self._env = {
                **_ENVIRONMENT,
                "HF_ENDPOINT": hub.endpoint,
                "AWS_ENDPOINT_URL": self._store.endpoint,
            }
            yield

    def start(self, side: Side, state: str) -> Trace:
        """One cold start in that state, with its requests."""
        is_first = state == EMPTY and side.name not in self._first
        needs_first = state == SAME or (state == SECOND and bool(side.prepared.plan.spec.weights))
        if needs_first and side.name not in self._first:
            self._keep(side, self._empty_machine())
        again = state == SAME or (state == SECOND and side.is_baked)
        machine = self._first[side.name] if again else self._empty_machine()
        if is_first:
            return self._keep(side, machine)
        drop_pages(machine)
        try:
            return self._measured(side, machine)
        finally:
            if not again:
                shutil.rmtree(machine, ignore_errors=True)

    def _keep(self, side: Side, machine: Path) -> Trace:
        """Start it on its first machine, and fill its store from there."""
        trace = self._measured(side, machine)
        self._first[side.name] = machine
        self._fill(side, machine)
        return trace

    def _empty_machine(self) -> Path:
        self._machines += 1
        machine = self._scratch / f"machine-{self._machines}"
        machine.mkdir()
        return machine

    def _measured(self, side: Side, machine: Path) -> Trace:
        os.sync()  # what an earlier start left to be written is not this one's business
        env = {**self._env, "HF_HOME": str(machine / "huggingface"), "TMPDIR": str(machine)}
        prepared = replace(side.prepared, home=machine / "coldstart")
        return measure(prepared, side.requests, env=env).trace

    def _fill(self, side: Side, machine: Path) -> None:
        """Put what the first machine has into the store."""
        if side.is_baked:
            return
        with _environment(self._env):
            is_filled = fill(side.prepared, store=STORE, home=machine / "coldstart")
        if not is_filled:
            raise StorageError(
                "the first start's weights did not come into the store",
                fix="Measure without --state second; `coldstart doctor` looks at a store of yours.",
            )
        for key in self._store.keys(BUCKET):
            self._store.etag(self._store.file(BUCKET, key))  # hashed now, as above


@contextmanager
def _environment(env: Mapping[str, str]) -> Iterator[None]:
    """These variables, for children that are started meanwhile."""
    before = dict(os.environ)
    os.environ.update(env)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _make_weights(project: Path, folder: Path, total_bytes: int) -> None:
    script = project / WEIGHTS
    if not script.is_file():
        raise UsageError(
            f"there is no {WEIGHTS} beside the declaration",
            where=str(project),
            fix="Write one that makes org/name/files: python weights.py FOLDER BYTES.",
        )
    folder.mkdir()
    ended = subprocess.run(
        [sys.executable, str(script), str(folder), str(total_bytes)],
        capture_output=True,
        text=True,
        check=False,
    )
    if ended.returncode:
        said = (ended.stderr.strip() or "nothing").splitlines()[-1]
        raise UsageError(
            f"{WEIGHTS} failed: {said}",
            where=str(script),
            fix=f"Run it alone: {Path(sys.executable).name} {WEIGHTS} FOLDER {total_bytes}",
        )
