"""`coldstart doctor s3`: what a store can do is tried out; the policy it prints is enough and no more."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from coldstart_sdk.cli import probe
from coldstart_sdk.cli.findings import Level
from coldstart_sdk.rehearsal.s3 import DIALECTS, OWNER, READER, S3, WRITER
from tests import buckets

ADDRESS = "s3://bucket/models"


@pytest.fixture
def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3]:
    with S3(tmp_path / "s3", allow=WRITER) as room:
        for name, value in buckets.Bucket(name="bucket", endpoint=room.endpoint).env.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr("coldstart_sdk.storage.retry.FIRST_DELAY_S", 0.001)
        yield room


def levels(address: str = ADDRESS) -> dict[str, Level]:
    return {finding.about: finding.level for finding in probe.s3(address)}


@pytest.mark.parametrize("dialect", DIALECTS)
def test_every_store_passes_with_the_rights_of_a_writer(
    dialect: str, room: S3, monkeypatch: pytest.MonkeyPatch
) -> None:
    room.dialect = dialect
    monkeypatch.setenv("COLDSTART_S3_PROFILE", dialect)

    assert set(levels().values()) == {Level.OK}
    assert room.uploads == {}


@pytest.mark.parametrize("action", sorted(WRITER))
def test_each_right_of_a_writer_is_needed(action: str, room: S3) -> None:
    room.allow = WRITER - {action}

    assert Level.PROBLEM in levels().values()


@pytest.mark.parametrize(("role", "allowed"), [("reader", READER), ("writer", WRITER)])
def test_the_policy_allows_exactly_what_is_needed(role: str, allowed: frozenset[str]) -> None:
    statements = probe.policy(ADDRESS, role)["Statement"]

    assert {action for statement in statements for action in statement["Action"]} == allowed
    assert "Delete" not in json.dumps(statements)


def test_the_right_to_delete_is_a_warning_and_leaves_nothing_behind(room: S3) -> None:
    room.allow = OWNER

    assert levels()["delete"] is Level.WARN
    assert room.keys("bucket") == []


@pytest.mark.parametrize(
    ("env", "said"),
    [
        ({"AWS_SECRET_ACCESS_KEY": ""}, "half a pair"),
        ({"AWS_SECRET_ACCESS_KEY": "canary-secret-canary\n"}, "AWS_SECRET_ACCESS_KEY has a space"),
        ({"AWS_ACCESS_KEY_ID": "'AKIACANARY'"}, "AWS_ACCESS_KEY_ID has a space"),
        ({"AWS_ENDPOINT_URL": "127.0.0.1:9000"}, "no address of a store"),
        ({"AWS_ENDPOINT_URL": "https://host/bucket"}, "no address of a store"),
        ({"COLDSTART_S3_PROFILE": "azure"}, "no store profile"),
    ],
)
def test_a_mistake_in_a_setting_is_named_and_no_secret_shown(
    env: dict[str, str], said: str, room: S3, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in env.items():
        monkeypatch.setenv(name, value)

    findings = list(probe.s3(ADDRESS))

    assert [finding.level for finding in findings] == [Level.PROBLEM]
    assert said in findings[0].said
    assert "canary" not in f"{findings[0].said} {findings[0].fix}".lower()
    assert room.requests == ()


def test_the_command_asks_the_store_that_is_set(room: S3) -> None:
    del room
    done = subprocess.run(
        [sys.executable, "-m", "coldstart_sdk.cli", "doctor", "s3", "--json"],
        env={**os.environ, "COLDSTART_STORE": ADDRESS, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["ok"] is True
    assert "canary" not in (done.stdout + done.stderr).lower()
