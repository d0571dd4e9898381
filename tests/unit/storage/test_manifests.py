"""Manifests and refs: what cannot be trusted is absent, what is newer is left alone."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from coldstart_sdk import record
from coldstart_sdk.errors import StorageError
from coldstart_sdk.manifest import MANIFEST_VERSION, FileEntry, Manifest
from coldstart_sdk.spec import Origin
from coldstart_sdk.storage import manifests
from coldstart_sdk.storage.home import Home

DIGEST = "sha256:" + "ab" * 32
GOOD = Manifest(
    version=MANIFEST_VERSION,
    origin=Origin.HF,
    source="org/model",
    revision="main",
    files=(FileEntry(path="a/b.bin", size_bytes=7, digest=DIGEST),),
)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home.open(tmp_path)


def test_a_set_is_found_by_its_ref(home: Home) -> None:
    manifests.point(home, "ref", manifests.keep(home, GOOD))

    assert manifests.read_ref(home, "ref") == GOOD


def test_a_manifest_is_named_by_the_digest_of_its_text(home: Home) -> None:
    digest = manifests.keep(home, GOOD)

    text = home.manifest(digest).read_bytes()

    assert digest == record.digest(GOOD)
    assert manifests.parse(text, digest=digest) == GOOD


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n",
        "main\n",
        DIGEST,
        f"{DIGEST}\n{DIGEST}\n",
        f" {DIGEST}\n",
        f"{DIGEST} \n",
        DIGEST.upper() + "\n",
        "sha256:ab\n",
        "md5:" + "ab" * 32 + "\n",
        "sha256:../../../etc/passwd\n",
    ],
)
def test_a_ref_that_is_not_one_digest_names_nothing(home: Home, text: str) -> None:
    home.ref("ref").write_text(text)

    assert manifests.read_ref(home, "ref") is None


def test_a_ref_to_a_missing_manifest_names_nothing(home: Home) -> None:
    manifests.point(home, "ref", DIGEST)

    assert manifests.read_ref(home, "ref") is None


def test_a_manifest_that_is_not_what_its_name_says_is_not_read(home: Home) -> None:
    digest = manifests.keep(home, GOOD)
    manifests.point(home, "ref", digest)
    home.manifest(digest).write_bytes(home.manifest(digest).read_bytes().replace(b'"main"', b'"evil"'))

    assert manifests.read_ref(home, "ref") is None


def _files(*files: dict[str, Any]) -> Callable[[dict[str, Any]], None]:
    return lambda data: data.update(files=list(files))


def _file(path: str = "a", size_bytes: object = 1, digest: str = DIGEST) -> dict[str, Any]:
    return {"path": path, "size_bytes": size_bytes, "digest": digest}


UNSOUND: dict[str, Callable[[dict[str, Any]], None]] = {
    "a name that leaves": _files(_file(path="../x")),
    "an absolute name": _files(_file(path="/etc/passwd")),
    "a NUL": _files(_file(path="a\0b")),
    "case twins": _files(_file(path="a"), _file(path="A")),
    "one path, two digests": _files(_file(), _file(digest="sha256:" + "cd" * 32)),
    "a digest in capitals": _files(_file(digest="sha256:" + "AB" * 32)),
    "a short digest": _files(_file(digest="sha256:abcd")),
    "no digest": _files(_file(digest="")),
    "a negative size": _files(_file(size_bytes=-1)),
    "a broken size": _files(_file(size_bytes=1.5)),
    "a vast size": _files(_file(size_bytes=2**63)),
    "a size that is a word": _files(_file(size_bytes="7")),
    "an unknown key": lambda data: data.update(extra=1),
    "a missing key": lambda data: data.pop("files"),
    "an older version": lambda data: data.update(version=0),
    "no version": lambda data: data.update(version=None),
    "an unknown origin": lambda data: data.update(origin="ftp"),
}


@pytest.mark.parametrize("name", UNSOUND)
def test_an_unsound_manifest_is_not_read(home: Home, name: str) -> None:
    data = record.to_data(GOOD)
    UNSOUND[name](data)

    _plant(home, json.dumps(data).encode())

    assert manifests.read_ref(home, "ref") is None


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"null", b'"x"', b"\xff\xfe", b"[" * 100_000])
def test_a_manifest_that_is_no_object_is_not_read(home: Home, text: bytes) -> None:
    _plant(home, text)

    assert manifests.read_ref(home, "ref") is None


def test_a_newer_manifest_stops_and_is_left_as_it_is(home: Home) -> None:
    newer = dataclasses.replace(GOOD, version=MANIFEST_VERSION + 1)
    manifests.point(home, "ref", manifests.keep(home, newer))

    with pytest.raises(StorageError, match=f"version {MANIFEST_VERSION + 1}"):
        manifests.read_ref(home, "ref")

    assert home.manifest(record.digest(newer)).exists()


def _plant(home: Home, text: bytes) -> None:
    import hashlib

    digest = f"sha256:{hashlib.sha256(text).hexdigest()}"
    home.manifest(digest).write_bytes(text)
    manifests.point(home, "ref", digest)


def test_a_manifest_of_the_first_version_is_still_read() -> None:
    old = record.to_data(GOOD) | {"version": 1}
    for entry in old["files"]:
        del entry["chunks"]
    text = json.dumps(old, sort_keys=True, separators=(",", ":")).encode()
    digest = "sha256:" + hashlib.sha256(text).hexdigest()

    assert manifests.parse(text, digest=digest) == GOOD


@pytest.mark.parametrize("chunks", [["ab"], ["g" * 64], ["AB" * 32], ["ab" * 32] * 2])
def test_chunks_that_cannot_be_those_of_the_file_are_not_trusted(chunks: list[str]) -> None:
    text = record.canonical(
        dataclasses.replace(GOOD, files=(dataclasses.replace(GOOD.files[0], chunks=tuple(chunks)),))
    ).encode()

    with pytest.raises(manifests.BadManifestError, match="no sound chunks"):
        manifests.parse(text, digest="sha256:" + hashlib.sha256(text).hexdigest())
