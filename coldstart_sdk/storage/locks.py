"""The lock file: what each weight is, as TOML that a person can review and that changes only where they do.

Deterministic: names and paths sorted, no clock, no path of this machine. A start with a lock asks no origin
what there is; it asks for these bytes, and takes no others.
"""

from __future__ import annotations

import glob
import json
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from coldstart_sdk import record
from coldstart_sdk.errors import StorageError
from coldstart_sdk.manifest import (
    LOCK_NAME,
    LOCK_VERSION,
    MANIFEST_VERSION,
    FileEntry,
    Lock,
    Locked,
    Manifest,
)
from coldstart_sdk.spec import Origin, WeightSpec
from coldstart_sdk.storage import manifests
from coldstart_sdk.storage.home import Home

_HEAD = "# What each weight is, to the byte. Written by `coldstart lock`; keep it with your code.\n"
_BARE = re.compile(r"[A-Za-z0-9_-]+")


def declared(weight: WeightSpec) -> str:
    """The digest of what a declaration asks for; where it is put, and how it is seen, is left out."""
    return record.digest(
        [
            weight.origin,
            weight.source,
            weight.revision,
            sorted(weight.include),
            sorted(weight.exclude),
            weight.sha256 and weight.sha256.removeprefix("sha256:").lower(),
            weight.filename,
        ]
    )


def of_project(project: Path) -> Lock | None:
    """The lock beside a declaration; None where there is none."""
    path = project / LOCK_NAME
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as refused:
        raise StorageError(
            f"the lock cannot be read: {refused.strerror}",
            where=str(path),
            fix="Allow reading it, or remove it and write it anew: coldstart lock FILE",
        ) from refused
    return read(text, where=str(path))


def manifest_of(lock: Lock | None, name: str, weight: WeightSpec) -> Manifest | None:
    """What a weight is locked to; None where nothing is said. A lock that has fallen behind is refused."""
    if lock is None or weight.origin is Origin.LOCAL or (locked := lock.weights.get(name)) is None:
        return None
    if locked.declared != declared(weight):
        raise StorageError(
            f"{LOCK_NAME} was written for another declaration of {name!r}",
            where=LOCK_NAME,
            fix="Write it anew: coldstart lock FILE",
        )
    return locked.manifest


def lacking_bytes(lock: Lock | None, home: Path) -> int:
    """How much of what is locked would still have to be fetched into a home; nought without a lock."""
    sizes = {
        entry.digest: entry.size_bytes
        for locked in (lock.weights.values() if lock else ())
        for entry in locked.manifest.files
    }
    return sum(size for digest, size in sizes.items() if not Home(home).blob(digest).exists())


def with_observed(weights: Mapping[str, WeightSpec], lock: Lock | None) -> dict[str, WeightSpec]:
    """What was declared, and what load was seen to fetch beside it: a start fetches both."""
    seen = {} if lock is None else lock.weights
    return {
        **{name: observed_as(locked.manifest) for name, locked in seen.items() if locked.observed},
        **weights,
    }


def observed_as(manifest: Manifest) -> WeightSpec:
    """The declaration that somebody might have written for it."""
    return WeightSpec(
        origin=manifest.origin,
        source=manifest.source,
        revision=manifest.revision,
        include=tuple(glob.escape(entry.path) for entry in manifest.files),
    )


def read(text: bytes, *, where: str) -> Lock:
    """A lock from its text, every value of it checked."""
    try:
        data = _parsed(text)
        _refuse_newer(data, where)
        weights = {name: _locked(table) for name, table in data.get("weights", {}).items()}
    except (ValueError, KeyError, TypeError, AttributeError, manifests.BadManifestError) as wrong:
        raise StorageError(
            f"the lock cannot be read: {_said(wrong)}",
            where=where,
            fix="Take it from version control, or remove it and write it anew: coldstart lock FILE",
        ) from wrong
    return Lock(version=LOCK_VERSION, weights=weights)


def text_of(lock: Lock) -> str:
    """The lock as it is written."""
    tables = (_table(name, locked) for name, locked in sorted(lock.weights.items()))
    return "\n".join((f"{_HEAD}version = {lock.version}\n", *tables))


def _parsed(text: bytes) -> dict[str, Any]:
    if sys.version_info >= (3, 11):
        import tomllib  # noqa: PLC0415 - only a project with a lock pays for it
    else:
        import tomli as tomllib  # noqa: PLC0415 - as above
    return tomllib.loads(text.decode("utf-8"))


def _refuse_newer(data: Mapping[str, Any], where: str) -> None:
    version = data["version"]
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise ValueError("its version is no version")
    if version > LOCK_VERSION:
        raise StorageError(
            f"the lock has version {version}; this coldstart-sdk reads up to {LOCK_VERSION}",
            where=where,
            fix="Install a newer coldstart-sdk.",
        )


def _locked(table: Mapping[str, Any]) -> Locked:
    files = [
        {
            "path": file["path"],
            "size_bytes": file["size"],
            "digest": f"sha256:{file['sha256']}",
            "chunks": file.get("blake3", []),
        }
        for file in table["files"]
    ]
    data = {
        "version": MANIFEST_VERSION,
        "origin": table["origin"],
        "source": table["source"],
        "revision": table["revision"],
        "files": files,
    }
    manifest = record.from_data(Manifest, data)
    manifests.check(manifest)
    if table["digest"] != manifests.digest_of(manifest):
        raise ValueError(f"what it says of {manifest.source} was changed by hand")
    return Locked(
        declared=record.from_data(str, table["declared"]),
        manifest=manifest,
        observed=record.from_data(bool, table.get("observed", False)),
    )


def _table(name: str, locked: Locked) -> str:
    key = f"weights.{name if _BARE.fullmatch(name) else _quoted(name)}"
    manifest = locked.manifest
    lines = [
        f"[{key}]",
        f"origin = {_quoted(manifest.origin.value)}",
        f"source = {_quoted(manifest.source)}",
        f"revision = {_quoted(manifest.revision)}",
        f"declared = {_quoted(locked.declared)}",
        f"digest = {_quoted(manifests.digest_of(manifest))}",
    ]
    if locked.observed:
        lines.append("observed = true")
    for entry in manifest.files:
        lines += ["", f"[[{key}.files]]", *_file(entry)]
    return "\n".join(lines) + "\n"


def _file(entry: FileEntry) -> Iterator[str]:
    yield f"path = {_quoted(entry.path)}"
    yield f"size = {entry.size_bytes}"
    yield f"sha256 = {_quoted(entry.digest.removeprefix('sha256:'))}"
    if entry.chunks:
        yield "blake3 = ["
        yield from (f"  {_quoted(digest)}," for digest in entry.chunks)
        yield "]"


def _quoted(text: str) -> str:
    """A basic string of TOML: JSON's, but for one control character."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _said(wrong: Exception) -> str:
    return f"it has no {wrong.args[0]!r}" if isinstance(wrong, KeyError) else str(wrong).partition("\n")[0]
