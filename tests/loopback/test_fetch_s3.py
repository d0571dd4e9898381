"""Fetching a plain tree from S3-compatible storage, against moto's server, filled by the real boto3."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

import pytest

pytest.importorskip("moto.server")
pytest.importorskip("boto3")

import boto3
from moto.server import ThreadedMotoServer

from coldstart_sdk.errors import StorageError
from coldstart_sdk.events import Noted
from coldstart_sdk.spec import Origin, WeightSpec
from tests.syncing import FEW_CHUNKS, Syncing, content

LARGE = content(FEW_CHUNKS, seed=4)
KEYS = {
    "models/hub/a b#1+%2F.txt": b"odd",
    "models/hub/model.bin": LARGE,
    "models/": b"",
    "models-old/not-ours.bin": b"no",
}


S3Client: TypeAlias = Any
"""boto3 makes its classes at run time."""

pytestmark = pytest.mark.usefixtures("client")


def s3(source: str, **more: object) -> WeightSpec:
    return WeightSpec(origin=Origin.S3, source=source, **more)  # type: ignore[arg-type] # fields by name


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def client(address: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> S3Client:
    settings = {
        "AWS_ENDPOINT_URL": address,
        "AWS_ACCESS_KEY_ID": "AKCANARY",
        "AWS_SECRET_ACCESS_KEY": "canary-secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": str(tmp_path / "none"),
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "none"),
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    client = boto3.session.Session().client("s3")
    client.create_bucket(Bucket="bucket")
    for key, data in KEYS.items():
        client.put_object(Bucket="bucket", Key=key, Body=data)
    return client


@pytest.fixture
def here(tmp_path: Path) -> Syncing:
    return Syncing(home=tmp_path / "home", project=tmp_path)


@pytest.mark.parametrize("source", ["s3://bucket/models", "s3://bucket/models/"])
def test_a_tree_arrives_whole_and_nothing_beside_it(source: str, here: Syncing) -> None:
    weight = here.run(s3(source))

    files = {
        path.relative_to(weight.path).as_posix(): path.read_bytes()
        for path in weight.path.rglob("*")
        if path.is_file()
    }
    assert files == {"hub/a b#1+%2F.txt": b"odd", "hub/model.bin": LARGE}


def test_one_object_can_be_named(here: Syncing) -> None:
    weight = here.run(s3("s3://bucket/models/hub/model.bin"))

    assert (weight.path / "model.bin").read_bytes() == LARGE


def test_a_tree_that_has_not_changed_is_not_read_again(here: Syncing) -> None:
    here.run(s3("s3://bucket/models"))

    assert here.run(s3("s3://bucket/models")).tier == "disk"


def test_a_tree_that_changed_shows_what_is_new(client: S3Client, here: Syncing) -> None:
    here.run(s3("s3://bucket/models"))
    client.put_object(Bucket="bucket", Key="models/new.bin", Body=b"new")

    weight = here.run(s3("s3://bucket/models"))

    assert weight.tier == "origin"
    assert (weight.path / "new.bin").read_bytes() == b"new"


def test_a_store_that_is_gone_leaves_the_last_good_copy(
    here: Syncing, monkeypatch: pytest.MonkeyPatch
) -> None:
    here.run(s3("s3://bucket/models"))
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")

    assert here.run(s3("s3://bucket/models")).tier == "disk"
    assert "what was fetched before is used" in here.of(Noted)[0].message


@pytest.mark.parametrize(
    ("source", "message", "fix"),
    [
        ("s3://bucket/nothing", "no file at the origin", "Check the address"),
        ("s3://absent/x", "NoSuchBucket", "AWS_ENDPOINT_URL"),
        ("s3://UPPER case/x", "not a bucket's name", "small letters"),
        ("bucket/x", "not an S3 address", "s3://bucket/prefix"),
    ],
)
def test_what_a_store_refuses_says_how_to_mend_it(source: str, message: str, fix: str, here: Syncing) -> None:
    with pytest.raises(StorageError, match=message) as refused:
        here.run(s3(source))

    assert fix in refused.value.fix
    assert "canary" not in f"{refused.value} {refused.value.fix}".lower()


@pytest.mark.parametrize("missing", ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "both"])
def test_missing_credentials_are_named(missing: str, here: Syncing, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        if missing in {name, "both"}:
            monkeypatch.delenv(name)

    with pytest.raises(StorageError, match="credentials") as refused:
        here.run(s3("s3://bucket/models"))

    assert "AWS_ACCESS_KEY_ID" in refused.value.fix
