"""From Modal's restore to the first HTTP answer: our app, built before the snapshot, against the plain way.

All run in Modal's own container on a control plane on loopback, in turns. `plain` is what a module without
coldstart does: FastAPI is imported, and its app built, when Modal asks for it, which is after each restore.
`careful` imports FastAPI and aiohttp before the snapshot, and builds the app after it.
The restore itself is Modal's and is not in these figures; what follows it is.

    python -m benchmarks.modal_restore [ROUNDS]
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx

from benchmarks.paired import machine, ratios, spread
from coldstart_sdk.rehearsal.modal.plane import Plane

PROXY = {"modal-key": "k", "modal-secret": "s"}
PLAIN = """
import modal
{imports}
app = modal.App("{name}")
image = modal.Image.debian_slim(python_version="3.11").uv_pip_install("fastapi")


@app.cls(image=image, enable_memory_snapshot=True)
class Model:
    @modal.enter(snap=True)
    def load(self):
        self.greeting = "hello"

    @modal.enter()
    def restored(self):
        import time

        print(f"restored {{time.time()}}", flush=True)

    @modal.asgi_app()
    def http(self):
        from fastapi import Body, FastAPI

        web = FastAPI()

        @web.post("/speak")
        def speak(text: str = Body(embed=True)) -> dict[str, str]:
            return {{"result": f"{{self.greeting}} {{text}}"}}

        return web
"""
PEERS = {"plain": "", "careful": "import aiohttp, fastapi"}
OURS = """
import time
from coldstart_sdk import endpoint, hook, warm_model


@warm_model(name="ours", overrides={"modal": {"public": True}})
class Model:
    @hook.load
    def load(self):
        self.greeting = "hello"

    @hook.restored
    def restored(self):
        print(f"restored {time.time()}", flush=True)

    @endpoint
    def speak(self, text: str) -> str:
        return f"{self.greeting} {text}"
"""


def main(rounds: int) -> None:
    with tempfile.TemporaryDirectory() as scratch, Plane() as plane:
        folder = Path(scratch)
        for name, imports in PEERS.items():
            _deploy_peer(folder, plane, name, imports)
        _deploy_ours(folder, plane)
        took: dict[str, list[float]] = {**{name: [] for name in PEERS}, "ours": []}
        for _ in range(rounds):
            for name, times in took.items():
                times.append(_cold(plane, name))
    print(machine())
    for name, times in took.items():
        print(f"{name:8} restore to first HTTP answer  {spread(times)} s")
    for name in PEERS:
        print(f"ours over {name}, round by round: {ratios(took['ours'], took[name])}")
    print(json.dumps({name: [round(each, 4) for each in times] for name, times in took.items()}))


def _deploy_peer(folder: Path, plane: Plane, name: str, imports: str) -> None:
    (folder / f"{name}_app.py").write_text(PLAIN.format(name=name, imports=imports))
    _modal(plane, folder / f"{name}_app.py")


def _deploy_ours(folder: Path, plane: Plane) -> None:
    (folder / "app.py").write_text(OURS)
    command = [sys.executable, "-m", "coldstart_sdk.cli", "build", "app.py", "--target", "modal"]
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _modal(plane, folder / "build/modal/modal_app.py")


def _modal(plane: Plane, module: Path) -> None:
    command = [sys.executable, "-m", "modal", "deploy", str(module)]
    subprocess.run(command, env={**os.environ, **plane.env}, check=True, stdout=subprocess.DEVNULL)


def _cold(plane: Plane, name: str) -> float:
    """Seconds from the hook that runs first after the restore to the whole answer at the caller."""
    app = plane.world.app_named(name)
    assert app, name
    lines = len(plane.world.lines.chunks)
    url = f"{plane.containers.web}/{app.id}/http/speak"
    answer = httpx.post(url, json={"text": "you"}, headers=PROXY, timeout=60.0)
    answered = time.time()
    assert answer.json() == {"result": "hello you"}, answer.text
    said = [line.text for line in plane.world.lines.chunks[lines:] if line.text.startswith("restored ")]
    plane.do(plane.containers.stop_app(app))
    return answered - float(said[-1].split()[1])


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10)
