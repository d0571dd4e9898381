"""Fetching from an address: whatever it does, a set is whole and verified, or an error with its mend."""

from __future__ import annotations

import errno
import itertools
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from coldstart_sdk.errors import StorageError
from coldstart_sdk.events import Noted, Resource, SpanRecorded, StepProgress, TierTried
from coldstart_sdk.rehearsal.faults import (
    Cut,
    Fault,
    Flip,
    IgnoreRange,
    NewETag,
    Refuse,
    Shorten,
    Stall,
    WrongRange,
)
from coldstart_sdk.rehearsal.origin import Origin
from coldstart_sdk.storage.cancel import Cancelled
from coldstart_sdk.storage.partial import CHUNK_BYTES
from tests.syncing import FEW_CHUNKS, Syncing, a_url, content, sha256

DATA = content(FEW_CHUNKS)
SMALL = content(1000)


@pytest.fixture
def here(tmp_path: Path) -> Syncing:
    return Syncing(home=tmp_path / "home", project=tmp_path)


@pytest.fixture
def origin(tmp_path: Path) -> Iterator[Origin]:
    served = tmp_path / "served"
    served.mkdir()
    (served / "model.bin").write_bytes(DATA)
    (served / "small.bin").write_bytes(SMALL)
    with Origin(served) as running:
        yield running


def test_what_is_fetched_is_what_was_served(origin: Origin, here: Syncing) -> None:
    weight = here.run(a_url(origin.url("model.bin"), sha256=sha256(DATA)))

    assert weight.path.read_bytes() == DATA
    assert (weight.tier, weight.bytes) == ("origin", len(DATA))
    assert here.blobs() == {sha256(DATA)}
    assert here.leftovers() == set()


def test_a_pinned_set_that_is_here_asks_no_origin(origin: Origin, here: Syncing) -> None:
    here.run(a_url(origin.url("model.bin"), sha256=sha256(DATA)))
    origin.forget()

    weight = here.run(a_url(origin.url("model.bin"), sha256=sha256(DATA)))

    assert weight.tier == "disk"
    assert origin.requests == ()
    assert [(tried.tier, tried.hit) for tried in here.of(TierTried)] == [("disk", True)]


def test_two_declarations_of_the_same_bytes_share_them(origin: Origin, here: Syncing) -> None:
    here.run(a_url(origin.url("small.bin"), sha256=sha256(SMALL)))
    origin.forget()

    weight = here.run(a_url("http://127.0.0.1:9/elsewhere.bin", sha256=sha256(SMALL)))

    assert weight.path.name == "elsewhere.bin"
    assert weight.path.read_bytes() == SMALL
    assert origin.requests == ()


def test_an_unpinned_set_asks_once_whether_it_is_still_the_same(origin: Origin, here: Syncing) -> None:
    here.run(a_url(origin.url("model.bin")))
    origin.forget()

    weight = here.run(a_url(origin.url("model.bin")))

    assert weight.tier == "disk"
    assert [request.range for request in origin.requests] == ["bytes=0-0"]


def test_an_unpinned_set_that_changed_is_fetched_anew(origin: Origin, here: Syncing, tmp_path: Path) -> None:
    here.run(a_url(origin.url("small.bin")))
    (tmp_path / "served" / "small.bin").write_bytes(SMALL + b"more")

    weight = here.run(a_url(origin.url("small.bin")))

    assert weight.tier == "origin"
    assert weight.path.read_bytes() == SMALL + b"more"


def test_an_origin_that_is_gone_leaves_the_last_good_copy(tmp_path: Path, here: Syncing) -> None:
    (tmp_path / "small.bin").write_bytes(SMALL)
    with Origin(tmp_path) as origin:
        spec = a_url(origin.url("small.bin"))
        here.run(spec)

    weight = here.run(spec)

    assert weight.tier == "disk"
    assert weight.path.read_bytes() == SMALL
    assert "what was fetched before is used" in here.of(Noted)[0].message


def test_a_set_that_was_never_here_needs_its_origin(here: Syncing) -> None:
    with pytest.raises(StorageError, match="cannot be reached"):
        here.run(a_url("http://127.0.0.1:9/model.bin"))


def test_each_file_and_each_tier_is_an_event(origin: Origin, here: Syncing) -> None:
    here.run(a_url(origin.url("model.bin")))

    assert [(tried.tier, tried.hit) for tried in here.of(TierTried)] == [("disk", False), ("origin", True)]
    (span,) = here.of(SpanRecorded)
    assert (span.name, span.resource, span.bytes, span.tier) == (
        "model.bin",
        Resource.NET,
        len(DATA),
        "origin",
    )
    assert span.at_s < span.end_s
    last = here.of(StepProgress)[-1]
    assert (last.done_bytes, last.total_bytes) == (len(DATA), len(DATA))


def test_progress_comes_at_most_ten_times_a_second(tmp_path: Path, here: Syncing) -> None:
    (tmp_path / "model.bin").write_bytes(content(3_000_000))
    with Origin(tmp_path, rate_bytes_s=3e6) as origin:
        here.run(a_url(origin.url("model.bin")))

    *regular, _last = (progress.at_s for progress in here.of(StepProgress))
    assert len(regular) > 2
    assert all(later - earlier >= 0.1 for earlier, later in itertools.pairwise(regular))


MENDED: dict[str, tuple[Fault, ...]] = {
    "cut": (Cut(after_bytes=5_000_000, skip=1, times=2),),
    "cut before the first byte": (Cut(after_bytes=0, skip=2, times=2),),
    "reset": (Cut(after_bytes=3_000_000, reset=True, skip=1),),
    "503 twice": (Refuse(status=503, times=2),),
    "429 with Retry-After": (Refuse(status=429, retry_after="0", skip=2),),
    "500 midway": (Refuse(status=500, skip=3, times=2),),
    "another range": (WrongRange(skip=1, times=2),),
    "the whole file instead of a range": (IgnoreRange(skip=2, times=2),),
    "a shorter body": (Shorten(by_bytes=1, skip=2),),
    "half a body that says so": (Shorten(by_bytes=4_000_000, skip=1),),
    "a flipped bit": (Flip(at_byte=CHUNK_BYTES + 7),),
    "several at once": (Cut(after_bytes=1, skip=1), Refuse(status=502), Flip(at_byte=3), WrongRange(skip=4)),
}


@pytest.mark.parametrize("name", MENDED)
def test_a_passing_fault_costs_a_retry_and_never_a_byte(name: str, origin: Origin, here: Syncing) -> None:
    origin.fail(*MENDED[name])

    weight = here.run(a_url(origin.url("model.bin"), sha256=sha256(DATA)))

    assert weight.path.read_bytes() == DATA
    assert here.leftovers() == set()


@pytest.mark.parametrize(
    "name", [name for name in MENDED if name not in {"a flipped bit", "several at once"}]
)
def test_a_passing_fault_is_mended_without_a_declared_digest_too(
    name: str, origin: Origin, here: Syncing
) -> None:
    origin.fail(*MENDED[name])

    assert here.run(a_url(origin.url("model.bin"))).path.read_bytes() == DATA


def test_a_cut_answer_goes_on_at_the_byte_where_it_broke(
    origin: Origin, here: Syncing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLDSTART_FETCH_STREAMS", "1")
    origin.fail(Cut(after_bytes=1_000_000, skip=1))

    here.run(a_url(origin.url("model.bin")))

    ranges = [request.range for request in origin.requests[1:]]
    assert ranges[:2] == [f"bytes=0-{CHUNK_BYTES - 1}", f"bytes=1000000-{CHUNK_BYTES - 1}"]
    assert sum(request.sent_bytes for request in origin.requests) <= len(DATA) + 1


def test_every_range_is_asked_of_the_same_object(origin: Origin, here: Syncing) -> None:
    here.run(a_url(origin.url("model.bin")))

    assert len(origin.requests) == 5
    assert {request.if_match is not None for request in origin.requests[1:]} == {True}


def test_no_request_comes_before_its_retry_after(origin: Origin, here: Syncing) -> None:
    origin.fail(Refuse(status=503, retry_after="1"))

    here.run(a_url(origin.url("small.bin")))

    refused, next_one = origin.requests[0], origin.requests[1]
    assert next_one.at_s - refused.at_s >= 1.0


def test_a_retry_after_beyond_patience_is_an_error_at_once(origin: Origin, here: Syncing) -> None:
    origin.fail(Refuse(status=503, retry_after="86400", times=None))

    with pytest.raises(StorageError, match="503"):
        here.run(a_url(origin.url("small.bin")))
    assert len(origin.requests) == 1


def test_a_sick_origin_is_given_up_after_a_few_requests(origin: Origin, here: Syncing) -> None:
    origin.fail(Refuse(status=503, times=None, retry_after="0", skip=1))

    with pytest.raises(StorageError, match=r"could not be fetched.*503"):
        here.run(a_url(origin.url("small.bin")))

    assert len(origin.requests) < 10
    assert here.blobs() == set()


def test_a_stalled_connection_is_given_up_and_asked_again(
    origin: Origin, here: Syncing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLDSTART_FETCH_STALL_S", "0.5")
    origin.fail(Stall(after_bytes=1_000_000, skip=1))

    assert here.run(a_url(origin.url("model.bin"))).path.read_bytes() == DATA


def test_bytes_that_are_never_what_was_declared_are_refused(origin: Origin, here: Syncing) -> None:
    origin.fail(Flip(at_byte=CHUNK_BYTES, times=None))

    with pytest.raises(StorageError, match="not what was announced"):
        here.run(a_url(origin.url("model.bin"), sha256=sha256(DATA)))

    assert here.blobs() == set()
    assert here.leftovers() == set()
    assert sum(request.sent_bytes for request in origin.requests) <= 2 * len(DATA) + 1


def test_an_object_replaced_midway_is_read_again_whole(origin: Origin, here: Syncing) -> None:
    origin.fail(NewETag(skip=2, times=1))

    assert here.run(a_url(origin.url("model.bin"))).path.read_bytes() == DATA


def test_an_object_that_keeps_changing_is_refused(
    origin: Origin, here: Syncing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLDSTART_FETCH_STREAMS", "1")
    origin.fail(NewETag(skip=1), NewETag(skip=2))

    with pytest.raises(StorageError, match="changes at the origin"):
        here.run(a_url(origin.url("model.bin")))
    assert here.blobs() == set()


@pytest.mark.parametrize(
    ("status", "fix"),
    [(404, "moved or removed"), (403, "signature or a login"), (401, "signature or a login")],
)
def test_an_address_that_refuses_names_itself_and_the_mend(
    status: int, fix: str, origin: Origin, here: Syncing
) -> None:
    origin.fail(Refuse(status=status, times=None))

    with pytest.raises(StorageError, match=str(status)) as refused:
        here.run(a_url(origin.url("small.bin") + "?X-Amz-Signature=canary"))

    assert fix in refused.value.fix
    assert refused.value.where == origin.url("small.bin")
    assert len(origin.requests) == 1


def test_no_signature_reaches_an_error_or_the_disk(origin: Origin, here: Syncing) -> None:
    spec = a_url(origin.url("small.bin").replace("//", "//user:canary@") + "?sig=canary#canary")
    here.run(spec)
    origin.fail(Refuse(status=404, times=None))

    with pytest.raises(StorageError) as refused:
        here.run(spec)

    assert "canary" not in f"{refused.value} {refused.value.where} {refused.value.fix} {here.events}"
    written = [path for path in here.home.rglob("*") if path.is_file()]
    assert [path for path in written if b"canary" in path.read_bytes() or "canary" in path.name] == []


DISGUISES = {
    "an HTML page": (b"\n<!DOCTYPE html><html><body>Sign in</body></html>", "model.bin"),
    "a Git LFS pointer": (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 9\n",
        "model.safetensors",
    ),
    "an error message": (b'{"error":"Repository not found"}', "model.safetensors"),
    "an empty file": (b"", "model.safetensors"),
    "a damaged safetensors file": (b"\xff" * 64, "model.safetensors"),
}


@pytest.mark.parametrize("what", DISGUISES)
def test_what_is_not_weights_is_named_and_refused(
    what: str, origin: Origin, here: Syncing, tmp_path: Path
) -> None:
    data, name = DISGUISES[what]
    (tmp_path / "served" / name).write_bytes(data)

    with pytest.raises(StorageError, match=what) as refused:
        here.run(a_url(origin.url(name)))

    assert refused.value.where == origin.url(name)
    assert here.blobs() == set()
    assert here.leftovers() == set()


def test_what_does_not_fit_is_refused_before_the_first_byte(
    here: Syncing, tmp_path: Path, origin: Origin
) -> None:
    disk = os.statvfs(tmp_path)
    with (tmp_path / "served" / "vast.bin").open("wb") as vast:
        vast.truncate(disk.f_bavail * disk.f_frsize + 50_000_000_000)

    with pytest.raises(StorageError, match=r"[GT]B are needed and .* [GT]B are free") as refused:
        here.run(a_url(origin.url("vast.bin")))

    assert "COLDSTART_HOME" in refused.value.fix
    assert sum(request.sent_bytes for request in origin.requests) <= 1


def test_a_home_that_cannot_be_written_is_an_error_with_its_mend(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")

    with pytest.raises(StorageError) as refused:
        Syncing(home=tmp_path / "file" / "home", project=tmp_path).run(a_url("http://127.0.0.1:9/x"))

    assert refused.value.fix == "Set COLDSTART_HOME to a directory that you may write to."


def test_a_disk_that_fills_up_midway_is_an_error_with_its_mend(
    origin: Origin, here: Syncing, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "pwrite", full)

    with pytest.raises(StorageError, match="the disk is full"):
        here.run(a_url(origin.url("model.bin")))

    assert here.blobs() == set()
    assert here.leftovers() == set()


def test_cancelling_ends_a_fetch_soon_and_keeps_what_is_whole(here: Syncing, tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(DATA)
    with Origin(tmp_path, faults=[Stall(after_bytes=0, skip=2, times=None)]) as origin:
        failed: list[BaseException] = []

        def fetch() -> None:
            try:
                here.run(a_url(origin.url("model.bin")))
            except Cancelled as cancelled:
                failed.append(cancelled)

        thread = threading.Thread(target=fetch)
        thread.start()
        _until(lambda: any(here.home.glob("partial/*.journal")))
        here.cancelled.set()
        thread.join(timeout=10)

        assert not thread.is_alive()
        assert len(failed) == 1
        assert here.blobs() == set()
        here.cancelled.clear()
        origin.mend()
        origin.forget()
        assert here.run(a_url(origin.url("model.bin"))).path.read_bytes() == DATA
        assert sum(request.sent_bytes for request in origin.requests) <= len(DATA) - CHUNK_BYTES + 1
        assert here.leftovers() == set()


def test_https_is_verified_against_the_trusted_certificates(
    here: Syncing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "model.bin").write_bytes(DATA)
    tls = _certificate(tmp_path)
    with Origin(tmp_path, tls=tls) as origin:
        with pytest.raises(StorageError, match="cannot be reached"):
            here.run(a_url(origin.url("model.bin")))
        monkeypatch.setenv("SSL_CERT_FILE", tls[0])

        weight = here.run(a_url(origin.url("model.bin")))

        assert origin.url("").startswith("https://")
        assert weight.path.read_bytes() == DATA


def test_a_proxy_is_used_and_greeted_where_the_environment_names_one(
    origin: Origin, here: Syncing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", origin.url("").replace("://", "://user:pass@"))
    monkeypatch.setenv("no_proxy", "")

    weight = here.run(a_url("http://weights.invalid/model.bin"))

    assert weight.path.read_bytes() == DATA


def test_no_proxy_is_heeded(origin: Origin, here: Syncing, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "127.0.0.1")

    assert here.run(a_url(origin.url("small.bin"))).path.read_bytes() == SMALL


def test_a_blob_that_was_written_into_is_found_out_and_fetched_again(origin: Origin, here: Syncing) -> None:
    spec = a_url(origin.url("small.bin"), sha256=sha256(SMALL))
    weight = here.run(spec)
    weight.path.chmod(0o644)
    weight.path.write_bytes(SMALL[::-1])

    again = here.run(spec)

    assert again.tier == "origin"
    assert again.path.read_bytes() == SMALL
    assert [noted.message for noted in here.of(Noted)] == [
        "w: 'small.bin' was changed on this machine; it is fetched again"
    ]


@pytest.mark.parametrize("harm", ["blob", "manifest", "ref", "view"])
def test_whatever_is_lost_on_disk_is_made_again(harm: str, origin: Origin, here: Syncing) -> None:
    spec = a_url(origin.url("small.bin"), sha256=sha256(SMALL))
    weight = here.run(spec)
    rooms = {"blob": "blobs/sha256", "manifest": "manifests/sha256", "ref": "refs", "view": "views"}
    for path in (here.home / rooms[harm]).rglob("*"):
        if path.is_file():
            path.unlink()

    assert here.run(spec).path.read_bytes() == SMALL
    assert weight.path.read_bytes() == SMALL


def _until(condition: Callable[[], bool], guard_s: float = 60) -> None:
    end = time.monotonic() + guard_s
    while not condition():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.01)


def _certificate(folder: Path) -> tuple[str, str]:
    """One that vouches for 127.0.0.1 and for nobody else."""
    certificate, key = str(folder / "certificate.pem"), str(folder / "key.pem")
    asked = "-x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=rehearsal"
    named = ["-addext", "subjectAltName=IP:127.0.0.1", "-out", certificate, "-keyout", key]
    subprocess.run(["openssl", "req", *asked.split(), *named], check=True, capture_output=True)
    return certificate, key
