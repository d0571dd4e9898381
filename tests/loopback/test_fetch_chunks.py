"""Files whose chunks are known: each is judged as it arrives, and a wrong one costs one chunk."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from coldstart_sdk.errors import StorageError
from coldstart_sdk.events import Event
from coldstart_sdk.manifest import FileEntry
from coldstart_sdk.rehearsal.faults import Fault, Flip
from coldstart_sdk.rehearsal.origin import Origin
from coldstart_sdk.storage import blobs, chunks, transfer
from coldstart_sdk.storage.home import Home
from coldstart_sdk.storage.http import Address
from coldstart_sdk.storage.partial import CHUNK_BYTES
from coldstart_sdk.storage.remote import Limits, RemoteFile
from coldstart_sdk.storage.report import Report
from tests.syncing import FEW_CHUNKS, an_origin, content, sha256

DATA = content(FEW_CHUNKS, seed=3)
QUIET = threading.Event()


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home.open(tmp_path / "home")


@pytest.fixture
def origin(tmp_path: Path) -> Iterator[Origin]:
    with an_origin(tmp_path, DATA) as running:
        yield running


@pytest.fixture
def known(tmp_path: Path) -> tuple[str, ...]:
    path = tmp_path / "copy"
    path.write_bytes(DATA)
    return chunks.of_file(path, QUIET)


def _remote(origin: Origin, known: tuple[str, ...]) -> RemoteFile:
    return RemoteFile(
        path="model.bin",
        size_bytes=len(DATA),
        identity="one",
        locate=lambda: Address(url=origin.url("model.bin")),
        digest=f"sha256:{sha256(DATA)}",
        chunks=known,
        redirects=False,
    )


def _fetch(home: Home, remote: RemoteFile) -> FileEntry:
    events: list[Event] = []
    report = Report("fetch:w", events.append)
    return transfer.fetch([remote], home=home, limits=Limits(), report=report, cancelled=QUIET)[remote.path]


def test_what_was_fetched_once_is_known_by_its_chunks(
    home: Home, origin: Origin, known: tuple[str, ...]
) -> None:
    entry = _fetch(home, _remote(origin, ()))

    assert entry.chunks == known
    assert len(known) == 4


def test_known_chunks_make_a_file_whole(home: Home, origin: Origin, known: tuple[str, ...]) -> None:
    entry = _fetch(home, _remote(origin, known))

    assert home.blob(entry.digest).read_bytes() == DATA
    assert entry.digest == f"sha256:{sha256(DATA)}"


@pytest.mark.parametrize("at_byte", [0, CHUNK_BYTES - 1, CHUNK_BYTES, 2 * CHUNK_BYTES + 5, len(DATA) - 1])
def test_a_wrong_chunk_is_fetched_again_by_itself(
    home: Home, origin: Origin, known: tuple[str, ...], at_byte: int
) -> None:
    origin.fail(Flip(at_byte=at_byte))

    entry = _fetch(home, _remote(origin, known))

    assert home.blob(entry.digest).read_bytes() == DATA
    assert sum(request.sent_bytes for request in origin.requests) <= len(DATA) + CHUNK_BYTES


def test_a_chunk_that_stays_wrong_is_refused(home: Home, origin: Origin, known: tuple[str, ...]) -> None:
    always: Fault = Flip(at_byte=CHUNK_BYTES + 1, times=None)
    origin.fail(always)

    with pytest.raises(
        StorageError, match=r"not what was announced: blake3:.* expected, blake3:.* came, twice"
    ):
        _fetch(home, _remote(origin, known))

    assert not blobs.has(
        home, FileEntry(path="m", size_bytes=len(DATA), digest=f"sha256:{sha256(DATA)}"), QUIET
    )


def test_a_refusal_is_never_hidden_by_the_streams_that_it_ends(tmp_path: Path) -> None:
    many = content(5 * CHUNK_BYTES, seed=4)
    (tmp_path / "model.bin").write_bytes(many)
    known = chunks.of_file(tmp_path / "model.bin", QUIET)
    with Origin(tmp_path, process=True) as origin:
        origin.fail(Flip(at_byte=CHUNK_BYTES + 1, times=None))
        remote = replace(_remote(origin, known), size_bytes=len(many), digest=f"sha256:{sha256(many)}")
        said = set()
        for attempt in range(20):
            home = Home.open(tmp_path / str(attempt))
            with pytest.raises(StorageError) as refused:
                _fetch(home, remote)
            said.add(refused.value.message)

            assert list(home.partial.iterdir()) == []

    assert len(said) == 1
    assert "is not what was announced" in said.pop()


def test_chunks_without_a_digest_of_the_file_prove_nothing(
    home: Home, origin: Origin, known: tuple[str, ...]
) -> None:
    remote = replace(_remote(origin, ("0" * 64,) * len(known)), digest=None)

    assert _fetch(home, remote).digest == f"sha256:{sha256(DATA)}"


def test_chunks_of_another_file_do_not_fit(home: Home, origin: Origin, known: tuple[str, ...]) -> None:
    entry = _fetch(home, _remote(origin, known[:-1]))

    assert entry.digest == f"sha256:{sha256(DATA)}"


def test_what_a_killed_fetch_left_counts_only_where_it_is_what_was_locked(
    home: Home, origin: Origin, known: tuple[str, ...]
) -> None:
    from coldstart_sdk.storage.partial import Part
    from coldstart_sdk.storage.streams import key_of

    remote = _remote(origin, known)
    left = Part(home.partial, key_of(remote), len(DATA))
    wrong = memoryview(content(CHUNK_BYTES, seed=9))
    hashed = chunks.hasher()
    hashed.update(wrong)
    left.write(0, wrong)
    left.mark(0, hashed.hexdigest())
    left.write(CHUNK_BYTES, memoryview(DATA)[CHUNK_BYTES : 2 * CHUNK_BYTES])
    left.mark(1, known[1])
    left.close()

    entry = _fetch(home, remote)

    assert home.blob(entry.digest).read_bytes() == DATA
    assert sum(request.sent_bytes for request in origin.requests) == len(DATA) - CHUNK_BYTES
