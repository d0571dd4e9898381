"""Looking after a store: nothing that a ref reaches is ever removed, and nothing young."""

from __future__ import annotations

import json
import random
import time
from pathlib import Path

import pytest

from coldstart_sdk.errors import StorageError
from coldstart_sdk.manifest import MANIFEST_VERSION, FileEntry, Manifest
from coldstart_sdk.plugins import Store
from coldstart_sdk.rehearsal.s3 import S3
from coldstart_sdk.spec import Origin
from coldstart_sdk.storage import janitor, layout, stores
from tests import buckets
from tests.syncing import sha256

DAY_S = 24 * 3600.0
LATER_S = time.time() + 2 * DAY_S


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return stores.opened(f"memory://{tmp_path}")


def a_set(*contents: bytes) -> Manifest:
    entries = [
        FileEntry(path=f"{index}.bin", size_bytes=len(data), digest=f"sha256:{sha256(data)}")
        for index, data in enumerate(contents)
    ]
    return Manifest(
        version=MANIFEST_VERSION, origin=Origin.HF, source="org/voice", revision="main", files=tuple(entries)
    )


def published(store: Store, ref: str, *contents: bytes) -> None:
    for data in contents:
        store.write(layout.blob_key(f"sha256:{sha256(data)}"), data, media_type="x/y")
    layout.publish(store, ref, a_set(*contents))


def test_what_a_ref_reaches_stays_and_the_rest_goes_once_it_is_old(store: Store) -> None:
    published(store, "voice", b"old", b"both")
    published(store, "voice", b"new", b"both")

    found = janitor.survey(store, now_s=LATER_S)

    assert len(found.unreached) == 2  # the blob of `old`, and its manifest
    assert found.kept == 2
    assert janitor.survey(store).unreached == ()
    assert janitor.clean(store, found, now_s=LATER_S).unreached == found.unreached
    assert list(janitor.verify(store)) == []
    assert janitor.survey(store, now_s=LATER_S).unreached == ()


def test_a_ref_that_cannot_be_read_stops_every_clean_up(store: Store) -> None:
    published(store, "voice", b"bytes")
    store.write("refs/broken", b"nonsense", media_type="text/plain")

    with pytest.raises(StorageError, match="'broken' cannot be read"):
        janitor.survey(store, now_s=LATER_S)


def test_nothing_is_removed_while_somebody_sends(store: Store) -> None:
    published(store, "voice", b"old")
    published(store, "voice", b"new")
    found = janitor.survey(store, now_s=LATER_S)
    told = {"holder": "a" * 32, "beat": 1, "over": False}
    store.write("leases/voice", json.dumps(told).encode(), media_type="application/json")

    with pytest.raises(StorageError, match="filling 'voice'"):
        janitor.clean(store, found)

    told["over"] = True
    store.write("leases/voice", json.dumps(told).encode(), media_type="application/json")
    assert janitor.clean(store, found, now_s=LATER_S).unreached == found.unreached


def test_what_was_named_since_it_was_found_stays(store: Store) -> None:
    published(store, "voice", b"old")
    published(store, "voice", b"new")
    found = janitor.survey(store, now_s=LATER_S)
    layout.publish(store, "another", a_set(b"old"))

    janitor.clean(store, found, now_s=LATER_S)

    assert list(janitor.verify(store)) == []


def test_whatever_happens_in_whatever_order_no_live_blob_is_lost(store: Store) -> None:
    chance = random.Random(7)  # noqa: S311 - the same history every time
    pool = [f"content {number}".encode() for number in range(8)]
    found: janitor.Survey | None = None
    for _ in range(3000):
        turn = chance.randrange(4)
        if turn < 2:
            published(store, f"ref{chance.randrange(3)}", *chance.sample(pool, 2))
        elif turn == 2 or found is None:
            found = janitor.survey(store, grace_s=chance.choice([0, DAY_S]), now_s=LATER_S)
        else:
            janitor.clean(store, found, now_s=LATER_S)
            assert not list(janitor.verify(store))


@pytest.mark.parametrize(
    ("change", "problem"), [(b"wrong", "damaged"), (b"more than", "9 bytes, not 5"), (None, "missing")]
)
def test_verify_names_what_is_damaged(store: Store, change: bytes | None, problem: str) -> None:
    published(store, "voice", b"bytes", b"fine")
    key = layout.blob_key(f"sha256:{sha256(b'bytes')}")
    if change is None:
        store.remove(key)
    else:
        store.write(key, change, media_type="x/y")

    (damage,) = janitor.verify(store)

    assert (damage.ref, damage.path, damage.problem) == ("voice", "0.bin", problem)


def test_uploads_that_were_never_ended_are_abandoned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with S3(tmp_path / "s3") as room:
        for name, value in buckets.Bucket(name="bucket", endpoint=room.endpoint).env.items():
            monkeypatch.setenv(name, value)
        from coldstart_sdk.storage.stores import s3

        store = s3.opened("s3://bucket/models/.coldstart")
        store.client.begin("models/.coldstart/blobs/x", media_type="x/y")
        store.client.begin("elsewhere/y", media_type="x/y")

        found = janitor.survey(store, now_s=LATER_S)
        janitor.clean(store, found, now_s=LATER_S)
        store.close()

        assert [upload.key for upload in room.uploads.values()] == ["bucket/elsewhere/y"]
