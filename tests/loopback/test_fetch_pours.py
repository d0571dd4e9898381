"""A fast plain connection is poured from; what comes that way is judged as what is read."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from coldstart_sdk.errors import StorageError
from coldstart_sdk.events import ignore
from coldstart_sdk.manifest import FileEntry
from coldstart_sdk.rehearsal.faults import Cut, Fault, Flip, Shorten, Stall, WrongRange
from coldstart_sdk.rehearsal.origin import Origin
from coldstart_sdk.storage import chunks, disk, streams
from coldstart_sdk.storage.home import Home
from coldstart_sdk.storage.http import Address
from coldstart_sdk.storage.partial import CHUNK_BYTES
from coldstart_sdk.storage.remote import Limits, RemoteFile
from coldstart_sdk.storage.report import Report
from coldstart_sdk.storage.wire import Wire
from tests.syncing import FEW_CHUNKS, an_origin, content, sha256

DATA = content(FEW_CHUNKS, seed=8)


@pytest.fixture
def origin(tmp_path: Path) -> Iterator[Origin]:
    with an_origin(tmp_path, DATA) as running:
        yield running


@pytest.fixture
def poured(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many bytes each pour brought; here every connection counts as a fast one from its first byte."""
    counts: list[int] = []
    pour = Wire.pour

    def counted(wire: Wire, inlet: int, most_bytes: int) -> int:
        counts.append(pour(wire, inlet, most_bytes))
        return counts[-1]

    monkeypatch.setattr(Wire, "pour", counted)
    monkeypatch.setattr(streams, "_FIRST_STEP_BYTES", streams.BUFFER_BYTES)
    monkeypatch.setattr(streams, "_LITTLE_BYTES", 0)
    return counts


@pytest.mark.parametrize("known", [True, False], ids=["each-chunk-known", "the-whole-known"])
def test_it_comes_whole(origin: Origin, tmp_path: Path, poured: list[int], *, known: bool) -> None:
    entry = _fetch(origin, tmp_path, known=known)

    assert (tmp_path / "home" / "blobs" / "sha256" / entry.digest[7:]).read_bytes() == DATA
    assert sum(poured) > len(DATA) / 2


@pytest.mark.parametrize("known", [True, False], ids=["each-chunk-known", "the-whole-known"])
@pytest.mark.parametrize(
    "fault",
    [
        Flip(at_byte=CHUNK_BYTES + 12_345),
        Cut(after_bytes=300_000),
        Cut(after_bytes=300_001, reset=True),
        Stall(after_bytes=300_000),
        WrongRange(),
        Shorten(),
    ],
    ids=lambda fault: type(fault).__name__,
)
def test_what_goes_wrong_once_is_made_good(
    origin: Origin, tmp_path: Path, poured: list[int], fault: Fault, *, known: bool
) -> None:
    origin.fail(fault)

    entry = _fetch(origin, tmp_path, known=known)

    assert (tmp_path / "home" / "blobs" / "sha256" / entry.digest[7:]).read_bytes() == DATA
    assert poured


@pytest.mark.parametrize("known", [True, False], ids=["each-chunk-known", "the-whole-known"])
def test_what_stays_wrong_never_becomes_a_blob(
    origin: Origin, tmp_path: Path, poured: list[int], *, known: bool
) -> None:
    origin.fail(Flip(at_byte=CHUNK_BYTES + 12_345, times=None))

    with pytest.raises(StorageError, match="not what was announced"):
        _fetch(origin, tmp_path, known=known)

    assert poured
    assert list((tmp_path / "home" / "blobs" / "sha256").iterdir()) == []


def test_a_disk_that_others_write_to_is_written_to_and_not_looked_at(
    origin: Origin, tmp_path: Path, poured: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk, "kind", lambda _: "nfs4")

    entry = _fetch(origin, tmp_path, known=True)

    assert (tmp_path / "home" / "blobs" / "sha256" / entry.digest[7:]).read_bytes() == DATA
    assert poured == []


def _fetch(origin: Origin, folder: Path, *, known: bool) -> FileEntry:
    copy = folder / "copy"
    copy.write_bytes(DATA)
    remote = RemoteFile(
        path="model.bin",
        size_bytes=len(DATA),
        identity="one",
        locate=lambda: Address(url=origin.url("model.bin")),
        digest=f"sha256:{sha256(DATA)}",
        chunks=chunks.of_file(copy, threading.Event()) if known else (),
    )
    fetched = streams.read(
        [remote],
        home=Home.open(folder / "home"),
        limits=Limits(stall_s=0.5),
        report=Report("fetch:w", ignore),
        cancelled=threading.Event(),
    )
    return fetched["model.bin"]
