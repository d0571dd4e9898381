"""What a worker lives in: a folder of this machine, or the root of an image that was built.

A room outlives its worker, so that the next one may find what the last one left.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Protocol

from coldstart_sdk.backends.runpod import dockerfile
from coldstart_sdk.backends.runpod.capabilities import CAPABILITIES
from coldstart_sdk.backends.runpod.image import insecure
from coldstart_sdk.errors import PlatformError
from coldstart_sdk.plan import Plan
from coldstart_sdk.redact import redact
from coldstart_sdk.rehearsal.runpod.disk import slowed
from coldstart_sdk.rehearsal.runpod.process import Process, bare_environment
from coldstart_sdk.rehearsal.runpod.wish import Wish

_OF_THIS_MACHINE = ("PYTHONPATH", "SSL_CERT_FILE")
_BUILDAH = "buildah"
_ISOLATED = ("--isolation", "chroot")
_DISK, _SAID = "/rehearsal/disk", "/rehearsal/said"


class Room(Protocol):
    """Where one worker after the other runs."""

    @property
    def home(self) -> Path:
        """Where a worker leaves what it fetched."""

    def worker(self, env: Mapping[str, str]) -> AbstractContextManager[Process]:
        """One worker's life, which ends with the block."""

    def empty(self) -> None:
        """A new disk; the volume stays as it is."""


class Folder:
    """A bundle's copy under the Python of this machine; nothing else of this machine shows."""

    def __init__(self, plan: Plan, bundle: Path, folder: Path, wish: Wish) -> None:
        self._plan = plan
        self._bundle = bundle
        self._made = folder / "made"
        self._slow = folder / "slow"
        self._wish = wish
        (self._made / "volume").mkdir(parents=True)
        self.empty()

    @property
    def home(self) -> Path:
        return self._place_of_files(self._made)

    def empty(self) -> None:
        shutil.rmtree(self._made / "disk", ignore_errors=True)
        shutil.copytree(self._bundle, self._made / "disk/app")

    @contextmanager
    def worker(self, env: Mapping[str, str]) -> Iterator[Process]:
        with self._at() as made:
            told = {name: os.environ[name] for name in _OF_THIS_MACHINE if name in os.environ}
            told["COLDSTART_HOME"] = str(self._place_of_files(made))
            if self._plan.volume:
                told["COLDSTART_VOLUME"] = str(made / "volume")
            bare = bare_environment(made / "disk/user")
            command = [self._wish.python, "-u", "handler.py"]
            with Process(command, made / "disk/app", {**bare, **env, **told}) as process:
                yield process

    def _place_of_files(self, made: Path) -> Path:
        """As the platform decides it: what is baked is named in the image's environment, then the volume."""
        on_volume = self._plan.volume and not dockerfile.baked(self._plan)
        return made / ("volume/.coldstart" if on_volume else "disk/home")

    @contextmanager
    def _at(self) -> Iterator[Path]:
        if self._wish.disk_bytes_s is None:
            yield self._made
            return
        with slowed(self._made, self._slow, self._wish.disk_bytes_s):
            yield self._slow


class Root:
    """The root of an image that buildah built or pulls, with the network and the clock of this machine."""

    def __init__(self, plan: Plan, bundle: Path, folder: Path, image: str) -> None:
        if shutil.which(_BUILDAH) is None:
            raise PlatformError(
                "an image's root is entered with buildah, and it is not here",
                fix="Install it (apt install buildah), or leave image out: the bundle then runs here.",
            )
        self._plan = plan
        self._image = image
        self._made = folder / "made"
        for name in ("volume", "said"):
            (self._made / name).mkdir(parents=True)
        self.empty()
        with self._container() as container:
            _refuse_another_bundle(container, bundle, image)

    @property
    def home(self) -> Path:
        return self._made / ("volume/.coldstart" if self._plan.volume else "disk")

    def empty(self) -> None:
        shutil.rmtree(self._made / "disk", ignore_errors=True)
        (self._made / "disk").mkdir()

    @contextmanager
    def worker(self, env: Mapping[str, str]) -> Iterator[Process]:
        with self._container() as container:
            told = {} if self._plan.volume or dockerfile.baked(self._plan) else {"COLDSTART_HOME": _DISK}
            self._write({**env, **told})
            mounts = [f"{self._made}/disk:{_DISK}", f"{self._made}/said:{_SAID}:ro"]
            mounts += [f"{self._made}/volume:{CAPABILITIES.volume_path}"] if self._plan.volume else []
            options = [word for mount in mounts for word in ("--volume", mount)]
            entered = ["sh", "-c", f'set -a; . {_SAID}/env; exec "$@"', "sh", *_command_of(container)]
            command = [_BUILDAH, "run", *_ISOLATED, *options, container, "--", *entered]
            with Contained(command, self._made, dict(os.environ)) as process:
                yield process

    def _write(self, env: Mapping[str, str]) -> None:
        """In a file that only we can read: a command line is everybody's to see."""
        file = self._made / "said/env"
        file.touch(mode=0o600)
        file.write_text("".join(f"{name}={shlex.quote(value)}\n" for name, value in env.items()))

    @contextmanager
    def _container(self) -> Iterator[str]:
        name = _buildah("from", *insecure(self._image), self._image).splitlines()[-1].strip()
        try:
            yield name
        finally:
            _buildah("rm", name)


class Contained(Process):
    """A worker inside a container: buildah does not hand a signal on to it."""

    def terminate(self) -> None:
        pid = self.pid
        with suppress(OSError, IndexError):
            while Path(f"/proc/{pid}/comm").read_text().startswith("buildah"):
                pid = int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])
        if self.code is None:
            os.kill(pid, signal.SIGTERM)


def _refuse_another_bundle(container: str, bundle: Path, image: str) -> None:
    inside = _buildah("run", *_ISOLATED, container, "--", "cat", f"{dockerfile.APP}/plan.json")
    if inside.strip() != (bundle / "plan.json").read_text(encoding="utf-8").strip():
        raise PlatformError(
            f"{image} was not built of this bundle",
            fix="Build it again: its Dockerfile says how.",
            where=str(bundle),
        )


def _command_of(container: str) -> list[str]:
    config = json.loads(_buildah("inspect", container))["OCIv1"]["config"]
    return [*(config.get("Entrypoint") or []), *(config.get("Cmd") or [])]


def _buildah(*words: str) -> str:
    ended = subprocess.run((_BUILDAH, *words), capture_output=True, text=True, check=False)
    if ended.returncode:
        said = " ".join(ended.stderr.split())
        raise PlatformError(
            redact(f"buildah {words[0]} failed: {said[-300:]}"),
            fix="Look at the name: `buildah images`. An image that Docker built is not among them: push it, "
            "and name it with its registry.",
        )
    return ended.stdout
