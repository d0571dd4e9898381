"""Build a bundle's image and push it, with what is here: Docker, buildah, or neither."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from coldstart_sdk.errors import PlatformError, UsageError

PLATFORM = "linux/amd64"
_FOR_SURE_S = 20.0


class Builder(Protocol):
    """Brings an image into its registry."""

    def __call__(self, bundle: Path, image: str, secrets: Sequence[str]) -> None: ...


def build_and_push(bundle: Path, image: str, secrets: Sequence[str]) -> None:
    """With the one that COLDSTART_BUILDER names, else the first that works; what it says goes to stderr.

    Credentials are the tool's own: those of `docker login`.
    """
    wanted = os.environ.get("COLDSTART_BUILDER") or _first_that_works()
    if wanted not in _BUILDERS:
        raise UsageError(
            f"COLDSTART_BUILDER={wanted[:40]} is no builder", fix=f"It is one of {', '.join(_BUILDERS)}."
        )
    _BUILDERS[wanted](bundle, image, secrets)


def _first_that_works() -> str:
    if _works("docker", "info"):
        return "docker"
    return "buildah" if _works("buildah", "--version") else "registry"


def _with_docker(bundle: Path, image: str, secrets: Sequence[str]) -> None:
    with _secret_files(secrets) as files:
        _run("docker", *_docker(image, files), ".", cwd=bundle)


def _with_buildah(bundle: Path, image: str, secrets: Sequence[str]) -> None:
    with _secret_files(secrets) as files:
        _run("buildah", "bud", *_buildah(image, files), ".", cwd=bundle)
        _run("buildah", "push", *insecure(image), image, f"docker://{image}", cwd=bundle)


def _in_registry(bundle: Path, image: str, secrets: Sequence[str]) -> None:
    from coldstart_sdk.backends.runpod.append import append_and_push  # noqa: PLC0415 - only without a builder

    append_and_push(bundle, image, secrets)


_BUILDERS: Mapping[str, Builder] = {
    "docker": _with_docker,
    "buildah": _with_buildah,
    "registry": _in_registry,
}


def _docker(image: str, secrets: dict[str, Path]) -> Iterator[str]:
    yield from ("buildx", "build", "--platform", PLATFORM, "--tag", image, "--push")
    yield from _given(secrets)


def _buildah(image: str, secrets: dict[str, Path]) -> Iterator[str]:
    yield from ("--platform", PLATFORM, "--layers", "--timestamp", "0", "--tag", image)
    yield from _given(secrets)
    # How the tool is set up on this machine, and nothing of the bundle: isolation, mounts, storage.
    yield from os.environ.get("COLDSTART_BUILDAH_OPTIONS", "").split()


def insecure(image: str) -> Iterator[str]:
    """What a registry on this machine, which has no TLS, needs to be said."""
    host = image.partition("/")[0]
    if host.partition(":")[0] in {"localhost", "127.0.0.1"}:
        yield "--tls-verify=false"


def _given(secrets: dict[str, Path]) -> Iterator[str]:
    for name, file in secrets.items():
        # Named as a file: buildah takes it for a variable where one of that name is set.
        yield from ("--secret", f"type=file,id={name},src={file}")


@contextmanager
def _secret_files(names: Sequence[str]) -> Iterator[dict[str, Path]]:
    """Secrets that are set here, as files that only we can read, for as long as the build takes."""
    with tempfile.TemporaryDirectory(prefix="coldstart-secrets-") as folder:
        files = {name: Path(folder) / name for name in names if os.environ.get(name)}
        for name, file in files.items():
            file.touch(mode=0o600)
            file.write_text(os.environ[name])
        yield files


def _works(program: str, argument: str) -> bool:
    """Whether it can really be used: a client without its daemon answers to --version too."""
    if shutil.which(program) is None:
        return False
    try:
        ended = subprocess.run([program, argument], capture_output=True, timeout=_FOR_SURE_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return ended.returncode == 0


def _run(*command: str, cwd: Path) -> None:
    ended = subprocess.run(command, cwd=cwd, stdout=sys.stderr.fileno(), check=False)
    if ended.returncode:
        raise PlatformError(
            f"{command[0]} {command[1]} ended with {ended.returncode}",
            fix="What it said is above; the folder can be built by hand with the command in its Dockerfile.",
            where=str(cwd),
        )
