"""Where a worker on RunPod keeps its files: decided once, by what can be written and what is locked."""

from __future__ import annotations

from pathlib import Path

import pytest

from coldstart_sdk.backends.runpod import backend, worker
from coldstart_sdk.manifest import LOCK_VERSION, MANIFEST_VERSION, FileEntry, Lock, Locked, Manifest
from coldstart_sdk.plan import Plan
from coldstart_sdk.planner import plan
from coldstart_sdk.spec import Origin, VolumeSpec
from coldstart_sdk.storage import locks
from coldstart_sdk.storage.home import Home
from tests.builders import LOAD, a_spec, a_weight

DIGEST = "sha256:" + "ab" * 32


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("COLDSTART_HOME", raising=False)
    (tmp_path / "volume").mkdir()
    for name, folder in (("VOLUME", "volume"), ("_HOME", "disk"), ("_LAST_HOME", "last")):
        monkeypatch.setattr(worker, name, tmp_path / folder)
    return tmp_path


def planned() -> Plan:
    spec = a_spec(
        LOAD, weights={"w": a_weight()}, volume=VolumeSpec(name="v", size_bytes=10**10, region="EU-RO-1")
    )
    return plan(spec, "runpod", backend.capabilities, sdk="0")


def locked(bundle: Path, size_bytes: int) -> None:
    manifest = Manifest(
        version=MANIFEST_VERSION,
        origin=Origin.HF,
        source="org/voice",
        revision="c0ffee" * 6 + "c0ff",
        files=(FileEntry(path="model.bin", size_bytes=size_bytes, digest=DIGEST),),
    )
    lock = Lock(
        version=LOCK_VERSION,
        weights={"w": Locked(declared=locks.declared(a_weight()), manifest=manifest)},
    )
    (bundle / "code").mkdir(parents=True, exist_ok=True)
    (bundle / "code" / "coldstart.lock").write_text(locks.text_of(lock))


def test_a_volume_comes_first(places: Path) -> None:
    assert worker.home_of(planned(), places) == (places / "volume" / ".coldstart", ())


def test_where_we_are_told_wins(places: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLDSTART_HOME", str(places / "told"))

    assert worker.home_of(planned(), places) == (places / "told", ())


def test_a_volume_that_takes_no_file_is_passed_over_and_said_so(places: Path) -> None:
    (places / "volume" / ".coldstart").write_text("in the way")

    found, passed = worker.home_of(planned(), places)

    assert found == places / "disk"
    assert passed[0].startswith(str(places / "volume" / ".coldstart"))


def test_a_place_too_small_for_what_is_locked_is_passed_over_unless_it_has_it(places: Path) -> None:
    locked(places, 10**18)
    assert worker.home_of(planned(), places)[0] == places / "volume" / ".coldstart"

    home = Home.open(places / "disk")
    home.blob(DIGEST).write_bytes(b"there")

    assert worker.home_of(planned(), places)[0] == places / "disk"
