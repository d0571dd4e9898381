"""An upload and a fetch killed at a chosen system call: whatever it was, a reader finds a whole set or none.

`strace` delivers SIGKILL at the n-th call of a kind that changes something. The normal suite takes a sample
of the points; the slow one takes them all.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TypeAlias

import pytest

from coldstart_sdk import record
from coldstart_sdk.manifest import MANIFEST_VERSION, FileEntry, Manifest
from coldstart_sdk.spec import Origin, WeightSpec
from coldstart_sdk.storage import blobs, layout, manifests
from coldstart_sdk.storage.home import Home
from coldstart_sdk.storage.lease import Pace
from coldstart_sdk.storage.sync import ref_of
from coldstart_sdk.storage.tiers import StoreTier, store_below
from coldstart_sdk.storage.upload import Order, run
from tests.syncing import Syncing, sha256

WEIGHT = WeightSpec(origin=Origin.HF, source="org/voice", revision="a" * 40)
FILES = {"a.json": b"{}", "b/c.bin": b"weights" * 1000, "d.bin": b"more" * 5000}
Point: TypeAlias = tuple[str, int]
"""The n-th call of that name, in one thread."""
QUICK = Pace(beat_s=0.05, stale_s=0.2, settle_s=0.001)
MOST = {"fsync": 32, "rename": 16, "mkdir": 14, "unlink": 8}
"""How many calls of each kind the longest of these runs makes, and some."""
SAMPLE = [
    *(("fsync", count) for count in range(2, 32, 4)),
    *(("rename", count) for count in range(1, 14, 2)),
    ("mkdir", 3),
    ("unlink", 1),
    ("unlink", 2),
]
ALL = [(call, count) for call, most in MOST.items() for count in range(1, most + 1)]


def _strace() -> str:
    found = shutil.which("strace")
    if found is None:
        pytest.skip("there is no strace here")
    tried = subprocess.run([found, "-e", "trace=none", "true"], capture_output=True, check=False)
    if tried.returncode:
        pytest.skip("strace may not trace here")
    return found


def filled(tmp_path: Path) -> Home:
    """A machine that has the set."""
    home = Home.open(tmp_path / "machine")
    entries = []
    for path, data in sorted(FILES.items()):
        (home.partial / "scratch").write_bytes(data)
        blobs.publish(home, home.partial / "scratch", f"sha256:{sha256(data)}")
        entries.append(FileEntry(path=path, size_bytes=len(data), digest=f"sha256:{sha256(data)}"))
    manifest = Manifest(
        version=MANIFEST_VERSION,
        origin=WEIGHT.origin,
        source=WEIGHT.source,
        revision=WEIGHT.revision or "",
        files=tuple(entries),
    )
    manifests.point(home, ref_of(WEIGHT, tmp_path), manifests.keep(home, manifest))
    return home


def killed_at(point: Point, *command: str) -> bool:
    """Run it, and kill it at that call; whether it was killed."""
    call, count = point
    inject = f"inject={call}:signal=KILL:when={count}"
    env = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    traced = [_strace(), "-f", "-qq", "-o", os.devnull, "-e", f"trace={call}", "-e", inject]
    done = subprocess.run(
        [*traced, sys.executable, *command],
        env=env,
        capture_output=True,
        check=False,
    )
    return done.returncode != 0


def _sweep(point: Point, tmp_path: Path) -> None:
    home = filled(tmp_path)
    order = Order(
        home=str(home.root), store=str(tmp_path / "store"), refs=(ref_of(WEIGHT, tmp_path),), pace=QUICK
    )
    (tmp_path / "order.json").write_text(record.canonical(order))

    was_killed = killed_at(point, "-m", "coldstart_sdk.storage.upload", str(tmp_path / "order.json"))

    store = store_below(order.store)
    for stored in store.keys("blobs/"):
        assert sha256(b"".join(store.blocks(stored.key))) == stored.key.rpartition("/")[2]
    if (pointed := layout.pointed(store, order.refs[0])) is not None:
        for entry in layout.read_manifest(store, pointed).files:
            assert store.stat(layout.blob_key(entry.digest)) is not None
    # A sweep that kills nobody would prove nothing.
    assert was_killed or point not in {("fsync", 2), ("rename", 1), ("rename", 3)}
    assert run(order)[0].outcome in {"sent", "already there"}
    reader = Syncing(home=tmp_path / "reader", project=tmp_path)
    weight = reader.run(WEIGHT, tiers=[StoreTier("store", lambda: store_below(order.store))])
    files = {path.relative_to(weight.path).as_posix(): path.read_bytes() for path in weight.path.rglob("*.*")}
    assert files == FILES
    assert not list((tmp_path / "store").rglob("blobs/**/.*"))


@pytest.mark.parametrize("point", SAMPLE)
def test_an_upload_killed_at_a_change_leaves_a_whole_set_or_none(point: Point, tmp_path: Path) -> None:
    _sweep(point, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("point", ALL)
def test_an_upload_killed_at_any_change_leaves_a_whole_set_or_none(point: Point, tmp_path: Path) -> None:
    _sweep(point, tmp_path)


_FETCH = """
import sys, threading
from pathlib import Path
from typing import TypeAlias
from coldstart_sdk.events import ignore
from coldstart_sdk.spec import Origin, WeightSpec
from coldstart_sdk.storage.sync import sync
from coldstart_sdk.storage.tiers import StoreTier, store_below
from coldstart_sdk.storage.stores import memory
store, home, project = sys.argv[1:]
class Copied:
    def __init__(self):
        self._real = store_below(store)
        for name in ("read", "stat", "blocks", "close"):
            setattr(self, name, getattr(self._real, name))
sync("w", WeightSpec(origin=Origin.HF, source="org/voice", revision="a" * 40), home=Path(home),
     project=Path(project), step="fetch:w", emit=ignore, cancelled=threading.Event(),
     tiers=[StoreTier("store", Copied)])
"""
"""A sync from a store whose blobs have no paths, so that they are copied here."""


@pytest.mark.parametrize("point", SAMPLE[::2])
def test_a_fetch_from_a_store_killed_at_a_change_leaves_a_whole_set_or_none(
    point: Point, tmp_path: Path
) -> None:
    home = filled(tmp_path)
    store = str(tmp_path / "store")
    run(Order(home=str(home.root), store=store, refs=(ref_of(WEIGHT, tmp_path),), pace=QUICK))
    reader = Syncing(home=tmp_path / "reader", project=tmp_path)

    killed_at(point, "-c", _FETCH, store, str(reader.home), str(tmp_path))

    for blob in (reader.home / "blobs" / "sha256").glob("[!.]*"):
        assert sha256(blob.read_bytes()) == blob.name
    weight = reader.run(WEIGHT, tiers=[StoreTier("store", lambda: store_below(store))])
    files = {path.relative_to(weight.path).as_posix(): path.read_bytes() for path in weight.path.rglob("*.*")}
    assert files == FILES
