"""Pack espeak-ng's engine and voices, as the installed package `espeakng-loader` has them, into one archive.

The same package gives the same bytes, so the archive can be pinned by its digest. Nothing is compressed:
whoever fetches it moves as many bytes as it holds.
"""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import espeakng_loader


@dataclass(frozen=True, kw_only=True)
class Packed:
    path: Path
    files: int
    bytes: int
    sha256: str


def pack(folder: Path) -> Packed:
    """Write `espeak-ng.zip` into the folder."""
    path = folder / "espeak-ng.zip"
    files = list(_files())
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, file in files:
            # A name without a date: an archive made twice must not differ.
            archive.writestr(zipfile.ZipInfo(name), file.read_bytes())
    content = path.read_bytes()
    return Packed(path=path, files=len(files), bytes=len(content), sha256=hashlib.sha256(content).hexdigest())


def _files() -> Iterator[tuple[str, Path]]:
    """(name in the archive, file)."""
    library = Path(espeakng_loader.get_library_path())
    voices = Path(espeakng_loader.get_data_path())
    yield library.name, library
    for file in sorted(voices.rglob("*")):
        if file.is_file():
            yield file.relative_to(voices.parent).as_posix(), file
