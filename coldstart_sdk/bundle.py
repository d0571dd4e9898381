"""Everything compiled for one target, and the folder it lies in.

The folder may hold other people's files: `write` replaces and removes only what an earlier one left, and
knows that from `.coldstart-bundle.json`. Same input, same bytes: no clock, no path of the building machine.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from coldstart_sdk import imports
from coldstart_sdk.errors import BundleError
from coldstart_sdk.manifest import LOCK_NAME
from coldstart_sdk.spec import Spec

MANIFEST = ".coldstart-bundle.json"
_PIECE_BYTES = 2**20


@dataclass(frozen=True, kw_only=True)
class Artifact:
    """One file of a bundle."""

    path: str
    """Below the bundle's folder, with forward slashes."""
    content: str | bytes | Path
    """A path is a file to copy, however large it is."""
    executable: bool = False

    @property
    def data(self) -> bytes:
        if isinstance(self.content, Path):
            return self.content.read_bytes()
        return self.content.encode() if isinstance(self.content, str) else self.content

    @property
    def digest(self) -> str:
        return _digest_of(self.content) if isinstance(self.content, Path) else _digest(self.data)

    def put(self, file: Path) -> None:
        if isinstance(self.content, Path):
            shutil.copyfile(self.content, file)
        else:
            file.write_bytes(self.data)
        file.chmod(self.mode)

    @property
    def mode(self) -> int:
        return 0o755 if self.executable else 0o644


@dataclass(frozen=True, kw_only=True)
class Bundle:
    target: str
    artifacts: tuple[Artifact, ...]


def write(bundle: Bundle, out: Path) -> tuple[Path, ...]:
    """Put the bundle into `out`, whole or not at all where `out` is new; the paths it wrote."""
    wanted = _by_path(bundle)
    ours = _ours(out)
    _refuse_foreign(wanted, ours, out)
    with _explained(out), _staged(bundle, wanted, out) as staging:
        if not out.exists():
            staging.rename(out)
        else:
            # The manifest goes last: until then `check` calls the folder stale.
            for path in (*wanted, MANIFEST):
                _refuse_link(out, path)
                (out / path).parent.mkdir(parents=True, exist_ok=True)
                (staging / path).replace(out / path)
            _remove({path: digest for path, digest in ours.items() if path not in wanted}, out)
    return tuple(out / path for path in wanted)


def check(bundle: Bundle, out: Path) -> None:
    """Raise when `out` does not hold this very bundle, naming each file that differs."""
    wanted = _by_path(bundle)
    ours = _ours(out)
    differs = [path for path, artifact in wanted.items() if not _is(artifact, out / path)]
    left = [path for path in ours if path not in wanted and (out / path).exists()]
    if not differs and not left and ours.keys() == wanted.keys():
        return
    raise BundleError(
        f"the bundle is stale: {', '.join((*differs, *left)) or MANIFEST}",
        fix=f"Build it again: coldstart build FILE --target {bundle.target}",
        where=str(out),
    )


def code(project: Path, spec: Spec) -> tuple[Artifact, ...]:
    """The declaration, its lock, what it imports from its folder, and what `Container.copy` names."""
    declared = project / f"{spec.module}.py"
    if not declared.is_file():
        raise BundleError(
            f"{spec.module}.py is not in the project",
            fix="Build from the folder of the declaration.",
            where=str(project),
        )
    modules = imports.closure(project, declared, also=spec.imports)
    found = {file.relative_to(project).as_posix(): file for file in modules}
    for source, _ in spec.image.files:
        found |= _named(project, source)
    if (project / LOCK_NAME).is_file():
        found[LOCK_NAME] = project / LOCK_NAME
    return tuple(
        Artifact(path=path, content=file.read_bytes(), executable=os.access(file, os.X_OK))
        for path, file in sorted(found.items())
    )


def _named(project: Path, source: str) -> dict[str, Path]:
    start = project / _safe(source)
    files = [file for file in start.rglob("*") if file.is_file()] if start.is_dir() else [start]
    if not start.exists():
        raise BundleError(
            f"Container.copy names {source!r}, which is not there",
            fix="Name a file or folder beside the declaration.",
            where=str(start),
        )
    return {file.relative_to(project).as_posix(): file for file in files}


def _by_path(bundle: Bundle) -> dict[str, Artifact]:
    wanted: dict[str, Artifact] = {}
    for artifact in sorted(bundle.artifacts, key=lambda artifact: artifact.path):
        path = _safe(artifact.path)
        if path in wanted or path == MANIFEST:
            raise BundleError(
                f"two files of the bundle want the path {path!r}", fix="Give one of them another name."
            )
        wanted[path] = artifact
    return wanted


def _safe(path: str) -> str:
    """The path, if it stays below its folder."""
    pure = PurePosixPath(path)
    if not path or pure.is_absolute() or ".." in pure.parts or "\\" in path or pure.as_posix() == ".":
        raise BundleError(f"{path!r} leads out of its folder", fix="Use a relative path without `..`.")
    return pure.as_posix()


def _ours(out: Path) -> Mapping[str, str]:
    """What an earlier `write` left here: path → digest."""
    manifest = out / MANIFEST
    try:
        files = json.loads(manifest.read_text())["files"]
        return {_safe(path): str(digest) for path, digest in files.items()}
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (ValueError, KeyError, TypeError, AttributeError, OSError) as exc:
        raise BundleError(
            "the list of what was built here cannot be read",
            fix="Remove the folder, or build into another one.",
            where=str(manifest),
        ) from exc


def _refuse_foreign(wanted: Mapping[str, Artifact], ours: Mapping[str, str], out: Path) -> None:
    if foreign := [path for path in wanted if path not in ours and os.path.lexists(out / path)]:
        raise BundleError(
            f"{', '.join(foreign)} is there already, and was not built by coldstart",
            fix="Move it away, or build into another folder.",
            where=str(out),
        )


def _refuse_link(out: Path, path: str) -> None:
    """A linked folder would let us write outside."""
    for parent in (out / path).relative_to(out).parents:
        if (out / parent).is_symlink() and out / parent != out:
            raise BundleError(
                f"{parent} is a link, and a bundle is not written through one",
                fix="Remove the link.",
                where=str(out),
            )


@contextmanager
def _staged(bundle: Bundle, wanted: Mapping[str, Artifact], out: Path) -> Iterator[Path]:
    """A folder beside `out` that holds the whole bundle; what is left of it goes away."""
    out.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    try:
        staging.chmod(0o755)
        for path, artifact in wanted.items():
            file = staging / path
            file.parent.mkdir(parents=True, exist_ok=True)
            artifact.put(file)
        (staging / MANIFEST).write_text(_manifest(bundle, wanted))
        yield staging
    finally:
        shutil.rmtree(staging, ignore_errors=True)


@contextmanager
def _explained(out: Path) -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        raise BundleError(
            f"the bundle cannot be written: {exc.strerror or exc}",
            fix="Build into a folder that can be written, with room in it.",
            where=str(out),
        ) from exc


def _manifest(bundle: Bundle, wanted: Mapping[str, Artifact]) -> str:
    files = {path: artifact.digest for path, artifact in wanted.items()}
    return json.dumps({"target": bundle.target, "files": files}, indent=2, sort_keys=True) + "\n"


def _remove(stale: Mapping[str, str], out: Path) -> None:
    """Take away what the new bundle no longer has, unless somebody changed it since."""
    for path, digest in stale.items():
        file = out / path
        _refuse_link(out, path)
        if file.is_file() and not file.is_symlink() and _digest_of(file) == digest:
            file.unlink()
            for parent in file.relative_to(out).parents[:-1]:
                if any((out / parent).iterdir()):
                    break
                (out / parent).rmdir()


def _is(artifact: Artifact, file: Path) -> bool:
    if not file.is_file():
        return False
    return _digest_of(file) == artifact.digest and bool(file.stat().st_mode & 0o100) == artifact.executable


def _digest(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def _digest_of(file: Path) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as opened:
        while piece := opened.read(_PIECE_BYTES):
            digest.update(piece)
    return "sha256:" + digest.hexdigest()
