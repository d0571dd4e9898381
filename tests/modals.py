"""A declaration, compiled and deployed by the real client to the loopback plane, and called through it."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import coldstart_sdk
from coldstart_sdk import bundle, entry, planner
from coldstart_sdk.backends.modal import backend
from coldstart_sdk.declare.read import read
from coldstart_sdk.plan import Plan
from tests.modal_clients import Client

if TYPE_CHECKING:
    from coldstart_sdk.rehearsal.modal.plane import Plane

HEAD = """
import asyncio, os, random, threading, time
from pathlib import Path
from coldstart_sdk import Audio, File, Scale, endpoint, hook, warm_model
HERE = Path(__file__).parent
SAID = HERE / "said"

def say(word):
    with SAID.open("a") as file:
        file.write(word + "\\n")
"""
CALLER = """
import json, modal, os, sys
Model = modal.Cls.from_name("model", "Model")
model = Model()
def tell(value):
    print("=" + json.dumps(value), flush=True)
def failing(call):
    try:
        tell({"value": call()})
    except Exception as error:
        tell({"type": type(error).__name__, "text": str(error)})
"""
TOO_LONG_S = 90
"""A guard against a hang."""


@dataclass
class Ended:
    """How a command of the client's ended."""

    code: int
    out: str
    err: str

    @property
    def told(self) -> list[Any]:
        return [json.loads(line[1:]) for line in self.out.splitlines() if line.startswith("=")]


@dataclass
class Deployed:
    """One project, its plane, and the client that talks to it."""

    folder: Path
    plane: Plane
    client: Client
    plans: list[Plan] = field(default_factory=list)

    def write(
        self, body: str, options: str = "", head: str = "", *, sdk: str = coldstart_sdk.__version__
    ) -> None:
        text = f"{HEAD}{head}\n@warm_model(name='model'{options and ', '}{options})\nclass Model:\n"
        body = textwrap.indent(textwrap.dedent(body), "    ")
        name = f"declared_{self.folder.name.replace('-', '_')}_{len(self.plans)}"
        (self.folder / f"{name}.py").write_text(text + body)
        before = list(sys.path)
        try:
            spec = read(entry.load(str(self.folder / f"{name}.py")))
        finally:
            sys.path[:] = before
            sys.modules.pop(name, None)
        plan = planner.plan(spec, "modal", backend.capabilities, sdk=sdk)
        self.plans.append(plan)
        bundle.write(backend.compile(plan, self.folder), self.bundle)

    @property
    def bundle(self) -> Path:
        return self.folder / "build/modal"

    def run(self, *arguments: str) -> Ended:
        """Run Python in the client's version, talking to the plane."""
        ended = subprocess.run(
            [sys.executable, *arguments],
            capture_output=True,
            text=True,
            cwd=self.folder,
            env=self.client.env(**self.plane.env),
            timeout=TOO_LONG_S,
            check=False,
        )
        return Ended(code=ended.returncode, out=ended.stdout, err=ended.stderr)

    def modal(self, *arguments: str) -> Ended:
        return self.run("-m", "modal", *arguments)

    def deploy(self, body: str, options: str = "", head: str = "") -> Ended:
        self.write(body, options, head)
        return self.modal("deploy", str(self.bundle / "modal_app.py"))

    def call(self, script: str) -> list[Any]:
        """What a caller's script told."""
        ended = self.run("-c", CALLER + textwrap.dedent(script))
        assert ended.code == 0, f"{ended.err}\n{self.log}"
        return ended.told

    def stop(self) -> None:
        app = self.plane.world.app_named("model")
        assert app
        self.plane.do(self.plane.containers.stop_app(app))

    @property
    def said(self) -> list[list[str]]:
        """What the hooks of each container said, in order, by container."""
        found = sorted(self.plane.world.folder.glob("tasks/*/root/code/said"))
        return [file.read_text().split() for file in found]

    @property
    def log(self) -> str:
        return "".join(line.text for line in self.plane.world.lines.chunks)

    @property
    def events(self) -> list[Any]:
        lines = [line.text for line in self.plane.world.lines.chunks]
        return [json.loads(line[10:]) for line in lines if line.startswith("coldstart {")]

    @property
    def rpcs(self) -> list[str]:
        return [seen.rpc for seen in self.plane.world.seen]

    @property
    def web(self) -> str:
        app = self.plane.world.app_named("model")
        assert app
        return f"{self.plane.containers.web}/{app.id}/http"


@contextmanager
def a_plane(
    folder: Path,
    client: Client,
    *,
    secrets: Mapping[str, Mapping[str, str]] | None = None,
    env: Mapping[str, str] | None = None,
    commit_every_s: float | None = 5.0,
) -> Iterator[Deployed]:
    from coldstart_sdk.rehearsal.modal.plane import Plane

    path = {"PYTHONPATH": str(client.path)} if client.path else {}
    with Plane(secrets=secrets, env={**path, **(env or {})}, commit_every_s=commit_every_s) as plane:
        yield Deployed(folder=folder, plane=plane, client=client)
