"""A result that RunPod does not carry goes to the user's own storage, and its URL to the caller."""

from __future__ import annotations

import base64
import json
import urllib.request
from collections.abc import Iterator

import pytest

pytest.importorskip("moto.server")

import boto3

from coldstart_sdk.backends.runpod import replies
from coldstart_sdk.media import Audio
from coldstart_sdk.wire.errors import CallError
from coldstart_sdk.wire.results import Answer, answer
from tests import buckets

LARGE = replies.RESULT_BYTES + 1


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with buckets.moto() as endpoint:
        for name, value in {
            "AWS_ENDPOINT_URL": endpoint,
            "AWS_ACCESS_KEY_ID": "AKTEST",
            "AWS_SECRET_ACCESS_KEY": "test-secret",
            "AWS_DEFAULT_REGION": "us-east-1",
        }.items():
            monkeypatch.setenv(name, value)
        boto3.session.Session().client("s3").create_bucket(Bucket="results")
        yield "s3://results/some/where"


def fetched(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=30) as answered:  # noqa: S310 - a loopback server's
        return bytes(answered.read())


def test_a_large_sound_comes_back_as_its_very_bytes(bucket: str) -> None:
    sound = Audio.silence("600s")

    told = replies.result(answer(sound), replies.keeper(bucket, None))

    assert told["type"] == "audio/wav"
    written = answer(sound).value
    assert fetched(told["url"]) == base64.b64decode(written["base64"])


def test_anything_else_that_is_large_comes_back_as_json(bucket: str) -> None:
    told = replies.result(Answer(plain={"x": "y" * LARGE}), replies.keeper(bucket, None))

    assert json.loads(fetched(told["url"])) == {"x": "y" * LARGE}
    assert told["type"] == "application/json"


def test_a_large_chunk_goes_there_too(bucket: str) -> None:
    (told,) = replies.chunks(Answer(plain={"x": "y" * replies.CHUNK_BYTES}), replies.keeper(bucket, None))

    assert len(fetched(told["url"])) > replies.CHUNK_BYTES


def test_below_a_store_only_our_own_folder_is_written_to(bucket: str) -> None:
    told = replies.result(Answer(plain="y" * LARGE), replies.keeper(None, bucket))

    assert "/some/where/.coldstart/results/" in told["url"]


def test_a_small_result_goes_nowhere() -> None:
    assert replies.result(Answer(plain=[1]), replies.keeper("s3://no-such-bucket", None)) == [1]


def test_without_such_a_place_the_error_says_what_to_declare() -> None:
    with pytest.raises(CallError, match="results="):
        replies.result(Answer(plain="y" * LARGE), replies.keeper("/a/folder", None))
