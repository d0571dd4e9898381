"""What is promised of a fetch, each with its figure: docs/proven.md quotes them."""

from __future__ import annotations

import json
import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from coldstart_sdk.errors import StorageError
from coldstart_sdk.events import ignore
from coldstart_sdk.manifest import FileEntry
from coldstart_sdk.rehearsal.faults import Cut, Fault, Flip, Refuse
from coldstart_sdk.rehearsal.origin import Origin
from coldstart_sdk.rehearsal.s3 import S3
from coldstart_sdk.spec import Origin as Kind
from coldstart_sdk.spec import WeightSpec
from coldstart_sdk.storage import chunks, layout, stores, transfer
from coldstart_sdk.storage.home import Home
from coldstart_sdk.storage.http import Address
from coldstart_sdk.storage.partial import CHUNK_BYTES
from coldstart_sdk.storage.remote import Limits, RemoteFile
from coldstart_sdk.storage.report import Report
from coldstart_sdk.storage.tiers import Asking, PlatformCacheTier, StoreTier, store_below
from tests.syncing import Syncing, a_url, content, in_a_process, sha256

DATA = content(30_000, seed=31)
OTHER = content(30_000, seed=32)
ENTRY = FileEntry(path="model.bin", size_bytes=len(DATA), digest=f"sha256:{sha256(DATA)}")
DAMAGES = 300
GOOD_RUNS = 30
QUIET = threading.Event()
NO_LOCKS = "import fcntl; fcntl.flock = lambda *_: None"


@dataclass(frozen=True, kw_only=True)
class Place:
    """One tier that holds the file, to be spoilt and asked at will."""

    put: Callable[[bytes], None]
    brought: Callable[[Path], bytes | None]
    """What an empty home gets of it; None: it was refused."""


def _damaged(chance: random.Random) -> bytes:
    """A bit flipped, a byte or half lost or too many, a page of zeros, another file of the same size."""
    at = chance.randrange(len(DATA))
    page = min(at, len(DATA) - 4096)
    return chance.choice(
        [
            DATA[:at] + bytes([DATA[at] ^ (1 << chance.randrange(8))]) + DATA[at + 1 :],
            DATA[:at],
            DATA + DATA[: at % 100 + 1],
            DATA[:page] + bytes(4096) + DATA[page + 4096 :],
            OTHER,
            OTHER[:4096] + DATA[4096:],
        ]
    )


@pytest.fixture(params=["image", "volume", "platform cache", "somebody's store", "store", "origin"])
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    monkeypatch.setattr("coldstart_sdk.storage.retry.FIRST_DELAY_S", 0.0001)
    with _place(request.param, tmp_path, monkeypatch) as made:
        yield made


@contextmanager
def _place(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    key = layout.blob_key(ENTRY.digest)
    match name:
        case "image" | "volume":
            blob = tmp_path / name / stores.FOLDER / key
            address = str(tmp_path / name)
            yield Place(put=_over(blob), brought=_by(lambda: StoreTier(name, lambda: store_below(address))))
        case "platform cache":
            weight = WeightSpec(origin=Kind.HF, source="org/voice")
            file = tmp_path / "cache" / "models--org--voice" / "snapshots" / ("a" * 40) / ENTRY.path
            yield Place(
                put=_over(file),
                brought=_by(lambda: PlatformCacheTier(weight=weight, root=tmp_path / "cache")),
            )
        case "somebody's store":
            store = store_below(f"memory://{tmp_path}")
            yield Place(
                put=lambda data: store.write(key, data, media_type="application/octet-stream"),
                brought=_by(lambda: StoreTier(name, lambda: store)),
            )
        case "store":
            with S3(tmp_path / "s3") as room:
                for variable, value in _credentials(room).items():
                    monkeypatch.setenv(variable, value)
                yield Place(
                    put=lambda data: _written(room, f"models/{stores.FOLDER}/{key}", data),
                    brought=_by(lambda: StoreTier(name, lambda: store_below("s3://bucket/models"))),
                )
        case _:
            (tmp_path / "served").mkdir()
            with Origin(tmp_path / "served") as origin:
                spec = a_url(origin.url("model.bin"), sha256=sha256(DATA))
                yield Place(
                    put=_over(tmp_path / "served" / "model.bin"), brought=lambda home: _synced(spec, home)
                )


def test_every_damage_on_every_tier_is_caught_and_nothing_good_is_refused(
    place: Place, tmp_path: Path
) -> None:
    chance = random.Random(5)  # noqa: S311 - the same damage every time
    caught = 0
    for number in range(DAMAGES):
        place.put(_damaged(chance))
        caught += place.brought(tmp_path / "homes" / str(number)) is None
    place.put(DATA)
    good = sum(place.brought(tmp_path / "homes" / f"good {number}") == DATA for number in range(GOOD_RUNS))

    assert (caught, good) == (DAMAGES, GOOD_RUNS)


@pytest.mark.slow
def test_every_flipped_bit_of_a_file_in_chunks_is_caught(tmp_path: Path) -> None:
    data = content(CHUNK_BYTES + 100_000, seed=33)
    (tmp_path / "served").mkdir()
    (tmp_path / "served" / "model.bin").write_bytes(data)
    known = chunks.of_file(tmp_path / "served" / "model.bin", QUIET)
    chance = random.Random(6)  # noqa: S311 - the same damage every time
    caught = 0
    with Origin(tmp_path / "served") as origin:
        remote = _remote(origin, "model.bin", data, known)
        for number in range(DAMAGES):
            origin.mend()
            origin.fail(Flip(at_byte=chance.randrange(len(data)), times=None))
            try:
                _transferred([remote], tmp_path / f"home {number}")
            except StorageError:
                caught += 1

    assert caught == DAMAGES


def test_eight_processes_on_one_volume_never_show_half_a_file(tmp_path: Path) -> None:
    data = content(2 * CHUNK_BYTES + 12345, seed=34)
    (tmp_path / "served").mkdir()
    (tmp_path / "served" / "model.bin").write_bytes(data)
    home, ended, torn, looks = tmp_path / "volume", threading.Event(), [], [0]

    def look() -> None:
        while not ended.is_set():
            for path in (*home.glob("blobs/sha256/[!.]*"), *home.glob("views/[!.]*/*")):
                looks[0] += 1
                if path.read_bytes() != data:
                    torn.append(path)
            time.sleep(0.005)

    reader = threading.Thread(target=look)
    reader.start()
    with Origin(tmp_path / "served", rate_bytes_s=100e6) as origin:
        spec = a_url(origin.url("model.bin"), sha256=sha256(data))
        # Half of them under locks that lie.
        children = [in_a_process(spec, home, before=NO_LOCKS if number % 2 else "") for number in range(8)]
        answers = [child.communicate(timeout=120)[0] for child in children]
        sent = sum(request.sent_bytes for request in origin.requests)
    ended.set()
    reader.join()

    assert [child.returncode for child in children] == [0] * 8
    assert {Path(json.loads(answer)[0]).read_bytes() for answer in answers} == {data}
    assert torn == []
    assert looks[0]
    # One copy for the honest ones together, and one for each of the others, at most.
    assert sent <= 5 * len(data) + 8


def test_one_fault_in_twenty_costs_less_than_a_fifth_more(tmp_path: Path) -> None:
    (tmp_path / "served").mkdir()
    files = {f"{number:03}.bin": content(2000, seed=number) for number in range(200)}
    for name, data in files.items():
        (tmp_path / "served" / name).write_bytes(data)
    chance = random.Random(8)  # noqa: S311 - the same faults every time
    faults: list[Fault] = [
        Refuse(path=name, status=503)
        if number % 2
        else Cut(path=name, after_bytes=500, reset=number % 4 == 0)
        for number, name in enumerate(chance.sample(sorted(files), len(files) // 20))
    ]
    with Origin(tmp_path / "served", faults=faults) as origin:
        remotes = [_remote(origin, name, data, ()) for name, data in files.items()]
        _transferred(remotes, tmp_path / "home")

        least = sum(len(data) for data in files.values())
        assert len(origin.requests) <= 1.2 * len(files)
        assert sum(request.sent_bytes for request in origin.requests) <= 1.2 * least


@pytest.mark.slow
@pytest.mark.parametrize("beside", ["never", "always"])
def test_five_gigabytes_take_less_than_300_mb_of_memory(beside: str, tmp_path: Path) -> None:
    (tmp_path / "served").mkdir()
    with (tmp_path / "served" / "vast.bin").open("wb") as vast:
        vast.truncate(5_000_000_000)
    # What the kernel counts as a process's own begins with what whoever started it had.
    peak = (
        "import atexit, resource; own = lambda: next(int(line.split()[1]) for line in"
        " open('/proc/self/status') if line.startswith('VmHWM'));"
        "atexit.register(lambda: print(max(own(), resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)))"
    )
    with Origin(tmp_path / "served", process=True) as origin:
        child = in_a_process(
            a_url(origin.url("vast.bin")),
            tmp_path / "home",
            before=f"import os; os.environ['COLDSTART_FETCH_PROCESS'] = {beside!r}; {peak}",
        )
        answer = child.communicate(timeout=600)[0].splitlines()

    assert child.returncode == 0
    assert Path(json.loads(answer[0])[0]).stat().st_size == 5_000_000_000
    assert int(answer[1]) * 1024 <= 300e6


def _by(tier: Callable[[], StoreTier | PlatformCacheTier]) -> Callable[[Path], bytes | None]:
    def brought(home: Path) -> bytes | None:
        asking = Asking(home=Home.open(home), report=Report("fetch:w", ignore), cancelled=QUIET)
        try:
            found = tier().bring([ENTRY], asking)
        except StorageError:
            return None
        return found[ENTRY.path].read_bytes() if ENTRY.path in found else None

    return brought


def _synced(spec: WeightSpec, home: Path) -> bytes | None:
    try:
        return Syncing(home=home, project=home).run(spec).path.read_bytes()
    except StorageError:
        return None


def _transferred(remotes: list[RemoteFile], home: Path) -> None:
    transfer.fetch(
        remotes,
        home=Home.open(home),
        limits=Limits(),
        report=Report("fetch:w", ignore),
        cancelled=QUIET,
    )


def _remote(origin: Origin, name: str, data: bytes, known: tuple[str, ...]) -> RemoteFile:
    return RemoteFile(
        path=name,
        size_bytes=len(data),
        identity=sha256(data),
        locate=lambda: Address(url=origin.url(name)),
        digest=f"sha256:{sha256(data)}",
        chunks=known,
        redirects=False,
    )


def _over(file: Path) -> Callable[[bytes], None]:
    """Its content is another, and nothing else about it."""
    file.parent.mkdir(parents=True, exist_ok=True)

    def put(data: bytes) -> None:
        file.unlink(missing_ok=True)
        file.write_bytes(data)
        os.utime(file, (1_000_000_000, 1_000_000_000))

    return put


def _written(room: S3, key: str, data: bytes) -> None:
    room.write("bucket", key, data)


def _credentials(room: S3) -> dict[str, str]:
    return {
        "AWS_ENDPOINT_URL": room.endpoint,
        "AWS_ACCESS_KEY_ID": "AKIAEXAMPLEEXAMPLE00",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
