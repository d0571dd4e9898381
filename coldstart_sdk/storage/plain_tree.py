"""A tree of files that was in the bucket before us, as services without an SDK leave it; only ever read.

    <prefix>/hub/models--org--name/{refs,snapshots}/…    a cache of the hub, copied file by file
    <prefix>/torch/hub/checkpoints/<file>                 what torch.hub downloaded

Nothing in it says whether it is whole, or what its files should be. What the lock or the declaration knows is
checked; of the rest it is said that it was taken as it lay there.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from coldstart_sdk.manifest import FileEntry
from coldstart_sdk.spec import Origin, WeightSpec
from coldstart_sdk.storage import patterns
from coldstart_sdk.storage.home import Home
from coldstart_sdk.storage.origins import s3, url
from coldstart_sdk.storage.remote import Listing
from coldstart_sdk.storage.retry import Patience
from coldstart_sdk.storage.s3.client import Client, Listed
from coldstart_sdk.storage.s3.credentials import access

if TYPE_CHECKING:
    import threading

NAME = "plain tree"
_HUBS = ("hub", "", "huggingface/hub", "hf/hub")
_CHECKPOINTS = ("torch/hub/checkpoints", "torch/checkpoints", "torch", "")
_RETRIES = 2


def listing(weight: WeightSpec, address: str, cancelled: threading.Event) -> Listing | None:
    """What the tree has of the weight; None where that is nothing."""
    bucket, _, prefix = address.partition("://")[2].partition("/")
    patience = Patience(requests=0, stopped=cancelled, free=_RETRIES)
    with closing(Client(access(address), bucket, patience=patience)) as client:
        match weight.origin:
            case Origin.HF:
                return _snapshot(client, prefix.strip("/"), weight)
            case Origin.URL if weight.sha256 is not None:
                return _checkpoint(client, prefix.strip("/"), weight)
            case _:
                return None


def lacking_shard(home: Home, entries: Mapping[str, FileEntry]) -> str | None:
    """A file that an index among these files names and that is not among them."""
    for path, entry in entries.items():
        if path.endswith(".index.json"):
            folder = path.rpartition("/")[0]
            for shard in _shards(home, entry):
                if (f"{folder}/{shard}" if folder else shard) not in entries:
                    return shard
    return None


def _snapshot(client: Client, prefix: str, weight: WeightSpec) -> Listing | None:
    repository = f"models--{weight.source.replace('/', '--')}"
    for hub in _HUBS:
        root = _joined(prefix, hub, repository)
        objects = {item.key[len(root) + 1 :]: item for item in client.list(f"{root}/")}
        commit = _commit(client, root, objects, weight.revision or "main")
        if commit is None:
            continue
        below = f"snapshots/{commit}/"
        found = {
            name[len(below) :]: item
            for name, item in objects.items()
            if name.startswith(below)
            and not name.endswith("/")
            and patterns.wanted(name[len(below) :], weight)
        }
        if found:
            files = tuple(s3.remote(client, name, item) for name, item in sorted(found.items()))
            return Listing(revision=commit, files=files)
    return None


def _commit(client: Client, root: str, objects: Mapping[str, Listed], revision: str) -> str | None:
    """The snapshot that the revision means there."""
    snapshots = {name.split("/")[1] for name in objects if name.startswith("snapshots/") and "/" in name}
    if revision in snapshots:
        return revision
    if f"refs/{revision}" in objects:
        named = (client.get(f"{root}/refs/{revision}", limit_bytes=256) or b"").decode("ascii", "replace")
        return named.strip() if named.strip() in snapshots else None
    # Some copy the snapshots alone; then the only one is the one that is meant.
    return snapshots.pop() if revision == "main" and len(snapshots) == 1 else None


def _checkpoint(client: Client, prefix: str, weight: WeightSpec) -> Listing | None:
    name = url.file_name(weight)
    for folder in _CHECKPOINTS:
        if (item := client.head(_joined(prefix, folder, name))) is not None:
            digest = url.digest_of(weight)
            remote = replace(s3.remote(client, name, item), digest=digest)
            return Listing(revision=digest or "", files=(remote,))
    return None


def _shards(home: Home, entry: FileEntry) -> Iterator[str]:
    with suppress(OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        told = json.loads(home.blob(entry.digest).read_bytes())
        yield from {str(shard) for shard in told["weight_map"].values()}


def _joined(*parts: str) -> str:
    return "/".join(part for part in parts if part)
