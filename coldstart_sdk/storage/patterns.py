"""`include=` and `exclude=`: shell patterns over whole paths, as huggingface_hub reads them.

`*` crosses slashes; a pattern that ends with a slash means everything below that folder.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable

from coldstart_sdk.errors import StorageError
from coldstart_sdk.spec import WeightSpec


def wanted(path: str, weight: WeightSpec) -> bool:
    return (not weight.include or matches(path, weight.include)) and not matches(path, weight.exclude)


def refuse_nothing(left: Iterable[object], weight: WeightSpec, *, seen: int, where: str) -> None:
    """An origin with no file left is a mistake in the patterns or the address, never an empty set."""
    if any(True for _ in left):
        return
    if not seen:
        raise StorageError(
            "there is no file at the origin", where=where, fix="Check the address, and what lies there."
        )
    raise StorageError(
        f"include={list(weight.include)}, exclude={list(weight.exclude)} leave none of {seen} files",
        where=where,
        fix="Patterns match whole paths, for example include=['folder/*', '*.safetensors'].",
    )


def matches(path: str, patterns: Iterable[str]) -> bool:
    """Whether one of the patterns means this path."""
    return any(
        fnmatch.fnmatchcase(path, pattern + "*" if pattern.endswith("/") else pattern) for pattern in patterns
    )
