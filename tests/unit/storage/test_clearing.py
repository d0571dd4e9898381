"""Looking after COLDSTART_HOME: nothing that a ref reaches is ever removed, and nothing young."""

from __future__ import annotations

import os
import random
import time
from pathlib import Path

import pytest

from coldstart_sdk.errors import StorageError
from coldstart_sdk.manifest import MANIFEST_VERSION, FileEntry, Manifest
from coldstart_sdk.rehearsal.origin import Origin as FileServer
from coldstart_sdk.spec import Origin, WeightSpec
from coldstart_sdk.storage import blobs, clearing, manifests, views
from coldstart_sdk.storage.home import Home
from tests.syncing import Syncing, a_url, sha256

LATER_S = time.time() + 48 * 3600.0
GRACE_S = 24 * 3600.0


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home.open(tmp_path / "home")


def kept(home: Home, ref: str, *contents: bytes) -> Manifest:
    """A set with its blobs, its view and its ref, as a fetch leaves it."""
    entries = []
    for index, data in enumerate(contents):
        entry = FileEntry(path=f"{index}.bin", size_bytes=len(data), digest=f"sha256:{sha256(data)}")
        scratch = home.partial / "scratch"
        scratch.write_bytes(data)
        blobs.publish(home, scratch, entry.digest)
        entries.append(entry)
    manifest = Manifest(
        version=MANIFEST_VERSION, origin=Origin.HF, source="org/v", revision="main", files=tuple(entries)
    )
    digest = manifests.keep(home, manifest)
    views.build(home.views / digest[7:23], {entry.path: home.blob(entry.digest) for entry in entries})
    manifests.point(home, ref, digest)
    return manifest


def names(home: Home) -> set[str]:
    return {path.name for path in (home.root / "blobs" / "sha256").iterdir()}


def test_what_a_ref_reaches_stays_and_the_rest_goes_with_its_view_once_it_is_old(home: Home) -> None:
    kept(home, "voice", b"old", b"both")
    new = kept(home, "voice", b"new", b"both")

    found = clearing.survey(home, now_s=LATER_S)
    removed = clearing.clear(home, found, now_s=LATER_S)

    assert len(found.unreached) == 3  # the blob of `old`, its manifest and its view
    assert (found.bytes > 3, found.kept, removed.unreached) == (True, 2, found.unreached)
    assert names(home) == {sha256(b"new"), sha256(b"both")}
    assert [view.name for view in home.views.iterdir()] == [manifests.digest_of(new)[7:23]]
    assert clearing.survey(home, now_s=LATER_S).unreached == ()


def test_nothing_young_is_named(home: Home) -> None:
    kept(home, "voice", b"old")
    kept(home, "voice", b"new")
    (home.partial / "key.abc.part").write_bytes(b"half")

    assert clearing.survey(home, grace_s=GRACE_S).unreached == ()
    assert clearing.survey(home, grace_s=-1).unreached != ()


def test_what_a_start_linked_again_is_young_again(home: Home) -> None:
    old = kept(home, "voice", b"old")
    kept(home, "voice", b"new")
    linked_s = time.time()
    time.sleep(0.01)
    views.build(home.views / "again", {entry.path: home.blob(entry.digest) for entry in old.files})

    found = clearing.survey(home, grace_s=0, now_s=linked_s)

    assert not [key for key in found.unreached if key.startswith("blobs/")]


def test_a_ref_that_cannot_be_read_stops_every_clean_up(home: Home) -> None:
    kept(home, "voice", b"bytes")
    home.ref("broken").write_text("nonsense\n")

    with pytest.raises(StorageError, match="'broken' cannot be read"):
        clearing.survey(home, now_s=LATER_S)


def test_what_was_named_since_it_was_found_stays(home: Home) -> None:
    old = kept(home, "voice", b"old")
    kept(home, "voice", b"new")
    found = clearing.survey(home, now_s=LATER_S)
    manifests.point(home, "another", manifests.digest_of(old))

    removed = clearing.clear(home, found, now_s=LATER_S)

    assert removed.unreached == ()
    assert sha256(b"old") in names(home)


def test_what_was_left_half_done_goes_once_it_is_old(home: Home) -> None:
    kept(home, "voice", b"bytes")
    for left in (home.partial / "key.abc.part", home.partial / "key.abc.journal", home.ref(".voice.12ab")):
        left.write_bytes(b"half")
    (home.views / ".voice.12ab").mkdir()

    removed = clearing.clear(home, clearing.survey(home, now_s=LATER_S), now_s=LATER_S)

    assert len(removed.unreached) == 4
    assert not list(home.partial.iterdir())
    assert len(list(home.views.iterdir())) == 1


def test_what_an_observed_start_left_goes_without_the_rooms_that_it_shared(home: Home) -> None:
    kept(home, "voice", b"bytes")
    left = home.root / ".observing-abc"
    (left / "hub").mkdir(parents=True)
    (left / "blobs").symlink_to(home.root / "blobs")

    clearing.clear(home, clearing.survey(home, now_s=LATER_S), now_s=LATER_S)

    assert not left.exists()
    assert names(home) == {sha256(b"bytes")}


def test_files_beside_a_declaration_are_never_touched(tmp_path: Path, home: Home) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "a.bin").write_bytes(b"mine")
    here = Syncing(home=home.root, project=tmp_path)
    here.run(WeightSpec(origin=Origin.LOCAL, source="model"))

    (held,) = clearing.sets(home)
    clearing.clear(home, clearing.survey(home, now_s=LATER_S), now_s=LATER_S)

    assert held.lacking == ()
    assert list(clearing.verify(home, held)) == []
    assert (tmp_path / "model" / "a.bin").read_bytes() == b"mine"
    assert len(list(home.views.iterdir())) == 1


def test_whatever_happens_in_whatever_order_no_live_blob_is_lost(home: Home) -> None:
    chance = random.Random(7)  # noqa: S311 - the same history every time
    pool = [f"content {number}".encode() for number in range(6)]
    found = clearing.survey(home)
    for _ in range(400):
        turn = chance.randrange(3)
        if turn == 0:
            kept(home, f"ref{chance.randrange(3)}", *chance.sample(pool, 2))
        elif turn == 1:
            found = clearing.survey(home, grace_s=chance.choice([0, GRACE_S]), now_s=LATER_S)
        else:
            clearing.clear(home, found, now_s=LATER_S)
        assert all(held.lacking == () for held in clearing.sets(home))


@pytest.mark.parametrize(
    ("change", "problem"), [(b"wrong", "damaged"), (b"longer than", "damaged"), (None, "missing")]
)
def test_verify_names_what_is_damaged_and_takes_it_away(
    home: Home, change: bytes | None, problem: str
) -> None:
    kept(home, "voice", b"bytes", b"fine")
    blob = home.blob(f"sha256:{sha256(b'bytes')}")
    blob.chmod(0o644)
    if change is None:
        blob.unlink()
    else:
        blob.write_bytes(change)
    (held,) = clearing.sets(home)

    moved: list[int] = []
    (damage,) = clearing.verify(home, held, moved.append)

    assert (damage.ref, damage.path, damage.problem) == ("voice", "0.bin", problem)
    assert sum(moved) == 9
    assert not blob.exists()
    assert [each.lacking for each in clearing.sets(home)] == [("0.bin",)]


def test_a_bit_that_rotted_is_gone_from_what_the_next_start_shows(tmp_path: Path, home: Home) -> None:
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "a.bin").write_bytes(b"bytes")
    here = Syncing(home=home.root, project=tmp_path)
    with FileServer(tmp_path / "files") as origin:
        weight = a_url(origin.url("a.bin"), sha256=sha256(b"bytes"))
        shown = here.run(weight).path
        blob = home.blob(f"sha256:{sha256(b'bytes')}")
        blob.chmod(0o644)
        blob.write_bytes(b"bites")
        os.utime(blob, (blobs.UNTOUCHED_S, blobs.UNTOUCHED_S))
        assert here.run(weight).path.read_bytes() == b"bites"  # nobody reads all of it at every start

        damage = [found for held in clearing.sets(home) for found in clearing.verify(home, held)]

        assert [found.problem for found in damage] == ["damaged"]
        assert not shown.exists()
        assert here.run(weight).path.read_bytes() == b"bytes"


def test_an_empty_home_has_nothing(tmp_path: Path) -> None:
    home = Home(tmp_path / "none")

    assert list(clearing.sets(home)) == []
    assert clearing.survey(home).unreached == ()


def test_a_home_of_another_url_keeps_both(tmp_path: Path, home: Home) -> None:
    (tmp_path / "files").mkdir()
    for name in ("a.bin", "b.bin"):
        (tmp_path / "files" / name).write_bytes(name.encode())
    here = Syncing(home=home.root, project=tmp_path)
    with FileServer(tmp_path / "files") as origin:
        for name in ("a.bin", "b.bin"):
            here.run(a_url(origin.url(name)))

    assert clearing.survey(home, now_s=LATER_S).unreached == ()
    assert clearing.survey(home, now_s=LATER_S).kept == 2
