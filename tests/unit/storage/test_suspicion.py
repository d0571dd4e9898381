"""Files that are not what their name says, and files that are."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from coldstart_sdk.errors import StorageError
from coldstart_sdk.storage.suspicion import git_blob_sha1, refuse_disguised


def safetensors(*, data: int = 8, claimed: int = 8, header: object = None) -> bytes:
    tensors = header or {
        "__metadata__": {},
        "x": {"dtype": "F32", "shape": [2], "data_offsets": [0, claimed]},
    }
    text = json.dumps(tensors).encode()
    return len(text).to_bytes(8, "little") + text + bytes(data)


REFUSED = {
    "cut by one byte": ("m.safetensors", safetensors(data=7)),
    "padded": ("m.safetensors", safetensors(data=9)),
    "header only": ("m.safetensors", safetensors(data=0)),
    "a header of 2**64-1 bytes": ("m.safetensors", b"\xff" * 8 + b"{}" * 50),
    "a header that is no JSON": ("m.safetensors", (4).to_bytes(8, "little") + b"nope"),
    "a header that is a list": ("m.safetensors", (2).to_bytes(8, "little") + b"[]"),
    "five bytes": ("m.safetensors", b"12345"),
    "nothing": ("m.gguf", b""),
    "a page": ("m.bin", b"  <!doctype HTML><title>404</title>"),
    "XML": ("m.pt", b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>'),
}
PASSED = {
    "a sound safetensors file": ("m.safetensors", safetensors()),
    "a page that says it is one": ("index.html", b"<!doctype html>"),
    "an empty marker": ("__init__.py", b""),
    "an error in a JSON file": ("example.json", b'{"error": "documented"}'),
    "ordinary bytes": ("m.bin", b"\0\1\2"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_disguise_is_refused(what: str, tmp_path: Path) -> None:
    name, data = REFUSED[what]
    (tmp_path / name).write_bytes(data)

    with pytest.raises(StorageError, match="not weights"):
        refuse_disguised(tmp_path / name, name, "somewhere")


@pytest.mark.parametrize("what", PASSED)
def test_an_honest_file_passes(what: str, tmp_path: Path) -> None:
    name, data = PASSED[what]
    (tmp_path / name).write_bytes(data)

    refuse_disguised(tmp_path / name, name, "somewhere")


def test_a_git_id_is_what_git_computes(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"test content\n")

    assert (
        git_blob_sha1(tmp_path / "x") == "d670460b4b4aece5915caf5c68d12f560a9fe3e4"
    )  # from the Git book, chapter 10.2
