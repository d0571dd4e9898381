"""The lock as text: the same for the same weights, refused where it cannot be trusted, and how two differ."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coldstart_sdk.errors import StorageError
from coldstart_sdk.manifest import (
    CHUNK_BYTES,
    LOCK_NAME,
    LOCK_VERSION,
    MANIFEST_VERSION,
    FileEntry,
    Lock,
    Locked,
    Manifest,
)
from coldstart_sdk.spec import Origin, Place
from coldstart_sdk.storage import locked as locked_listing
from coldstart_sdk.storage import locks, names, pinning
from tests.builders import a_weight

COMMIT = "c0ffee" * 6 + "c0ff"
SMALL = FileEntry(path="config.json", size_bytes=2, digest="sha256:" + "ab" * 32)
LARGE = FileEntry(
    path="model.safetensors",
    size_bytes=CHUNK_BYTES + 1,
    digest="sha256:" + "cd" * 32,
    chunks=("01" * 32, "23" * 32),
)
WEIGHT = a_weight("org/voice")


def a_manifest(*files: FileEntry, **fields: Any) -> Manifest:  # noqa: ANN401 - fields of a record, each of its own type
    manifest = Manifest(
        version=MANIFEST_VERSION,
        origin=Origin.HF,
        source="org/voice",
        revision=COMMIT,
        files=files or (SMALL, LARGE),
    )
    return replace(manifest, **fields)


def a_lock(**manifests: Manifest) -> Lock:
    return Lock(
        version=LOCK_VERSION,
        weights={
            name: Locked(declared=locks.declared(a_weight(manifest.source)), manifest=manifest)
            for name, manifest in manifests.items()
        },
    )


def read(text: str) -> Lock:
    return locks.read(text.encode(), where=LOCK_NAME)


LOCK = a_lock(voice=a_manifest())
TEXT = locks.text_of(LOCK)


def test_what_was_written_is_read_again() -> None:
    assert read(TEXT) == LOCK
    assert read(TEXT).weights["voice"].manifest.files[1].chunks == LARGE.chunks


def test_the_text_is_the_same_in_whatever_order_weights_were_named() -> None:
    one, other = a_manifest(), a_manifest(SMALL, source="org/other")

    assert locks.text_of(a_lock(a=one, b=other)) == locks.text_of(a_lock(b=other, a=one))


def test_a_change_of_one_file_changes_its_lines_and_the_sums_alone() -> None:
    changed = a_manifest(replace(SMALL, digest="sha256:" + "ef" * 32), LARGE)

    before, after = TEXT.splitlines(), locks.text_of(a_lock(voice=changed)).splitlines()

    differ = [old for old, new in zip(before, after, strict=True) if old != new]
    assert [line.partition(" ")[0] for line in differ] == ["digest", "sha256"]


def test_a_new_weight_adds_lines_and_changes_none() -> None:
    both = locks.text_of(a_lock(voice=a_manifest(), other=a_manifest(SMALL, source="org/other")))

    assert set(TEXT.splitlines()) <= set(both.splitlines())


@given(
    name=st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,20}", fullmatch=True),
    path=st.text(st.characters(codec="utf-8"), min_size=1).filter(lambda path: not names.misfit(path)),
)
def test_any_name_and_any_path_survive_the_text(name: str, path: str) -> None:
    lock = a_lock(**{name: a_manifest(replace(SMALL, path=path))})

    assert read(locks.text_of(lock)) == lock


BAD: dict[str, Callable[[str], str]] = {
    "empty": lambda _: "",
    "no TOML": lambda _: "version = \n",
    "half of it": lambda text: text[: len(text) // 2],
    "no version": lambda text: text.replace("version = 1\n", ""),
    "a version that is none": lambda text: text.replace("version = 1", "version = 0"),
    "a version that is true": lambda text: text.replace("version = 1", "version = true"),
    "no revision": lambda text: re.sub(r"revision = .*\n", "", text),
    "no files": lambda text: text.partition("[[")[0],
    "an origin that is none": lambda text: text.replace('origin = "hf"', 'origin = "ftp"'),
    "a size that is text": lambda text: text.replace("size = 2\n", 'size = "2"\n'),
    "a size below nought": lambda text: text.replace("size = 2\n", "size = -2\n"),
    "a short digest": lambda text: text.replace("ab" * 32, "ab" * 31),
    "a chunk too few": lambda text: text.replace(f'  "{"23" * 32}",\n', ""),
    "a chunk that is no digest": lambda text: text.replace("23" * 32, "zz" * 32),
    "a path that leads out": lambda text: text.replace("config.json", "../config.json"),
    "weights that are a list": lambda _: "version = 1\nweights = []\n",
    "a weight that is a number": lambda _: "version = 1\n[weights]\nvoice = 3\n",
    "a digest of a file changed by hand": lambda text: text.replace("ab" * 32, "ba" * 32),
    "a chunk changed by hand": lambda text: text.replace("23" * 32, "32" * 32),
    "a revision changed by hand": lambda text: text.replace("c0ffee", "coffee"),
}


@pytest.mark.parametrize("change", BAD)
def test_a_lock_that_cannot_be_trusted_is_refused_with_its_mend(change: str) -> None:
    text = BAD[change](TEXT)
    assert text != TEXT

    with pytest.raises(StorageError) as refused:
        read(text)

    assert refused.value.problems[0].where == LOCK_NAME
    assert "coldstart lock" in refused.value.problems[0].fix


def test_bytes_that_are_no_text_are_refused() -> None:
    with pytest.raises(StorageError, match="cannot be read"):
        locks.read(b"\xff\xfe\x00", where=LOCK_NAME)


def test_a_lock_of_a_newer_version_says_what_to_install() -> None:
    with pytest.raises(StorageError, match="reads up to 1") as refused:
        read(TEXT.replace("version = 1", "version = 2"))

    assert "newer coldstart-sdk" in refused.value.problems[0].fix


def test_a_project_without_a_lock_has_none(tmp_path: Path) -> None:
    assert locks.of_project(tmp_path) is None


def test_a_lock_beside_the_declaration_is_found(tmp_path: Path) -> None:
    (tmp_path / LOCK_NAME).write_text(TEXT)

    assert locks.of_project(tmp_path) == LOCK


@pytest.mark.parametrize(
    "fields",
    [
        {"revision": "v2"},
        {"include": ("*.json",)},
        {"exclude": ("*.bin",)},
        {"source": "org/other"},
        {"sha256": "ab" * 32},
        {"filename": "other.bin"},
    ],
    ids=lambda fields: next(iter(fields)),
)
def test_a_lock_of_another_declaration_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(StorageError, match="another declaration of 'voice'") as refused:
        locks.manifest_of(LOCK, "voice", replace(WEIGHT, **fields))

    assert refused.value.problems[0].fix == "Write it anew: coldstart lock FILE"


def test_where_a_weight_is_put_and_how_it_is_seen_is_no_other_declaration() -> None:
    moved = replace(WEIGHT, place=Place.IMAGE, links={"a": "config.json"})

    assert locks.manifest_of(LOCK, "voice", moved) == a_manifest()


def test_the_order_of_patterns_is_no_other_declaration() -> None:
    one, other = (a_weight(include=order) for order in (("a", "b"), ("b", "a")))

    assert locks.declared(one) == locks.declared(other)


@pytest.mark.parametrize("spelled", ["AB" * 32, "sha256:" + "ab" * 32])
def test_how_a_digest_is_spelled_is_no_other_declaration(spelled: str) -> None:
    assert locks.declared(replace(WEIGHT, sha256=spelled)) == locks.declared(
        replace(WEIGHT, sha256="ab" * 32)
    )


def test_of_a_weight_that_it_does_not_name_a_lock_says_nothing() -> None:
    assert locks.manifest_of(LOCK, "vocoder", WEIGHT) is None
    assert locks.manifest_of(None, "voice", WEIGHT) is None
    assert locks.manifest_of(LOCK, "voice", a_weight("folder", origin=Origin.LOCAL)) is None
    assert not pinning.can_be(a_weight("folder", origin=Origin.LOCAL))


def said(before: Lock | None, after: Lock) -> list[str]:
    return [f"{change.weight} {change.what}" for change in pinning.changes(before, after)]


def test_each_change_is_named_once() -> None:
    moved = a_manifest(
        replace(LARGE, digest="sha256:" + "ef" * 32), replace(SMALL, path="new.json"), revision="v2"
    )

    assert said(LOCK, a_lock(voice=moved)) == [
        "voice revision",
        "voice file removed: config.json",
        "voice file changed: model.safetensors",
        "voice file added: new.json",
    ]
    assert said(LOCK, a_lock(other=a_manifest())) == ["other added", "voice removed"]
    assert said(None, LOCK) == ["voice added"]
    assert said(LOCK, LOCK) == []


@pytest.mark.parametrize("variable", ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"])
def test_a_hub_token_is_found_in_the_environment(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    _no_token(monkeypatch)
    monkeypatch.setenv(variable, " hf_planted \n")

    assert locked_listing.hub_token() == "hf_planted"


@pytest.mark.parametrize("variable", ["HF_TOKEN_PATH", "HF_HOME", "XDG_CACHE_HOME"])
def test_a_hub_token_is_found_where_its_client_keeps_it(
    variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _no_token(monkeypatch)
    below = {"HF_TOKEN_PATH": "token", "HF_HOME": "home/token", "XDG_CACHE_HOME": "xdg/huggingface/token"}
    file = tmp_path / below[variable]
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("hf_planted\n")
    monkeypatch.setenv(variable, str(tmp_path / below[variable].partition("/")[0]))

    assert locked_listing.hub_token() == "hf_planted"


def test_without_a_token_no_header_is_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _no_token(monkeypatch)
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.delenv("HF_ENDPOINT", raising=False)

    (file, _) = locked_listing.listing(WEIGHT, a_manifest()).files

    assert dict(file.locate().headers) == {}
    assert file.locate().url == f"https://huggingface.co/org/voice/resolve/{COMMIT}/config.json"
    assert "Set HF_TOKEN" in file.fix_denied


def _no_token(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_TOKEN_PATH", "HF_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
