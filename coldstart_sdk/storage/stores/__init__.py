"""Stores: the user's own copy, wherever it lies. Each knows keys and bytes, and nothing of weights.

`opened` finds the one that serves an address. Ours are registered as anybody's are; a worker knows them by
heart, because it never scans entry points for what it can import.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, cast

from coldstart_sdk.errors import StorageError

if TYPE_CHECKING:
    from coldstart_sdk.plugins import Store

FOLDER = ".coldstart"
"""All that we write lies below it, so that a plain tree beside it stays the user's."""

OURS = {
    "file": "coldstart_sdk.storage.stores.directory:opened",
    "memory": "coldstart_sdk.storage.stores.memory:opened",
    "s3": "coldstart_sdk.storage.stores.s3:opened",
}


def opened(address: str) -> Store:
    """The store at an address: `s3://bucket/prefix`, a folder, or what a plug-in serves."""
    scheme = scheme_of(address)
    if scheme in OURS:
        module, _, name = OURS[scheme].partition(":")
        opener = getattr(importlib.import_module(module), name)
    else:
        from coldstart_sdk import plugins  # noqa: PLC0415 - only somebody else's store is searched for

        opener = plugins.store(scheme)
    return cast("Callable[[str], Store]", opener)(address)


def placed(address: str, folder: Path) -> str:
    """The address as every process reads it: a folder's path begins where it was written."""
    if "://" in address or not address.strip():
        return address
    return str(folder.joinpath(Path(address).expanduser()).resolve())


def scheme_of(address: str) -> str:
    found = re.match(r"([a-z][a-z0-9+.-]*)://", address)
    if found:
        return found[1]
    if not address.strip():
        raise StorageError("the store has no address", fix="Write s3://bucket/prefix, or a folder.")
    return "file"
