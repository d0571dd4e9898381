"""When the bytes of a blob are believed, and when they are read again."""

from __future__ import annotations

import hashlib
import os
import threading
from pathlib import Path

import pytest

from coldstart_sdk.manifest import CHUNK_BYTES, FileEntry
from coldstart_sdk.storage import blobs, chunks, disk
from coldstart_sdk.storage.home import Home

GOOD, BAD = b"weights", b"weighty"
NEVER = threading.Event()


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home.open(tmp_path)


def published(home: Home, content: bytes) -> tuple[Path, FileEntry]:
    scratch = home.partial / "scratch"
    scratch.write_bytes(content)
    entry = FileEntry(
        path="model.bin",
        size_bytes=len(content),
        digest=f"sha256:{hashlib.sha256(content).hexdigest()}",
        chunks=chunks.of_file(scratch, NEVER),
    )
    blobs.publish(home, scratch, entry.digest)
    return home.blob(entry.digest), entry


def put(blob: Path, content: bytes, changed_s: int) -> None:
    blob.chmod(0o644)
    blob.write_bytes(content)
    os.utime(blob, (changed_s, changed_s))


def of_another_boot() -> int:
    mine = blobs.time_of_boot()
    assert mine is not None
    return mine + 1


def test_a_blob_on_this_machines_own_disk_wears_the_time_of_this_boot(home: Home) -> None:
    blob, entry = published(home, GOOD)

    assert disk.is_our_own(home.root)
    assert int(blob.stat().st_mtime) == blobs.time_of_boot()
    assert blobs.has(home, entry, NEVER)


def test_a_blob_of_another_boot_is_read_again_once(home: Home) -> None:
    blob, entry = published(home, GOOD)
    put(blob, GOOD, of_another_boot())

    assert blobs.has(home, entry, NEVER)
    assert int(blob.stat().st_mtime) == blobs.UNTOUCHED_S


@pytest.mark.parametrize("size_bytes", [7, 2 * CHUNK_BYTES + 1], ids=["whole", "in chunks"])
def test_a_blob_of_another_boot_that_lost_its_bytes_is_removed(home: Home, size_bytes: int) -> None:
    blob, entry = published(home, os.urandom(size_bytes))
    put(blob, bytes(size_bytes), of_another_boot())

    assert not blobs.has(home, entry, NEVER)
    assert not blob.exists()


def test_a_blob_that_somebody_wrote_into_is_removed(home: Home) -> None:
    blob, entry = published(home, GOOD)
    blob.chmod(0o644)
    blob.write_bytes(BAD)

    assert not blobs.has(home, entry, NEVER)


def test_what_the_kernel_has_long_written_back_wears_the_lasting_time(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    blob, entry = published(home, GOOD)
    monkeypatch.setattr(blobs, "WRITTEN_BACK_S", -1.0)

    assert blobs.has(home, entry, NEVER)
    assert int(blob.stat().st_mtime) == blobs.UNTOUCHED_S


def test_settling_makes_all_blobs_last(home: Home) -> None:
    made = [published(home, content)[0] for content in (GOOD, BAD)]

    blobs.settle(home)

    assert {int(blob.stat().st_mtime) for blob in made} == {blobs.UNTOUCHED_S}


def test_a_blob_on_a_disk_that_others_see_is_flushed_before_it_is_named(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Device numbers as a worker sees them whose home lies on a volume over the network.
    device = home.root.stat().st_dev
    mounts = f"36 35 {os.major(device)}:{os.minor(device)} / /workspace rw - nfs4 host:/share rw"
    monkeypatch.setattr(disk, "_kinds", lambda: disk.read_kinds(mounts))

    blob, entry = published(home, GOOD)

    assert disk.kind(home.root) == "nfs4"
    assert int(blob.stat().st_mtime) == blobs.UNTOUCHED_S
    assert blobs.has(home, entry, NEVER)


def test_where_nobody_says_what_kind_of_disk_it_is_it_is_not_our_own(tmp_path: Path) -> None:
    assert not disk.is_our_own(tmp_path / "missing")
