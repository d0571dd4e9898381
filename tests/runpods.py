"""The real `runpod` package in each version that we promise: the installed one, and the next one's candidate.

That one lies in `DIR/runpod-VERSION`, where DIR is the environment's own folder; it was put there by
`pip install --no-deps --target DIR/runpod-VERSION runpod==VERSION`: what its worker needs is the same.
"""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from importlib import metadata, util
from pathlib import Path

import pytest

from coldstart_sdk import __version__, bundle, entry
from coldstart_sdk.backends.runpod import backend
from coldstart_sdk.declare.read import read
from coldstart_sdk.planner import plan
from coldstart_sdk.rehearsal.runpod.jobs import Jobs
from coldstart_sdk.rehearsal.runpod.process import Process, bare_environment

NEXT = ("2.0.0rc2",)


@dataclass(frozen=True, kw_only=True)
class RunPod:
    """One version of the package, for processes that a test starts."""

    version: str
    path: Path | None = None
    """Where it lies, if it is not the installed one."""

    @property
    def env(self) -> dict[str, str]:
        """What makes a process find this version."""
        return {"PYTHONPATH": str(self.path)} if self.path else {}


def _versions() -> list[object]:
    if util.find_spec("runpod") is None:
        skip = pytest.mark.skip(reason="could not import 'runpod': No module named 'runpod'")
        return [pytest.param(RunPod(version="none"), marks=skip, id="none")]
    installed = metadata.version("runpod")
    params: list[object] = [pytest.param(RunPod(version=installed), id=installed)]
    for version in NEXT:
        path = Path(sys.prefix) / f"runpod-{version}"
        module = f"runpod.{version.replace('.', '_')}"
        reason = f"could not import '{module}': {path.name} is not beside the environment"
        marks = [] if path.is_dir() else [pytest.mark.skip(reason=reason)]
        params.append(pytest.param(RunPod(version=version, path=path), id=version, marks=marks))
    return params


VERSIONS = _versions()


HEAD = """\
import asyncio, os, sys, threading, time
from pathlib import Path
from coldstart_sdk import File, Scale, endpoint, hook, warm_model
HERE = Path(__file__).parent
"""
TOO_LONG_S = 60.0


class Platform:
    """One endpoint, and what a test starts on it."""

    def __init__(self, folder: Path, runpod: RunPod, jobs: Jobs, stack: ExitStack) -> None:
        self.folder = folder
        self.jobs = jobs
        self.runpod = runpod
        self._stack = stack

    def worker(self, source: str, *, also: Mapping[str, str] | None = None) -> Process:
        """The compiled bundle of the one class in `source`, running."""
        self.folder.mkdir(exist_ok=True)
        module = f"declared_{abs(hash((source, str(self.folder)))) % 10**9}"
        path = self.folder / f"{module}.py"
        path.write_text(HEAD + textwrap.dedent(source))
        before = list(sys.path)
        try:
            declared = read(entry.load(str(path)))
        finally:
            sys.path[:] = before
            sys.modules.pop(module, None)
        made = plan(declared, "runpod", backend.capabilities, sdk=__version__)
        out = self.folder / "bundle"
        bundle.write(backend.compile(made, self.folder), out)
        env = bare_environment(self.folder / "home") | self.jobs.environment() | self.runpod.env
        env |= {"COLDSTART_HOME": str(self.folder / "kept"), "TMPDIR": str(self.folder), **(also or {})}
        command = [sys.executable, "-u", "handler.py"]
        return self._stack.enter_context(Process(command, out, env))

    def file(self, name: str) -> Path:
        """Something that the declaration writes beside its code."""
        return self.folder / "bundle" / "code" / name
