"""A container's own sight of a volume: what changes in it, and when others see that."""

from __future__ import annotations

import os
from pathlib import Path

from coldstart_sdk.rehearsal.modal.volumes import LINKED_BYTES, View, Volume


def a_volume(folder: Path) -> Volume:
    (folder / "committed").mkdir()
    return Volume(id="vo-1", name="shelf", folder=folder / "committed", version=1)


def test_folders_links_and_modes_are_the_same_for_whoever_comes_later(tmp_path: Path) -> None:
    volume = a_volume(tmp_path)
    one = View(volume, tmp_path / "one")
    (one.folder / "deep/empty").mkdir(parents=True)
    (one.folder / "deep/tool").write_text("1")
    (one.folder / "deep/tool").chmod(0o755)
    (one.folder / "beside").symlink_to("deep/tool")
    (one.folder / "from_the_root").symlink_to(one.folder / "deep/tool")
    one.commit()
    two = View(volume, tmp_path / "two")

    assert (two.folder / "deep/empty").is_dir()
    assert os.access(two.folder / "deep/tool", os.X_OK)
    assert (two.folder / "beside").readlink() == Path("deep/tool")
    assert (two.folder / "from_the_root").readlink() == two.folder / "deep/tool"


def test_a_folder_may_become_a_file_and_a_file_a_folder(tmp_path: Path) -> None:
    volume = a_volume(tmp_path)
    one = View(volume, tmp_path / "one")
    (one.folder / "a").mkdir()
    (one.folder / "a/b").write_text("1")
    (one.folder / "c").write_text("1")
    one.commit()
    two = View(volume, tmp_path / "two")
    (one.folder / "a/b").unlink()
    (one.folder / "a").rmdir()
    (one.folder / "a").write_text("2")
    (one.folder / "c").unlink()
    (one.folder / "c/d").mkdir(parents=True)
    one.commit()
    two.follow()

    assert (two.folder / "a").read_text() == "2"
    assert (two.folder / "c/d").is_dir()


def test_a_file_that_is_written_to_in_place_stays_as_it_was_for_others(tmp_path: Path) -> None:
    volume = a_volume(tmp_path)
    one = View(volume, tmp_path / "one")
    (one.folder / "log").write_text("1")
    one.commit()
    with (one.folder / "log").open("a") as file:
        file.write("2")

    assert (volume.folder / "log").read_text() == "1"
    assert one.uncommitted() == ("log",)


def test_weights_are_linked_and_those_that_are_replaced_stay_as_they_were_for_others(tmp_path: Path) -> None:
    volume = a_volume(tmp_path)
    one = View(volume, tmp_path / "one")
    for name in ("weights", "new"):
        with (one.folder / name).open("wb") as file:
            file.truncate(LINKED_BYTES)
    (one.folder / "new").replace(one.folder / "part")
    one.commit()
    (one.folder / "part").replace(one.folder / "weights")

    assert (volume.folder / "part").samefile(one.folder / "weights")
    assert not (volume.folder / "weights").samefile(one.folder / "weights")
    one.commit()
    assert (volume.folder / "weights").samefile(one.folder / "weights")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["committed", "one"]


def test_what_was_not_committed_is_forgotten_and_named(tmp_path: Path) -> None:
    volume = a_volume(tmp_path)
    one = View(volume, tmp_path / "one")
    (one.folder / "kept").write_text("1")
    one.commit()
    (one.folder / "kept").write_text("22")
    (one.folder / "new").mkdir()
    (one.folder / "new/file").write_text("1")

    assert one.forget() == ("kept", "new", "new/file")
    assert (one.folder / "kept").read_text() == "1"
    assert not (one.folder / "new").exists()
    assert one.uncommitted() == ()
