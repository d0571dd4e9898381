"""A plain tree on S3-compatible storage.

Credentials from the environment or a file need no vendor's SDK; boto3 finds all others. Each object is then
read like any other address. An ETag tells whether an object is the same as before; it is never taken for a
digest.
"""

from __future__ import annotations

import threading
from contextlib import closing

from coldstart_sdk import record
from coldstart_sdk.errors import StorageError
from coldstart_sdk.manifest import FileEntry
from coldstart_sdk.spec import WeightSpec
from coldstart_sdk.storage import patterns, stores
from coldstart_sdk.storage.remote import Listing, RemoteFile
from coldstart_sdk.storage.retry import Patience
from coldstart_sdk.storage.s3.client import Client, Listed
from coldstart_sdk.storage.s3.credentials import access


def client_of(weight: WeightSpec, patience: Patience | None = None) -> Client:
    """Whoever signs for this tree; without patience nobody is asked anything."""
    bucket, _ = _address(weight)
    waiting = patience or Patience(requests=0, stopped=threading.Event())
    return Client(access(weight.source), bucket, patience=waiting)


def listing(weight: WeightSpec, patience: Patience) -> Listing:
    _, prefix = _address(weight)
    with closing(client_of(weight, patience)) as client:
        objects = list(client.list(prefix))
    named = {_name(item.key, prefix): item for item in objects if _is_file(item.key, prefix)}
    files = tuple(
        remote(client, name, item) for name, item in sorted(named.items()) if patterns.wanted(name, weight)
    )
    patterns.refuse_nothing(files, weight, seen=len(named), where=weight.source)
    state = [[file.path, file.size_bytes, file.etag] for file in files]
    return Listing(revision=record.digest(state), files=files)


def _address(weight: WeightSpec) -> tuple[str, str]:
    # Not through urlsplit: a key may hold '?' and '#'.
    bucket, _, prefix = weight.source.partition("://")[2].partition("/")
    if not weight.source.startswith("s3://") or not bucket:
        raise StorageError(
            f"{weight.source!r} is not an S3 address",
            fix="Write it as s3://bucket/prefix.",
            where=weight.source,
        )
    return bucket, prefix.rstrip("/")


def _is_file(key: str, prefix: str) -> bool:
    """Not a folder marker, not ours, and below the prefix rather than beside it (`models`, `models-old`)."""
    if key.endswith("/") or (prefix and key != prefix and not key.startswith(f"{prefix}/")):
        return False
    return not _name(key, prefix).startswith(f"{stores.FOLDER}/")


def _name(key: str, prefix: str) -> str:
    return key.rpartition("/")[2] if key == prefix else key[len(prefix) + 1 if prefix else 0 :]


def remote(client: Client, name: str, item: Listed) -> RemoteFile:
    """An object as a file to fetch; the client may be closed by then."""
    return RemoteFile(
        path=name,
        size_bytes=item.size_bytes,
        identity=record.digest([client.base, client.bucket, item.key, item.etag]) if item.etag else None,
        locate=lambda: client.address(item.key),
        etag=item.etag,
        redirects=False,
        fix_denied="The credentials may list the bucket but not read it: allow s3:GetObject.",
    )


def locked(client: Client, weight: WeightSpec, entry: FileEntry, *, alone: bool) -> RemoteFile:
    """An object of which all is known beforehand; `alone` where it is the only one of its set."""
    _, prefix = _address(weight)
    # A source that names one object has that object's name as its only path.
    is_named = alone and prefix.rpartition("/")[2] == entry.path
    key = prefix if is_named else f"{prefix}/{entry.path}".lstrip("/")
    return RemoteFile(
        path=entry.path,
        size_bytes=entry.size_bytes,
        identity=entry.digest,
        locate=lambda: client.address(key),
        digest=entry.digest,
        chunks=entry.chunks,
        redirects=False,
        fix_denied="Allow s3:GetObject on the objects of this tree.",
    )
