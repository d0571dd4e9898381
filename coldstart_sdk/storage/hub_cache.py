"""Declared sets as a cache of Hugging Face's client: what `from_pretrained("org/name")` reads offline.

    hub/models--org--name/blobs/<sha256>               the file
                          snapshots/<commit>/<path>    a link to it
                          refs/<revision>              the commit

Names are the client's own (https://huggingface.co/docs/huggingface_hub/guides/manage-cache). What `links=`
adds to a set stands in its snapshot as a file. Refs are written last; what is there already is left, so that
sets of one repository add up.
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from coldstart_sdk.manifest import Manifest
from coldstart_sdk.spec import Origin, WeightSpec
from coldstart_sdk.storage import manifests, names, views
from coldstart_sdk.storage.home import Home, mending, write_whole
from coldstart_sdk.storage.weights import LocalWeight

FOLDER = "hub"
DEFAULT_REVISION = "main"
_COMMIT = re.compile(r"[0-9a-f]{40}")


def build(home: Home, weights: Mapping[str, LocalWeight], specs: Mapping[str, WeightSpec]) -> None:
    """Show every set of the hub there, with its links."""
    commits: dict[Path, str] = {}
    defaults: dict[Path, str] = {}
    with mending(home.root):
        for name, spec in specs.items():
            manifest = manifests.read_ref(home, weights[name].ref) if spec.origin is Origin.HF else None
            if manifest is None or not _COMMIT.fullmatch(manifest.revision):
                continue
            repository = home.root / FOLDER / f"models--{spec.source.replace('/', '--')}"
            _show(repository, manifest, weights[name].path)
            if spec.links:
                _show_links(repository / "snapshots" / manifest.revision, manifest, weights[name].path)
            revision = spec.revision or DEFAULT_REVISION
            if not _COMMIT.fullmatch(revision) and not names.misfit(revision):
                commits[repository / "refs" / revision] = manifest.revision
            defaults.setdefault(repository / "refs" / DEFAULT_REVISION, manifest.revision)
        # Whoever asks for no revision means what was declared.
        for ref, commit in {**defaults, **commits}.items():
            _point(ref, commit)


def _show(repository: Path, manifest: Manifest, view: Path) -> None:
    for entry in manifest.files:
        file = view / entry.path
        blob = repository / "blobs" / entry.digest.partition(":")[2]
        shown = repository / "snapshots" / manifest.revision / entry.path
        if not _shows(shown, file):
            _replace(blob, functools.partial(views.put, file))
            _replace(shown, functools.partial(os.symlink, os.path.relpath(blob, shown.parent)))


def _show_links(snapshot: Path, manifest: Manifest, view: Path) -> None:
    """What the view has beyond the set: files of others, which have blobs elsewhere or none."""
    own = {entry.path for entry in manifest.files}
    for path, file in views.files_below(view).items():
        if path not in own and not _shows(snapshot / path, file):
            _replace(snapshot / path, functools.partial(views.put, file))


def _shows(shown: Path, file: Path) -> bool:
    with suppress(OSError):
        return views.same(shown, file)
    return False


def _replace(place: Path, made: Callable[[Path], object]) -> None:
    """Give the place what is made, at one instant."""
    place.parent.mkdir(parents=True, exist_ok=True)
    scratch = place.with_name(f".{place.name}.{os.urandom(4).hex()}")
    try:
        made(scratch)
        scratch.replace(place)
    finally:
        # Also after a rename onto another name of the same file, which does nothing.
        scratch.unlink(missing_ok=True)


def _point(ref: Path, commit: str) -> None:
    with suppress(OSError, UnicodeDecodeError):
        if ref.read_text(encoding="ascii") == commit:
            return
    ref.parent.mkdir(parents=True, exist_ok=True)
    write_whole(ref, commit.encode("ascii"))
