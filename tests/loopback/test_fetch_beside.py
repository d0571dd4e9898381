"""The process that reads beside a start: it does what this one would, and ends when this one does."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from coldstart_sdk.errors import StorageError
from coldstart_sdk.events import Noted, SpanRecorded
from coldstart_sdk.rehearsal.faults import Refuse, Stall
from coldstart_sdk.rehearsal.origin import Origin
from coldstart_sdk.storage import beside, transfer
from coldstart_sdk.storage.cancel import Cancelled
from coldstart_sdk.storage.home import Home
from coldstart_sdk.storage.http import Address
from coldstart_sdk.storage.partial import CHUNK_BYTES
from coldstart_sdk.storage.remote import Beside, Limits, RemoteFile
from coldstart_sdk.storage.report import Report
from tests.syncing import FEW_CHUNKS, Syncing, a_url, an_origin, content, in_a_process, sha256

DATA = content(FEW_CHUNKS, seed=5)
CANARY = "canary-of-a-signature"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Syncing:
    monkeypatch.setenv("COLDSTART_FETCH_PROCESS", "always")
    return Syncing(home=tmp_path / "home", project=tmp_path)


@pytest.fixture
def origin(tmp_path: Path) -> Iterator[Origin]:
    with an_origin(tmp_path, DATA) as running:
        yield running


def test_it_tells_the_same_story(origin: Origin, here: Syncing) -> None:
    weight = here.run(a_url(origin.url("model.bin"), sha256=sha256(DATA)))

    (span,) = here.of(SpanRecorded)
    assert weight.path.read_bytes() == DATA
    assert (span.step, span.name, span.bytes, span.tier) == ("fetch:w", "model.bin", len(DATA), "origin")
    assert here.leftovers() == set()


def test_nothing_is_left_running(origin: Origin, here: Syncing) -> None:
    here.run(a_url(origin.url("model.bin")))

    assert _children(os.getpid()) == []
    assert not [thread for thread in threading.enumerate() if thread.name == "coldstart-beside"]


def test_sets_that_are_fetched_at_once_share_one(origin: Origin, here: Syncing, tmp_path: Path) -> None:
    other = Syncing(home=tmp_path / "home", project=tmp_path)
    with beside.held() as one:
        with beside.held() as two:
            assert one is two
        threads = [
            threading.Thread(target=each.run, args=(a_url(origin.url("model.bin"), filename=f"{name}.bin"),))
            for name, each in {"a": here, "b": other}.items()
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(_children(os.getpid())) == 1

    assert here.of(SpanRecorded)
    assert other.of(SpanRecorded)


@pytest.mark.parametrize(("size", "started"), [(None, 1), (1 << 30, 1), (1 << 20, 0)])
def test_it_is_made_ready_for_what_may_be_much_and_gone_where_it_was_not_needed(
    size: int | None, started: int
) -> None:
    with transfer.foreseen(size, alone=False):
        assert len(_children(os.getpid())) == started

    assert _children(os.getpid()) == []


def test_it_is_made_ready_while_the_origin_is_asked(
    tmp_path: Path, here: Syncing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COLDSTART_FETCH_PROCESS")
    (tmp_path / "served").mkdir()
    (tmp_path / "served" / "model.bin").write_bytes(DATA)
    with Origin(tmp_path / "served", latency_s=0.5) as slow:
        fetching = threading.Thread(target=here.run, args=(a_url(slow.url("model.bin")),))
        fetching.start()
        _until(lambda: len(_children(os.getpid())) == 1)
        assert not any(each.sent_bytes for each in slow.requests)
        fetching.join()

    assert _children(os.getpid()) == []


def test_where_nothing_else_is_done_there_is_none(
    origin: Origin, here: Syncing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COLDSTART_FETCH_PROCESS")
    monkeypatch.setattr(transfer, "BESIDE_BYTES", 1)
    here.alone = True
    fetching = threading.Thread(target=here.run, args=(a_url(origin.url("model.bin")),))
    fetching.start()
    while fetching.is_alive():
        assert _children(os.getpid()) == []
        time.sleep(0.01)

    assert here.of(SpanRecorded)


def test_where_nothing_else_is_done_whoever_asks_for_it_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLDSTART_FETCH_PROCESS", "always")

    assert Limits.from_environment(alone=True).beside is Beside.ALWAYS


# A fork beside threads: as RunPod's heartbeat is one.
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_fork_that_holds_its_pipe_open_does_not_keep_it(origin: Origin, here: Syncing) -> None:
    with beside.held() as one:
        here.run(a_url(origin.url("model.bin")))
        ends, stays = os.pipe()
        fork = os.fork()
        if not fork:
            os.close(stays)
            os.read(ends, 1)  # as long as the test
            os._exit(0)
        os.close(ends)

    assert one.code == 0  # it ended by itself, and was not killed after a while
    os.close(stays)
    os.waitpid(fork, 0)


def test_where_it_dies_this_process_goes_on(origin: Origin, here: Syncing) -> None:
    origin.fail(Stall(after_bytes=CHUNK_BYTES // 2, skip=2))

    def kill() -> None:
        _until(lambda: len(origin.requests) > 3 and origin.requests[2].sent_bytes > 0)
        for child in _children(os.getpid()):
            os.kill(child, signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    weight = here.run(a_url(origin.url("model.bin"), sha256=sha256(DATA)))
    killer.join()

    assert weight.path.read_bytes() == DATA
    assert "goes on in this one" in here.of(Noted)[0].message
    assert here.leftovers() == set()


def test_where_it_cannot_be_started_this_process_reads(
    origin: Origin, here: Syncing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/nonexistent/python")

    weight = here.run(a_url(origin.url("model.bin")))

    assert weight.path.read_bytes() == DATA
    assert "no process can be started" in here.of(Noted)[0].message


@pytest.mark.usefixtures("here")
def test_it_dies_with_the_process_that_started_it(origin: Origin, tmp_path: Path) -> None:
    origin.fail(Stall(after_bytes=0, skip=1, times=None))
    parent = in_a_process(a_url(origin.url("model.bin")), tmp_path / "other")
    _until(lambda: len(origin.requests) > 1)
    (child,) = _children(parent.pid)

    parent.kill()
    parent.communicate()

    _until(lambda: not _runs(child))


def test_a_cancelled_fetch_ends_soon(origin: Origin, here: Syncing) -> None:
    origin.fail(Stall(after_bytes=0, skip=1, times=None))

    def cancel() -> None:
        _until(lambda: len(origin.requests) > 1)
        here.cancelled.set()

    threading.Thread(target=cancel).start()

    with pytest.raises(Cancelled):
        here.run(a_url(origin.url("model.bin")))

    assert _children(os.getpid()) == []


def test_an_error_comes_back_with_its_mend(origin: Origin, here: Syncing) -> None:
    origin.fail(Refuse(status=404, skip=1, times=None))

    with pytest.raises(StorageError, match="answered 404") as refused:
        here.run(a_url(origin.url("model.bin")))

    assert refused.value.problems[0].fix.startswith("Check the address")


def test_an_address_that_expires_is_asked_for_again(origin: Origin, tmp_path: Path) -> None:
    origin.fail(Refuse(status=403, skip=1))
    located: list[str] = []

    def locate() -> Address:
        located.append(CANARY)
        return Address(url=f"{origin.url('model.bin')}?signature={CANARY}-{len(located)}")

    remote = RemoteFile(path="m", size_bytes=len(DATA), identity="one", locate=locate, redirects=False)
    entries = transfer.fetch(
        [remote],
        home=Home.open(tmp_path / "home"),
        limits=Limits(streams=1, beside=Beside.ALWAYS),
        report=Report("fetch:w", lambda _: None),
        cancelled=threading.Event(),
    )

    assert entries["m"].digest == f"sha256:{sha256(DATA)}"
    assert len(located) == 2


def test_no_signature_is_seen_from_outside(origin: Origin, tmp_path: Path) -> None:
    origin.fail(Stall(after_bytes=0, times=None))
    address = f"{origin.url('model.bin')}?signature={CANARY}"
    parent = subprocess.Popen([sys.executable, "-c", _FETCHING], stdin=subprocess.PIPE, text=True)
    assert parent.stdin is not None
    parent.stdin.write(json.dumps([address, str(tmp_path / "home"), len(DATA)]))
    parent.stdin.close()
    _until(lambda: len(origin.requests) > 0)
    (child,) = _children(parent.pid)
    seen = Path(f"/proc/{child}/cmdline").read_bytes() + Path(f"/proc/{child}/environ").read_bytes()
    parent.kill()
    parent.wait()

    assert CANARY.encode() not in seen


_FETCHING = """
import json, sys, threading
from pathlib import Path
from coldstart_sdk.storage import transfer
from coldstart_sdk.storage.home import Home
from coldstart_sdk.storage.http import Address
from coldstart_sdk.storage.remote import Beside, Limits, RemoteFile
from coldstart_sdk.storage.report import Report
url, home, size = json.load(sys.stdin)
file = RemoteFile(path="m", size_bytes=size, identity="x", locate=lambda: Address(url=url))
transfer.fetch([file], home=Home.open(Path(home)), limits=Limits(beside=Beside.ALWAYS),
               report=Report("s", lambda _: None), cancelled=threading.Event())
"""


def _children(parent: int) -> list[int]:
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
            is_reader = b"storage.reader" in (stat.parent / "cmdline").read_bytes()
        except OSError:
            continue
        if int(fields[1]) == parent and fields[0] != "Z" and is_reader:
            found.append(int(stat.parent.name))
    return found


def _runs(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _until(done: Callable[[], bool]) -> None:
    for _ in range(6000):
        if done():
            return
        time.sleep(0.01)
    pytest.fail("it never came to that")
