"""What a lock says that an origin has, and where it is there: nobody is asked, and no client is imported."""

from __future__ import annotations

import os
from contextlib import closing, suppress
from pathlib import Path
from urllib.parse import quote

from coldstart_sdk.manifest import FileEntry, Manifest
from coldstart_sdk.spec import Origin, WeightSpec
from coldstart_sdk.storage.http import Address
from coldstart_sdk.storage.remote import Listing, RemoteFile

_HUB = "https://huggingface.co"


def listing(weight: WeightSpec, manifest: Manifest) -> Listing:
    match weight.origin:
        case Origin.HF:
            files = tuple(_of_hub(weight, manifest.revision, entry) for entry in manifest.files)
        case Origin.S3:
            files = _of_s3(weight, manifest)
        case _:
            files = tuple(_of_address(weight, entry) for entry in manifest.files)
    return Listing(revision=manifest.revision, files=files)


def hub_token() -> str | None:
    """The token, from where huggingface_hub looks first; to import that costs more than a small fetch."""
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        if token := os.environ.get(name, "").strip():
            return token
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    home = os.environ.get("HF_HOME") or f"{cache}/huggingface"
    with suppress(OSError, UnicodeDecodeError):
        path = Path(os.environ.get("HF_TOKEN_PATH") or f"{home}/token").expanduser()
        return path.read_text(encoding="utf-8").strip() or None
    return None


def _of_hub(weight: WeightSpec, commit: str, entry: FileEntry) -> RemoteFile:
    endpoint = (os.environ.get("HF_ENDPOINT") or _HUB).rstrip("/")
    token = hub_token()
    address = Address(
        url=f"{endpoint}/{weight.source}/resolve/{commit}/{quote(entry.path)}",
        headers={"Authorization": f"Bearer {token}"} if token else {},
    )
    fix = "" if token else "Set HF_TOKEN; "
    return RemoteFile(
        path=entry.path,
        size_bytes=entry.size_bytes,
        identity=entry.digest,
        locate=lambda: address,
        digest=entry.digest,
        chunks=entry.chunks,
        fix_denied=f"{fix}accept the conditions of {weight.source} on the hub with that account.",
    )


def _of_s3(weight: WeightSpec, manifest: Manifest) -> tuple[RemoteFile, ...]:
    from coldstart_sdk.storage.origins import s3  # noqa: PLC0415 - one origin is loaded, not four

    with closing(s3.client_of(weight)) as client:
        alone = len(manifest.files) == 1
        return tuple(s3.locked(client, weight, entry, alone=alone) for entry in manifest.files)


def _of_address(weight: WeightSpec, entry: FileEntry) -> RemoteFile:
    return RemoteFile(
        path=entry.path,
        size_bytes=entry.size_bytes,
        identity=entry.digest,
        locate=lambda: Address(url=weight.source),
        digest=entry.digest,
        chunks=entry.chunks,
        fix_denied="Check the address, and whether it needs a signature or a login.",
    )
