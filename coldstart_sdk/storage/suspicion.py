"""Things that arrive with a good status and are not weights: error pages, pointers, stubs, torn files.

Only looked at where the publisher gave no digest: bytes that match their digest are what the publisher meant.
"""

from __future__ import annotations

import json
from pathlib import Path, PurePosixPath

from coldstart_sdk.errors import StorageError

_WEIGHTS = frozenset({".bin", ".ckpt", ".engine", ".gguf", ".npz", ".onnx", ".pt", ".pth", ".safetensors"})
_PAGES = frozenset({".htm", ".html", ".md", ".txt", ".xhtml", ".xml"})
_HEAD_BYTES = 1024
_POINTER = b"version https://git-lfs.github.com/spec/"
_HEADER_LIMIT = 100_000_000


def refuse_disguised(file: Path, path: str, where: str) -> None:
    """Refuse a file whose first bytes say that it is something else."""
    size = file.stat().st_size
    with file.open("rb") as opened:
        head = opened.read(_HEAD_BYTES)
    suffix = PurePosixPath(path).suffix.lower()
    if wrong := _disguise(head, size, suffix) or (_torn(file, size) if suffix == ".safetensors" else None):
        what, fix = wrong
        raise StorageError(f"{path!r} is {what}, not weights", where=where, fix=fix)


def _disguise(head: bytes, size: int, suffix: str) -> tuple[str, str] | None:
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n")[:64].lower()
    if size == 0 and suffix in _WEIGHTS:
        return "an empty file", "Ask whoever publishes it, or upload it again."
    if head.startswith(_POINTER):
        return "a Git LFS pointer", "Run `git lfs pull` where it was copied from, and publish the real file."
    if start.startswith((b"<!doctype html", b"<html")) and suffix not in _PAGES:
        return "an HTML page", "Open the address in a browser: it may ask for a login, or have moved."
    if start.startswith((b'{"error"', b"<?xml version", b"<error>")) and suffix in _WEIGHTS:
        return "an error message", "Open the address in a browser, and check the credentials for it."
    return None


def _torn(file: Path, size: int) -> tuple[str, str] | None:
    """A safetensors file says in its head how long it is."""
    wrong = ("a damaged safetensors file", "Ask whoever publishes it, or upload it again.")
    with file.open("rb") as opened:
        length = int.from_bytes(opened.read(8), "little")
        if size < 8 or length > min(_HEADER_LIMIT, size - 8):  # noqa: PLR2004 - the length field itself
            return wrong
        try:
            tensors = json.loads(opened.read(length))
            ends = [entry["data_offsets"][1] for name, entry in tensors.items() if name != "__metadata__"]
        except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError):
            return wrong
    return wrong if max(ends, default=0) != size - 8 - length else None


def git_blob_sha1(file: Path) -> str:
    """The id that git gives this content."""
    import hashlib  # noqa: PLC0415 - only small files of a hub have no better digest

    hashed = hashlib.sha1(f"blob {file.stat().st_size}\0".encode(), usedforsecurity=False)
    with file.open("rb") as opened:
        while block := opened.read(1 << 20):
            hashed.update(block)
    return hashed.hexdigest()
