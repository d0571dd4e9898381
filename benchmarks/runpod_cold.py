"""A worker's cold start on RunPod: ours against the handler that one writes first, under RunPod's own worker.

The peer does what guides show: the hub's own `snapshot_download`, then `import torch`, then load, then
`runpod.serverless.start`. Ours is the same class declared and compiled. Same weights, same link of a chosen
speed to a hub on loopback, the same torch and `runpod`; a job waits when the process is started, as it does
on a cold platform. In turns, first with an empty disk, then on the files of that start. What can be gained is
the smaller part of fetch and imports, so the ratio is highest where they take about as long.

    python -m benchmarks.runpod_cold [ROUNDS] [MIB] [MB_A_SECOND]
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.paired import machine, ratios, spread
from coldstart_sdk.rehearsal.hub import Hub
from coldstart_sdk.rehearsal.runpod.jobs import Jobs
from coldstart_sdk.rehearsal.runpod.process import Process, bare_environment

BY_HAND = """\
from huggingface_hub import snapshot_download

folder = snapshot_download("bench/model")

import torch

model = torch.load(f"{folder}/model.pt", weights_only=True)

import runpod


def handler(job):
    return float(model["w"][job["input"]["row"]].sum())


runpod.serverless.start({"handler": handler})
"""
DECLARED = """\
import torch
from coldstart_sdk import Weights, endpoint, hook, warm_model


@warm_model(name="model", weights={"model": Weights.hf("bench/model")})
class Model:
    @hook.load
    def load(self, weights):
        self.model = torch.load(weights["model"].path / "model.pt", weights_only=True)

    @endpoint
    def row(self, row: int) -> float:
        return float(self.model["w"][row].sum())
"""
SHM = Path("/dev/shm")  # noqa: S108 - memory, so that what else is written to this machine's disk is no part of it
STATES = ("empty", "kept")
ROW = 3


def main(rounds: int, mib: int, mb_s: float) -> None:
    took: dict[tuple[str, str], list[float]] = {}
    with tempfile.TemporaryDirectory(dir=SHM if SHM.is_dir() else None) as scratch:
        folder = Path(scratch)
        expected = _weights(folder / "hub" / "bench" / "model", mib)
        started = {"by hand": _by_hand(folder / "by-hand"), "ours": _declared(folder / "ours")}
        with Hub(folder / "hub", rate_bytes_s=mb_s * 1e6, process=True) as hub:
            for _ in range(rounds):
                for name, (command, at) in started.items():
                    disk = folder / "disk" / name.replace(" ", "-")
                    shutil.rmtree(disk, ignore_errors=True)
                    for state in STATES:
                        seconds = _cold(command, at, disk, hub.endpoint, expected)
                        took.setdefault((state, name), []).append(seconds)
    print(f"{machine()}; {mib} MiB of weights over {mb_s:g} MB/s")
    for (state, name), times in took.items():
        print(f"{state:5}  {name:7}  process to first answer  {spread(times)} s")
    for state in STATES:
        ratio = ratios(took[state, "by hand"], took[state, "ours"])
        print(f"{state:5}  by hand over ours, round by round: {ratio}")
    print(json.dumps({" ".join(key): [round(each, 3) for each in times] for key, times in took.items()}))


def _weights(folder: Path, mib: int) -> float:
    """A table of numbers; what its row adds up to."""
    import torch  # noqa: PLC0415 - only this process makes weights

    torch.manual_seed(1)
    table = torch.randn(mib * 256, 1024)
    folder.mkdir(parents=True)
    torch.save({"w": table}, folder / "model.pt")
    return float(table[ROW].sum())


def _by_hand(folder: Path) -> tuple[list[str], Path]:
    folder.mkdir()
    (folder / "handler.py").write_text(BY_HAND)
    return [sys.executable, "-u", "handler.py"], folder


def _declared(folder: Path) -> tuple[list[str], Path]:
    folder.mkdir()
    (folder / "app.py").write_text(DECLARED)
    command = [sys.executable, "-m", "coldstart_sdk.cli", "build", "app.py", "--target", "runpod"]
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    bundle = folder / "build" / "runpod"
    compiled = [sys.executable, "-m", "compileall", "-q", str(bundle)]  # as its Dockerfile does
    subprocess.run(compiled, check=True)
    return [sys.executable, "-u", "handler.py"], bundle


def _cold(command: list[str], folder: Path, disk: Path, hub: str, expected: float) -> float:
    """Seconds from the start of the process to the answer of the job that was waiting."""
    with Jobs(hold_s=1.0) as jobs:
        env = bare_environment(disk) | jobs.environment()
        env |= {"HF_ENDPOINT": hub, "COLDSTART_HOME": str(disk / "coldstart"), "HF_HUB_DISABLE_XET": "1"}
        if "PYTHONPATH" in os.environ:
            env["PYTHONPATH"] = os.environ["PYTHONPATH"]
        job = jobs.submit({"row": ROW})
        began = time.monotonic()
        with Process(command, folder, env) as worker:
            jobs.result(job, 300.0)
            seconds = time.monotonic() - began
            assert job.status == "COMPLETED", worker.text
            assert abs(job.output - expected) < 1e-2, job.output
    return seconds


if __name__ == "__main__":
    said = sys.argv[1:]
    main(
        int(said[0]) if said else 5,
        int(said[1]) if len(said) > 1 else 128,
        float(said[2]) if len(said) > 2 else 25.0,
    )
