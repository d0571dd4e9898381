"""What a worker lives in: a folder of this machine, or the root of an image that was built.

A room outlives its worker, so that the next one may find what the last one left.
"""

from __future__ import annotations

import io
import json
import os
import shlex
import shutil
import signal
import subprocess
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from coldstart_sdk.backends.runpod import dockerfile
from coldstart_sdk.backends.runpod.capabilities import CAPABILITIES
from coldstart_sdk.backends.runpod.image import insecure
from coldstart_sdk.errors import PlatformError
from coldstart_sdk.plan import Plan, Work
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
        (self._made / "disk/app/plan.json").write_text(_for_here(self._bundle))

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

    def __init__(self, plan: Plan, bundle: Path, folder: Path, wish: Wish) -> None:
        if shutil.which(_BUILDAH) is None:
            raise PlatformError(
                "an image's root is entered with buildah, and it is not here",
                fix="Install it (apt install buildah), or leave image out: the bundle then runs here.",
            )
        self._plan = plan
        self._image = str(wish.image)
        self._disk_bytes_s = wish.disk_bytes_s
        self._made = folder / "made"
        self._slow = folder / "slow"
        for name in ("volume", "said"):
            (self._made / name).mkdir(parents=True)
        (self._made / "said/plan.json").write_text(_for_here(bundle))
        self.empty()
        with self._container() as container:
            _refuse_another_bundle(container, bundle, self._image)

    @property
    def home(self) -> Path:
        return self._made / ("volume/.coldstart" if self._plan.volume else "disk")

    def empty(self) -> None:
        shutil.rmtree(self._made / "disk", ignore_errors=True)
        (self._made / "disk").mkdir()

    @contextmanager
    def worker(self, env: Mapping[str, str]) -> Iterator[Process]:
        with self._container() as container, self._folders(container) as folders:
            told = {} if self._plan.volume or dockerfile.baked(self._plan) else {"COLDSTART_HOME": _DISK}
            self._write({**env, **told})
            mounts = [f"{folder}:{place}" for place, folder in folders.items()]
            mounts += [f"{self._made}/said:{_SAID}:ro"]
            mounts += [f"{self._made}/said/plan.json:{dockerfile.APP}/plan.json:ro"]
            options = [word for mount in mounts for word in ("--volume", mount)]
            entered = ["sh", "-c", f'set -a; . {_SAID}/env; exec "$@"', "sh", *_command_of(container)]
            command = [_BUILDAH, "run", *_ISOLATED, *options, container, "--", *entered]
            with Contained(command, self._made, dict(os.environ)) as process:
                yield process

    @contextmanager
    def _folders(self, container: str) -> Iterator[Mapping[str, Path]]:
        """What a disk's speed holds for: place in the root → the folder of this machine that is there."""
        volume = CAPABILITIES.volume_path if self._plan.volume else None
        made = {_DISK: "disk", **({volume: "volume"} if volume else {})}
        if self._disk_bytes_s is None:
            yield {place: self._made / name for place, name in made.items()}
            return
        with ExitStack() as stack:
            stack.enter_context(slowed(self._made, self._slow, self._disk_bytes_s))
            folders = {place: self._slow / name for place, name in made.items()}
            if dockerfile.baked(self._plan):
                inside = Path(_buildah("mount", container).strip()) / dockerfile.MODELS.lstrip("/")
                stack.callback(_buildah, "umount", container)
                folders[dockerfile.MODELS] = self._slow.with_name("models")
                stack.enter_context(slowed(inside, folders[dockerfile.MODELS], self._disk_bytes_s))
            yield folders

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


def _for_here(bundle: Path) -> str:
    """The bundle's plan, but that a GPU may be missing: this machine need not have what the platform has."""
    plan = Plan.from_json((bundle / "plan.json").read_text(encoding="utf-8"))
    steps = (replace(step, required=False) if step.work is Work.DRIVER else step for step in plan.steps)
    return replace(plan, steps=tuple(steps)).to_json()


def _refuse_another_bundle(container: str, bundle: Path, image: str) -> None:
    ours = [bundle / "plan.json", bundle / "handler.py", *(bundle / "code").rglob("*")]
    wanted = {file.relative_to(bundle).as_posix(): file.read_bytes() for file in ours if file.is_file()}
    packed = _said("run", *_ISOLATED, container, "--", "tar", "-C", dockerfile.APP, "-cf", "-", ".")
    with tarfile.open(fileobj=io.BytesIO(packed)) as inside:
        found = {each.name.removeprefix("./"): inside.extractfile(each) for each in inside if each.isfile()}
        other = [
            name
            for name, content in wanted.items()
            if not (file := found.get(name)) or file.read() != content
        ]
    if other:
        raise PlatformError(
            f"{image} was not built of this bundle: {other[0]} is another one there",
            fix="Build it again: the Dockerfile says how.",
            where=str(bundle),
        )


def _command_of(container: str) -> list[str]:
    config = json.loads(_buildah("inspect", container))["OCIv1"]["config"]
    return [*(config.get("Entrypoint") or []), *(config.get("Cmd") or [])]


def _buildah(*words: str) -> str:
    return _said(*words).decode()


def _said(*words: str) -> bytes:
    ended = subprocess.run((_BUILDAH, *words), capture_output=True, check=False)
    if ended.returncode:
        said = " ".join(ended.stderr.decode("utf-8", "replace").split())
        raise PlatformError(
            redact(f"buildah {words[0]} failed: {said[-300:]}"),
            fix="Look at the name: `buildah images`. An image that Docker built is not among them: push it, "
            "and name it with its registry.",
        )
    return ended.stdout
