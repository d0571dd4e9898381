"""How the user sees a set: a plain directory of links to blobs.

Hard links, because a file then has its own name and suffix wherever a library looks; symbolic links, then
copies, where a file system refuses. A view is built aside and renamed, and named after its content, so it
is whole or absent.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from coldstart_sdk import record
from coldstart_sdk.errors import StorageError
from coldstart_sdk.manifest import Manifest
from coldstart_sdk.spec import Origin, WeightSpec
from coldstart_sdk.storage import names
from coldstart_sdk.storage.home import mending
from coldstart_sdk.storage.weights import LocalWeight

_NAME_DIGITS = 16
_FALLBACK = (OSError, NotImplementedError)


def name_of(source: str, content: str) -> str:
    """A name that a person recognizes and that no other content has."""
    last = re.sub(r"[^A-Za-z0-9._-]+", "-", source.rstrip("/").rpartition("/")[2]).strip(".-")[:60]
    return f"{last or 'weights'}-{content.rpartition(':')[2][:_NAME_DIGITS]}"


def of_set(views: Path, manifest: Manifest) -> Path:
    """Where a set that was fetched is shown."""
    return views / name_of(manifest.source, record.digest(manifest.files))


def build(view: Path, targets: Mapping[str, Path], *, symbolic: bool = False) -> Path:
    """A directory there, in which each path is a link to its target."""
    if _is_whole(view, targets):
        return view
    scratch = view.with_name(f".{view.name}.{os.urandom(4).hex()}")
    with mending(view.parent):
        try:
            for path, target in targets.items():
                place = scratch / path
                place.parent.mkdir(parents=True, exist_ok=True)
                (_symlink if symbolic else put)(target, place)
            scratch.mkdir(exist_ok=True)
            _swap_in(scratch, view, targets)
        finally:
            _remove(scratch)
    return view


def link(weights: Mapping[str, LocalWeight], specs: Mapping[str, WeightSpec]) -> dict[str, LocalWeight]:
    """The same weights, those with `links=` in a view that has them.

    Called once all sets are there. A target is `other_weight/path` or a path in the same set: a file, or a
    folder with all below it. Links do not follow links: only what was fetched can be a target.
    """
    linked = dict(weights)
    for name, weight in weights.items():
        if specs[name].links:
            linked[name] = _with_links(weight, specs, weights)
    return linked


def files_below(directory: Path) -> dict[str, Path]:
    """Relative path → file, of everything in a directory."""
    return {
        (Path(folder) / file).relative_to(directory).as_posix(): Path(folder) / file
        for folder, _, files in os.walk(directory)
        for file in files
    }


def _with_links(
    weight: LocalWeight, specs: Mapping[str, WeightSpec], weights: Mapping[str, LocalWeight]
) -> LocalWeight:
    spec = specs[weight.name]
    root = weight.path if weight.path.is_dir() else weight.path.parent
    own = files_below(root) if weight.path.is_dir() else {weight.path.name: weight.path}
    extra = {
        path: file
        for extra_name, target in sorted(spec.links.items())
        for path, file in _resolve(weight, extra_name, target, specs, weights).items()
    }
    where = f"links of {weight.name!r}"
    if twice := sorted(own.keys() & extra.keys()):
        raise StorageError(
            f"the set already has a file {twice[0]!r}",
            where=where,
            fix="Give the link another name, or exclude the file.",
        )
    names.check((*own, *extra), where=where)
    targets = {path: _behind(file) for path, file in {**own, **extra}.items()}
    content = record.digest({path: str(target) for path, target in targets.items()})
    name = name_of(root.name, content)
    view = build(root.parent / name, targets, symbolic=spec.origin is Origin.LOCAL)
    path = view if weight.path.is_dir() else view / weight.path.name
    return replace(weight, path=path)


def _resolve(
    weight: LocalWeight,
    extra_name: str,
    target: str,
    specs: Mapping[str, WeightSpec],
    weights: Mapping[str, LocalWeight],
) -> dict[str, Path]:
    other_name, _, rest = target.partition("/")
    found = None
    if other_name in weights and other_name != weight.name:
        found = _inside(weights[other_name], rest)
    found = found or _inside(weight, target)
    if found is None:
        raise StorageError(
            f"the link {extra_name!r} leads to {target!r}, which is not there",
            where=f"links of {weight.name!r}",
            fix=f"Name a path in this set, or 'weight/path'; weights: {', '.join(sorted(specs))}.",
        )
    if found.is_dir():
        return {f"{extra_name}/{path}": file for path, file in files_below(found).items()}
    return {extra_name: found}


def _inside(weight: LocalWeight, path: str) -> Path | None:
    if not path:
        return weight.path
    if names.misfit(path):
        return None
    root = weight.path if weight.path.is_dir() else weight.path.parent
    found = root / path
    if not weight.path.is_dir() and found != weight.path:
        return None
    return found if found.exists() else None


def _behind(file: Path) -> Path:
    """The file itself, so that a link never hangs on another view."""
    return file.resolve() if file.is_symlink() else file


def _is_whole(view: Path, targets: Mapping[str, Path]) -> bool:
    try:
        return view.is_dir() and all(same(view / path, target) for path, target in targets.items())
    except OSError:
        return False


def same(place: Path, target: Path) -> bool:
    """Whether a name shows this very file; raises where either is not there."""
    if place.samefile(target):
        return True
    # A copy, where links are refused: bytes of the same size, with the time that an untouched blob has.
    copied, original = place.stat(), target.stat()
    return (copied.st_size, int(copied.st_mtime)) == (original.st_size, int(original.st_mtime))


def _swap_in(scratch: Path, view: Path, targets: Mapping[str, Path]) -> None:
    try:
        scratch.rename(view)
    except OSError:
        if _is_whole(view, targets):  # another process was first
            return
        aside = scratch.with_name(f"{scratch.name}.old")
        with suppress(FileNotFoundError):
            view.rename(aside)
        try:
            scratch.rename(view)
        except OSError:
            if not _is_whole(view, targets):
                raise
        finally:
            _remove(aside)


def _remove(directory: Path) -> None:
    if directory.exists():
        import shutil  # noqa: PLC0415 - rare, and it brings every compressor along

        shutil.rmtree(directory, ignore_errors=True)


def put(target: Path, place: Path) -> None:
    """The file under another name: a hard link, or what the file system has instead."""
    try:
        os.link(target, place)
    except _FALLBACK:
        _symlink(target, place)


def _symlink(target: Path, place: Path) -> None:
    try:
        place.symlink_to(target.resolve())
    except _FALLBACK:
        import shutil  # noqa: PLC0415 - rare, and it brings every compressor along

        shutil.copy2(target, place)
