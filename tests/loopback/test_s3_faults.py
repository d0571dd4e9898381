"""S3 when it fails: what is asked again, what is not, and what is said."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from coldstart_sdk.errors import StorageError
from coldstart_sdk.rehearsal.faults import Cut, Refuse
from coldstart_sdk.rehearsal.s3 import READER, S3, WRITER
from coldstart_sdk.storage.retry import Patience
from coldstart_sdk.storage.s3.client import Client, ConflictError
from coldstart_sdk.storage.s3.credentials import access
from coldstart_sdk.storage.stores.s3 import S3Store
from coldstart_sdk.storage.transient import TransientError
from tests import buckets
from tests.syncing import content

LARGE = content((33 << 20) + 7, seed=51)
"""Three parts."""


@pytest.fixture
def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3]:
    with S3(tmp_path / "s3") as room:
        for name, value in buckets.Bucket(name="bucket", endpoint=room.endpoint).env.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr("coldstart_sdk.storage.retry.FIRST_DELAY_S", 0.001)
        yield room


@pytest.fixture
def client(room: S3) -> Iterator[Client]:
    del room  # it set the environment
    patience = Patience(requests=0, stopped=threading.Event())
    client = Client(access("s3://bucket"), "bucket", patience=patience)
    yield client
    client.close()


def sent(room: S3) -> list[str]:
    """The writes that the store saw."""
    return [request.method for request in room.requests if request.method in {"PUT", "POST"}]


def test_what_fails_in_passing_is_asked_again(room: S3, client: Client) -> None:
    room.fail(Refuse(path="PUT *", status=503, times=2))

    client.put("key", b"bytes", media_type="text/plain")

    assert sent(room) == ["PUT"] * 3
    assert client.get("key", limit_bytes=10) == b"bytes"


def test_what_fails_for_ever_is_given_up_within_a_budget(room: S3, client: Client) -> None:
    room.fail(Refuse(path="PUT *", status=500, times=None))

    with pytest.raises(TransientError, match="s3://bucket: the store answered 500"):
        client.put("key", b"bytes", media_type="text/plain")

    assert len(sent(room)) <= 6


def test_an_answer_that_is_lost_costs_one_more_request_and_nothing_else(room: S3, client: Client) -> None:
    room.fail(Cut(path="PUT *"))

    client.put("key", b"bytes", media_type="text/plain")

    assert len(sent(room)) == 2
    assert client.get("key", limit_bytes=10) == b"bytes"


@pytest.mark.parametrize("dialect", ["aws", "minio"])
def test_a_conditional_write_that_lost_says_so(dialect: str, room: S3, client: Client) -> None:
    room.dialect = dialect
    client.put("key", b"first", media_type="text/plain")

    with pytest.raises(ConflictError):
        client.put("key", b"second", media_type="text/plain", if_absent=True)

    assert client.get("key", limit_bytes=10) == b"first"


def test_a_lost_answer_to_the_last_request_of_an_upload_is_no_failure(room: S3, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(LARGE)
    # The first POST begins the upload, the second one ends it.
    room.fail(Cut(path="POST *", skip=1))

    _send(room, tmp_path)

    assert room.file("bucket", "models/key").read_bytes() == LARGE
    assert room.uploads == {}


@pytest.mark.parametrize("killed_at", [1, 2, 3, 4])
def test_a_sender_that_ended_early_costs_at_most_one_part(killed_at: int, room: S3, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(LARGE)
    room.fail(Refuse(path="*", status=400, skip=killed_at, times=None))
    with pytest.raises(StorageError):
        _send(room, tmp_path)
    room.mend()
    arrived = {number for upload in room.uploads.values() for number in upload.parts}
    room.forget()

    _send(room, tmp_path)

    parts = [request for request in room.requests if request.method == "PUT"]
    assert room.file("bucket", "models/key").read_bytes() == LARGE
    assert len(parts) == 3 - len(arrived)
    assert room.uploads == {}


def test_another_machine_goes_on_with_an_upload_that_it_finds(room: S3, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(LARGE)
    room.fail(Refuse(path="PUT *", status=400, skip=2, times=None))
    with pytest.raises(StorageError):
        _send(room, tmp_path)
    room.mend()
    room.forget()
    (tmp_path / "notes").unlink()

    _send(room, tmp_path)

    assert len([request for request in room.requests if request.method == "PUT"]) == 1
    assert room.file("bucket", "models/key").read_bytes() == LARGE


def test_parts_are_equal_but_for_the_last_one(room: S3, tmp_path: Path) -> None:
    room.dialect = "r2"
    (tmp_path / "file").write_bytes(LARGE)

    _send(room, tmp_path)

    assert room.file("bucket", "models/key").read_bytes() == LARGE


def test_a_list_goes_on_page_by_page(tmp_path: Path, room: S3, client: Client) -> None:
    del tmp_path
    room.page = 3
    names = [f"key {number} +%2F#é" for number in range(8)]
    for name in names:
        room.write("bucket", name, b"x")

    assert [item.key for item in client.list("key")] == sorted(names)


def test_a_list_that_names_the_same_page_twice_is_an_error_and_no_loop(room: S3, client: Client) -> None:
    room.page = 1
    for name in "abc":
        room.write("bucket", name, b"x")
    room.fail(Cut(path="LIST *", times=None, skip=1))

    with pytest.raises(StorageError, match="cut its listing short"):
        list(client.list(""))


@pytest.mark.parametrize(
    ("allow", "verb", "missing"),
    [
        (WRITER - {"s3:GetObject"}, "get", "s3:GetObject"),
        (WRITER - {"s3:ListBucket"}, "list", "s3:ListBucket"),
        (READER, "put", "s3:PutObject"),
        (WRITER, "delete", "s3:DeleteObject"),
        (WRITER - {"s3:ListBucket"}, "absent", "s3:ListBucket"),
    ],
)
def test_what_is_not_allowed_names_the_permission(
    allow: frozenset[str], verb: str, missing: str, room: S3, client: Client
) -> None:
    room.write("bucket", "key", b"x")
    room.allow = allow

    def do() -> None:
        match verb:
            case "get":
                client.get("key", limit_bytes=10)
            case "absent":
                client.get("nothing", limit_bytes=10)
            case "list":
                list(client.list(""))
            case "put":
                client.put("key", b"", media_type="text/plain")
            case _:
                client.delete("key")

    with pytest.raises(StorageError, match="403 AccessDenied") as refused:
        do()

    assert missing in refused.value.fix
    assert "canary" not in f"{refused.value.message}{refused.value.fix}{refused.value.where}".lower()


def test_a_writer_that_may_not_look_for_other_uploads_still_sends(room: S3, tmp_path: Path) -> None:
    room.allow = WRITER
    (tmp_path / "file").write_bytes(LARGE)

    _send(room, tmp_path)

    assert room.file("bucket", "models/key").read_bytes() == LARGE


def test_a_key_that_the_store_does_not_know_is_said_to_be_so(room: S3, client: Client) -> None:
    room.key_id = "AKIASOMEBODYELSE0000"

    with pytest.raises(StorageError, match="InvalidAccessKeyId") as refused:
        client.get("key", limit_bytes=10)

    assert "the environment" in refused.value.fix


def _send(room: S3, tmp_path: Path) -> None:
    del room
    patience = Patience(requests=0, stopped=threading.Event())
    client = Client(access("s3://bucket"), "bucket", patience=patience)
    try:
        S3Store(client, "models").send(
            "key",
            tmp_path / "file",
            media_type="application/octet-stream",
            notes=tmp_path / "notes",
            moved=lambda _: None,
        )
    finally:
        client.close()
