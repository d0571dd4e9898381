"""Weights in the image: fetched while it is built, pinned, and found by a worker that asks nobody."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest

from coldstart_sdk import record
from coldstart_sdk.backends.runpod import bake, pins
from coldstart_sdk.errors import StorageError
from coldstart_sdk.events import ignore
from coldstart_sdk.manifest import LOCK_NAME, LOCK_VERSION, Lock
from coldstart_sdk.rehearsal.hub import Hub
from coldstart_sdk.rehearsal.origin import Origin
from coldstart_sdk.spec import Origin as Kind
from coldstart_sdk.spec import WeightSpec
from coldstart_sdk.storage import locks, pinning
from tests.builders import a_weight
from tests.syncing import Syncing


def declared(folder: Path, **weights: WeightSpec) -> Path:
    path = folder / "weights.json"
    path.write_text(json.dumps(record.to_data(weights)))
    return path


def locked(project: Path, home: Path, **weights: WeightSpec) -> Lock:
    """Lock these weights beside the project's declaration."""
    lock = Lock(
        version=LOCK_VERSION,
        weights={
            name: pinning.pinned(
                name,
                weight,
                home=home,
                project=project,
                step="lock",
                emit=ignore,
                cancelled=threading.Event(),
            )
            for name, weight in weights.items()
        },
    )
    (project / LOCK_NAME).write_text(locks.text_of(lock))
    return lock


def a_repository(folder: Path) -> None:
    (folder / "org" / "voice").mkdir(parents=True)
    (folder / "org" / "voice" / "model.bin").write_bytes(b"m" * 100_000)


def test_what_is_baked_is_pinned_to_a_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    a_repository(tmp_path / "hub")
    with Hub(tmp_path / "hub") as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)

        bake.bake(declared(tmp_path, v=a_weight()), tmp_path / "models", secrets=tmp_path / "none")

        assert pins.read(tmp_path / "models")["v"].revision == hub.commit("org/voice")


def test_a_url_is_pinned_to_its_digest(tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "v.bin").write_bytes(b"voice")
    with Origin(tmp_path / "files") as origin:
        weight = a_weight(origin.url("v.bin"), origin=Kind.URL)

        bake.bake(declared(tmp_path, v=weight), tmp_path / "models", secrets=tmp_path / "none")

    assert len(pins.read(tmp_path / "models")["v"].sha256 or "") == 64


def test_no_file_is_in_the_layer_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    a_repository(tmp_path / "hub")
    with Hub(tmp_path / "hub") as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)

        bake.bake(declared(tmp_path, v=a_weight()), tmp_path / "models", secrets=tmp_path / "none")

    names = list((tmp_path / "models").rglob("model.bin"))
    assert names
    assert all(file.is_symlink() for file in names)
    assert all(file.read_bytes() == b"m" * 100_000 for file in names)


def test_a_token_comes_from_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_TOKEN", raising=False)
    a_repository(tmp_path / "hub")
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "HF_TOKEN").write_text("hf_token_of_a_test\n")
    with Hub(tmp_path / "hub", token="hf_token_of_a_test", gated=["org/voice"]) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
        monkeypatch.setenv("HF_TOKEN", "")

        bake.bake(declared(tmp_path, v=a_weight()), tmp_path / "models", secrets=tmp_path / "secrets")

    assert not [
        file
        for file in (tmp_path / "models").rglob("*")
        if file.is_file() and b"hf_token_of_a_test" in file.read_bytes()
    ]


def test_where_nothing_was_baked_nothing_is_pinned(tmp_path: Path) -> None:
    assert pins.read(tmp_path) == {}


def test_what_is_locked_is_baked_as_it_was_locked_and_its_worker_asks_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    a_repository(tmp_path / "hub")
    project = tmp_path / "build"
    project.mkdir()
    with Hub(tmp_path / "hub") as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
        lock = locked(project, tmp_path / "mine", v=a_weight())
        hub.forget()

        bake.bake(declared(project, v=a_weight()), tmp_path / "models", secrets=tmp_path / "none")
        asked = [request.path for request in hub.requests]
        pinned = pins.read(tmp_path / "models")["v"]
        worker = Syncing(home=tmp_path / "models", project=project)
        hub.forget()
        weight = worker.run(pinned, "v", locked=locks.manifest_of(lock, "v", pinned))

        assert not [path for path in asked if path.startswith("api/")]
        assert (weight.tier, hub.requests) == ("disk", ())


def test_a_lock_of_another_declaration_stops_the_build(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    a_repository(tmp_path / "hub")
    with Hub(tmp_path / "hub") as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
        locked(tmp_path, tmp_path / "mine", v=a_weight())

        with pytest.raises(StorageError, match="another declaration"):
            bake.bake(
                declared(tmp_path, v=a_weight(include=("*.bin",))),
                tmp_path / "models",
                secrets=tmp_path / "none",
            )
