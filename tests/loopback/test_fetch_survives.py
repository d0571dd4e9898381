"""Fetching when processes die, race, or hold locks that lie."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from coldstart_sdk.events import ignore
from coldstart_sdk.rehearsal.faults import Stall
from coldstart_sdk.rehearsal.origin import Origin
from coldstart_sdk.storage import streams
from coldstart_sdk.storage.home import Home
from coldstart_sdk.storage.http import Address
from coldstart_sdk.storage.partial import CHUNK_BYTES
from coldstart_sdk.storage.remote import Limits, RemoteFile
from coldstart_sdk.storage.report import Report
from tests.syncing import FEW_CHUNKS, Syncing, a_url, content, in_a_process, sha256

DATA = content(FEW_CHUNKS, seed=1)
NO_LOCKS = "import fcntl; fcntl.flock = lambda *_: None"


@pytest.fixture
def here(tmp_path: Path) -> Syncing:
    return Syncing(home=tmp_path / "home", project=tmp_path)


@pytest.fixture
def served(tmp_path: Path) -> Path:
    folder = tmp_path / "served"
    folder.mkdir()
    (folder / "model.bin").write_bytes(DATA)
    return folder


@pytest.mark.parametrize("pinned", [True, False])
def test_a_killed_fetch_goes_on_without_asking_again_for_a_whole_chunk(
    pinned: bool,  # noqa: FBT001 - given by the parametrization
    served: Path,
    here: Syncing,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLDSTART_FETCH_STREAMS", "1")
    # The probe, then two whole chunks, then half of the third.
    with Origin(served, faults=[Stall(after_bytes=CHUNK_BYTES // 2, skip=3)]) as origin:
        spec = a_url(origin.url("model.bin"), sha256=sha256(DATA) if pinned else None)
        child = in_a_process(spec, here.home)
        _until(lambda: len(origin.requests) == 4 and origin.requests[3].sent_bytes == CHUNK_BYTES // 2)
        _kill(child)
        origin.forget()

        weight = here.run(spec)

        asked = [request.range for request in origin.requests[1:]]
        assert asked == [
            f"bytes={2 * CHUNK_BYTES}-{3 * CHUNK_BYTES - 1}",
            f"bytes={3 * CHUNK_BYTES}-{len(DATA) - 1}",
        ]
        assert weight.path.read_bytes() == DATA
        assert here.leftovers() == set()


def test_a_chunk_that_does_not_match_its_journal_is_fetched_again(
    served: Path, here: Syncing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLDSTART_FETCH_STREAMS", "1")
    with Origin(served, faults=[Stall(skip=3)]) as origin:
        child = in_a_process(a_url(origin.url("model.bin")), here.home)
        _until(lambda: len(origin.requests) == 4)
        _kill(child)
        (part,) = here.home.glob("partial/*.part")
        with part.open("r+b") as file:
            file.seek(CHUNK_BYTES + 5)
            file.write(b"\0\0\0\0")
        origin.forget()

        weight = here.run(a_url(origin.url("model.bin")))

        assert origin.requests[1].range == f"bytes={CHUNK_BYTES}-{2 * CHUNK_BYTES - 1}"
        assert weight.path.read_bytes() == DATA


def test_what_a_killed_fetch_left_of_an_older_object_is_not_used(
    served: Path, here: Syncing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLDSTART_FETCH_STREAMS", "1")
    newer = content(FEW_CHUNKS, seed=2)
    with Origin(served, faults=[Stall(skip=3)]) as origin:
        child = in_a_process(a_url(origin.url("model.bin")), here.home)
        _until(lambda: len(origin.requests) == 4)
        _kill(child)
        (served / "model.bin").write_bytes(newer)

        assert here.run(a_url(origin.url("model.bin"))).path.read_bytes() == newer


@pytest.mark.parametrize("before", ["", NO_LOCKS], ids=["honest locks", "locks that lie"])
def test_processes_that_fetch_the_same_at_once_all_end_well(before: str, served: Path, here: Syncing) -> None:
    with Origin(served, rate_bytes_s=60e6) as origin:
        spec = a_url(origin.url("model.bin"), sha256=sha256(DATA))
        children = [in_a_process(spec, here.home, before=before) for _ in range(3)]
        answers = [child.communicate(timeout=90)[0] for child in children]

        assert [child.returncode for child in children] == [0, 0, 0]
        assert {Path(json.loads(answer)[0]).read_bytes() for answer in answers} == {DATA}
        copies = 1 if not before else len(children)
        assert sum(request.sent_bytes for request in origin.requests) <= copies * len(DATA) + len(children)
    assert here.leftovers() == set()


@pytest.mark.parametrize("pinned", [True, False])
def test_processes_that_want_the_same_smaller_file_fetch_it_once(
    pinned: bool,  # noqa: FBT001 - given by the parametrization
    served: Path,
    here: Syncing,
) -> None:
    smaller = DATA[: 3 << 20]
    (served / "model.bin").write_bytes(smaller)
    with Origin(served, rate_bytes_s=1.5e6) as origin:
        spec = a_url(origin.url("model.bin"), sha256=sha256(smaller) if pinned else None)
        children = [in_a_process(spec, here.home) for _ in range(3)]
        answers = [child.communicate(timeout=90)[0] for child in children]

        assert [child.returncode for child in children] == [0, 0, 0]
        assert {Path(json.loads(answer)[0]).read_bytes() for answer in answers} == {smaller}
        assert sum(request.sent_bytes for request in origin.requests) <= len(smaller) + len(children)
    assert here.leftovers() == set()


def test_two_names_of_the_same_bytes_are_fetched_once_even_by_one_stream(
    served: Path, here: Syncing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLDSTART_FETCH_STREAMS", "1")
    with Origin(served) as origin:
        one = RemoteFile(
            path="one.bin",
            size_bytes=len(DATA),
            identity="the same",
            locate=lambda: Address(url=origin.url("model.bin")),
            digest=f"sha256:{sha256(DATA)}",
        )
        fetched = streams.read(
            [one, replace(one, path="two.bin")],
            home=Home.open(here.home),
            limits=Limits(streams=1),
            report=Report("fetch:w", ignore),
            cancelled=threading.Event(),
        )

        assert {entry.digest for entry in fetched.values()} == {one.digest}
        assert set(fetched) == {"one.bin", "two.bin"}
        assert sum(request.sent_bytes for request in origin.requests) == len(DATA)


def test_killed_at_any_moment_nothing_half_done_has_a_final_name(served: Path, here: Syncing) -> None:
    (served / "model.bin").write_bytes(DATA[: CHUNK_BYTES + 1000])
    with Origin(served, rate_bytes_s=100e6) as origin:
        spec = a_url(origin.url("model.bin"))
        for wait_s in (0.0, 0.05, 0.1, 0.15, 0.2, 0.25):
            child = in_a_process(spec, here.home, before="print(flush=True)")
            assert child.stdout is not None
            child.stdout.readline()
            time.sleep(wait_s)
            _kill(child)
            for blob in here.home.glob("blobs/sha256/*"):
                assert sha256(blob.read_bytes()) == blob.name
            for view in here.home.glob("views/[!.]*/*"):
                assert view.read_bytes() == DATA[: CHUNK_BYTES + 1000]

        assert here.run(spec).path.read_bytes() == DATA[: CHUNK_BYTES + 1000]


def _kill(child: subprocess.Popen[str]) -> None:
    os.kill(child.pid, signal.SIGKILL)
    child.communicate()


def _until(condition: Callable[[], bool], guard_s: float = 60) -> None:
    end = time.monotonic() + guard_s
    while not condition():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.01)
