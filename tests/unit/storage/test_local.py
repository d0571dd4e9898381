"""A local origin: hashed, never copied, seen as it is now."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from coldstart_sdk.errors import StorageError
from coldstart_sdk.events import SpanRecorded
from coldstart_sdk.spec import Origin, WeightSpec
from coldstart_sdk.storage.cancel import Cancelled
from tests.syncing import Syncing


@pytest.fixture
def here(tmp_path: Path) -> Syncing:
    return Syncing(home=tmp_path / "home", project=tmp_path / "project")


@pytest.fixture
def model(here: Syncing) -> Path:
    folder = here.project / "model"
    (folder / "sub").mkdir(parents=True)
    (folder / "a.bin").write_bytes(b"a" * 1000)
    (folder / "sub" / "b.md").write_bytes(b"b")
    return folder


pytestmark = pytest.mark.usefixtures("model")


def local(source: str = "model", **more: object) -> WeightSpec:
    return WeightSpec(origin=Origin.LOCAL, source=source, **more)  # type: ignore[arg-type] # fields by name


def test_a_relative_path_starts_at_the_project(
    here: Syncing,
) -> None:
    weight = here.run(local())

    assert (weight.path / "sub" / "b.md").read_bytes() == b"b"
    assert weight.bytes == 1001


def test_nothing_is_copied(here: Syncing, model: Path) -> None:
    weight = here.run(local())

    assert here.blobs() == set()
    assert (weight.path / "a.bin").samefile(model / "a.bin")


def test_include_and_exclude_choose(
    here: Syncing,
) -> None:
    weight = here.run(local(exclude=("*.md",)))

    assert [path.name for path in weight.path.rglob("*")] == ["a.bin"]


def test_one_file_is_itself_the_weight(here: Syncing) -> None:
    assert here.run(local("model/a.bin")).path.read_bytes() == b"a" * 1000


def test_unchanged_files_are_not_hashed_again(
    here: Syncing,
) -> None:
    here.run(local())

    weight = here.run(local())

    assert weight.tier == "disk"
    assert {span.tier for span in here.of(SpanRecorded)} == {"disk"}


def test_a_changed_file_is_hashed_and_seen(here: Syncing, model: Path) -> None:
    here.run(local())
    (model / "a.bin").write_bytes(b"c" * 1000)

    weight = here.run(local())

    assert weight.tier == "origin"
    assert {span.name: span.tier for span in here.of(SpanRecorded)} == {"a.bin": "origin", "sub/b.md": "disk"}
    assert (weight.path / "a.bin").read_bytes() == b"c" * 1000


def test_a_file_that_is_gone_is_not_in_the_view(here: Syncing, model: Path) -> None:
    here.run(local())
    (model / "sub" / "b.md").unlink()

    assert [path.name for path in here.run(local()).path.rglob("*.*")] == ["a.bin"]


def test_what_is_not_there_or_is_empty_is_refused(
    here: Syncing,
) -> None:
    (here.project / "empty").mkdir()

    with pytest.raises(StorageError, match="no such file or directory"):
        here.run(local("absent"))
    with pytest.raises(StorageError, match="no file at the origin"):
        here.run(local("empty"))
    with pytest.raises(StorageError, match=r"leave none of 2 files"):
        here.run(local(include=("*.gguf",)))


def test_what_is_no_regular_file_is_named_and_nothing_hangs(here: Syncing, model: Path) -> None:
    os.mkfifo(model / "pipe")

    with pytest.raises(StorageError, match="'pipe' is not a regular file"):
        here.run(local())


def test_a_dangling_link_is_named(here: Syncing, model: Path) -> None:
    (model / "gone").symlink_to("nowhere")

    with pytest.raises(StorageError, match="'gone' cannot be read"):
        here.run(local())


def test_a_loop_of_links_ends(here: Syncing, model: Path) -> None:
    (model / "again").symlink_to(model)

    assert here.run(local()).bytes == 1001


def test_a_pointer_to_weights_is_not_weights(here: Syncing, model: Path) -> None:
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 12\n"
    (model / "model.safetensors").write_bytes(pointer)

    with pytest.raises(StorageError, match="is a Git LFS pointer") as refused:
        here.run(local())

    assert "git lfs pull" in refused.value.fix


def test_cancelling_ends_it(
    here: Syncing,
) -> None:
    here.cancelled = threading.Event()
    here.cancelled.set()

    with pytest.raises(Cancelled):
        here.run(local())
