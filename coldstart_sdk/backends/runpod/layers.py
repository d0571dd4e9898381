"""A folder as one layer of an image: the same files give the same bytes, whoever makes them and when."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from coldstart_sdk.backends.runpod.registry import Blob


@dataclass(frozen=True, kw_only=True)
class Layer:
    """What a manifest needs to know of a layer, and of what it is made."""

    what: str
    blob: Blob
    diff_id: str
    """The digest of what is inside the compression."""


def layer(what: str, folders: Mapping[str, Path], file: Path) -> Layer:
    """The folders, each at its place in the image, as the compressed archive `file`."""
    inside = _Digesting()
    with (
        file.open("wb") as raw,
        gzip.GzipFile(fileobj=raw, mode="wb", filename="", mtime=0, compresslevel=6) as packed,
    ):
        inside.target = packed
        with tarfile.open(fileobj=inside, mode="w|", format=tarfile.PAX_FORMAT) as archive:
            for place, folder in sorted(folders.items()):
                _add(archive, place.strip("/"), folder)
    return Layer(what=what, blob=Blob.of(file), diff_id=f"sha256:{inside.seen.hexdigest()}")


def _add(archive: tarfile.TarFile, place: str, folder: Path) -> None:
    for parent in reversed(Path(place).parents[:-1]):
        archive.addfile(_folder(str(parent)))
    archive.addfile(_folder(place))
    for path in sorted(_below(folder), key=lambda path: path.relative_to(folder).as_posix()):
        name = f"{place}/{path.relative_to(folder).as_posix()}"
        if path.is_symlink():
            archive.addfile(_link(name, path, folder, place))
        elif path.is_dir():
            archive.addfile(_folder(name))
        else:
            with path.open("rb") as content:
                archive.addfile(_file(name, path), content)


def _below(folder: Path) -> Iterable[Path]:
    return (path for path in folder.rglob("*") if "__pycache__" not in path.parts or path.suffix == ".pyc")


def _folder(name: str) -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.mode = tarfile.DIRTYPE, 0o755
    return made


def _file(name: str, path: Path) -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    known = path.stat()
    made.size, made.mode = known.st_size, 0o755 if known.st_mode & 0o100 else 0o644
    return made


def _link(name: str, path: Path, folder: Path, place: str) -> tarfile.TarInfo:
    """A link within the folder points to where the folder will be."""
    made = tarfile.TarInfo(name)
    made.type, made.mode = tarfile.SYMTYPE, 0o777
    target = path.readlink()
    inside = target.is_absolute() and folder in target.parents
    made.linkname = f"/{place}/{target.relative_to(folder).as_posix()}" if inside else target.as_posix()
    return made


class _Digesting(io.RawIOBase):
    """Passes on what is written, and digests it."""

    target: gzip.GzipFile

    def __init__(self) -> None:
        self.seen = hashlib.sha256()

    def writable(self) -> bool:
        return True

    def write(self, content: object) -> int:
        piece = bytes(content)  # type: ignore[call-overload] # whatever the archive writes: bytes or a view of them
        self.seen.update(piece)
        self.target.write(piece)
        return len(piece)


def names(file: Path) -> Iterator[str]:
    """What a layer holds."""
    with tarfile.open(file, "r:gz") as archive:
        yield from (member.name for member in archive)
