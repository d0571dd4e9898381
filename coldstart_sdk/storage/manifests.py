"""Manifests and refs on disk: read with suspicion, written once, the ref last.

A manifest that cannot be trusted is treated as absent, which costs a fetch; one of a newer version is an
error, because to write over it would destroy what somebody else relies on.
"""

from __future__ import annotations

import json
from pathlib import Path

from coldstart_sdk import record
from coldstart_sdk.errors import StorageError
from coldstart_sdk.manifest import MANIFEST_VERSION, Manifest
from coldstart_sdk.storage import chunks, names
from coldstart_sdk.storage.home import Home, is_digest, write_whole

MANIFEST_LIMIT_BYTES = 64 * 2**20


class BadManifestError(Exception):
    """Why a manifest cannot be trusted."""


def digest_of(manifest: Manifest) -> str:
    return record.digest(manifest)


def read_ref(home: Home, name: str) -> Manifest | None:
    """The set that a ref names, if all of its description is there and sound."""
    try:
        target = home.ref(name).read_text(encoding="ascii")
        if target[-1:] != "\n" or not is_digest(target[:-1]):
            return None
        return parse(_read_bounded(home.manifest(target[:-1])), digest=target[:-1])
    except (OSError, UnicodeDecodeError, BadManifestError):
        return None


def keep(home: Home, manifest: Manifest) -> str:
    """Write a manifest; its digest is its name from now on."""
    digest = digest_of(manifest)
    path = home.manifest(digest)
    if not path.is_file() or _read_bounded(path) != record.canonical(manifest).encode():
        write_whole(path, record.canonical(manifest).encode())
    return digest


def point(home: Home, name: str, digest: str) -> None:
    """Let a ref name this manifest. Always the last thing written."""
    write_whole(home.ref(name), f"{digest}\n".encode("ascii"))


def parse(text: bytes, *, digest: str) -> Manifest:
    """A manifest from its text, if it is the text of that digest and every value in it is sound."""
    import hashlib  # noqa: PLC0415 - brings OpenSSL, which few imports of this module need

    if "sha256:" + hashlib.sha256(text).hexdigest() != digest:
        raise BadManifestError("it is not what its name says")
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as misread:
        raise BadManifestError("it is not JSON") from misread
    _refuse_newer(data)
    try:
        manifest = record.from_data(Manifest, _upgraded(data))
    except record.RecordError as misfit:
        raise BadManifestError(str(misfit)) from misfit
    check(manifest)
    return manifest


def _read_bounded(path: Path) -> bytes:
    with path.open("rb") as file:
        text = file.read(MANIFEST_LIMIT_BYTES + 1)
    if len(text) > MANIFEST_LIMIT_BYTES:
        raise BadManifestError(f"it is larger than {MANIFEST_LIMIT_BYTES} bytes")
    return text


def _refuse_newer(data: object) -> None:
    version = data.get("version") if isinstance(data, dict) else None
    if isinstance(version, int) and version > MANIFEST_VERSION:
        raise StorageError(
            f"the manifest has version {version}; this coldstart-sdk reads up to {MANIFEST_VERSION}",
            fix="Install a newer coldstart-sdk, or set COLDSTART_HOME to another directory.",
        )


def _upgraded(data: object) -> object:
    """A manifest of version 1, which knew no chunks, as one of today."""
    if not isinstance(data, dict) or data.get("version") != 1 or not isinstance(data.get("files"), list):
        return data
    files = [{**entry, "chunks": []} if isinstance(entry, dict) else entry for entry in data["files"]]
    return {**data, "version": MANIFEST_VERSION, "files": files}


def check(manifest: Manifest) -> None:
    """Refuse what no manifest can say, whatever it was read from."""
    if manifest.version != MANIFEST_VERSION:
        raise BadManifestError(f"its version is {manifest.version}")
    for entry in manifest.files:
        if not is_digest(entry.digest):
            raise BadManifestError(f"{entry.path!r} has no sound digest")
        if not 0 <= entry.size_bytes < 2**63:
            raise BadManifestError(f"{entry.path!r} has no sound size")
        if not chunks.fit(entry.chunks, entry.size_bytes):
            raise BadManifestError(f"{entry.path!r} has no sound chunks")
    try:
        names.check((entry.path for entry in manifest.files), where="a manifest")
    except StorageError as unsafe:
        raise BadManifestError(unsafe.message) from unsafe
