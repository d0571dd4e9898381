"""One class on three targets, and its cold starts side by side in one picture.

Here, under RunPod's own job loop and under Modal's own container, each on loopback; on Modal once before the
snapshot and once after the restore. Each waterfall has its own scale.

    python -m benchmarks.three_targets docs/pictures/three-targets.svg
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.paired import machine
from coldstart_sdk.rehearsal.runpod.jobs import Jobs
from coldstart_sdk.rehearsal.runpod.process import Process, bare_environment
from coldstart_sdk.trace.model import Trace
from coldstart_sdk.trace.svg import render_svg

CLASS = """
import time
from coldstart_sdk import endpoint, hook, warm_model


@warm_model(name="voice", imports=["numpy"])
class Voice:
    @hook.load
    def load(self):
        time.sleep(0.6)  # stands for reading weights

    @hook.restored
    def restored(self):
        time.sleep(0.05)  # stands for the move to a device

    @hook.warmup
    def warm(self):
        time.sleep(0.1)

    @endpoint
    def speak(self, text: str = "hi") -> str:
        return text
"""
CAPTIONS = ("here", "RunPod", "Modal, before the snapshot, once", "Modal, after the restore")
_ACROSS = 900


def main(out: Path) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / "voice.py").write_text(CLASS)
        traces = [_here(folder), _on_runpod(folder), *_on_modal(folder)]
    out.write_text(_side_by_side(traces), encoding="utf-8")
    for caption, trace in zip(CAPTIONS, traces, strict=True):
        ready_s = trace.anchors.ready_s
        print(f"{caption:34} " + ("not ready yet" if ready_s is None else f"ready in {ready_s:.3f} s"))
    print(machine())


def _coldstart(folder: Path, *arguments: str) -> str:
    command = [sys.executable, "-m", "coldstart_sdk.cli", *arguments]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout


def _here(folder: Path) -> Trace:
    said = json.loads(_coldstart(folder, "run", "voice.py", "speak", "--json"))
    return Trace.from_json(Path(said["trace"]).read_text())


def _on_runpod(folder: Path) -> Trace:
    _coldstart(folder, "build", "voice.py", "--target", "runpod")
    with Jobs() as jobs:
        environment = bare_environment(folder / "user") | jobs.environment()
        environment |= {"COLDSTART_HOME": str(folder / "home")}
        with Process([sys.executable, "-u", "handler.py"], folder / "build/runpod", environment):
            jobs.result(jobs.submit({"endpoint": "speak"}))
            output = jobs.result(jobs.submit({"endpoint": "trace"})).output
    return Trace.from_json(json.dumps(output[0] if isinstance(output, list) else output))


def _on_modal(folder: Path) -> Iterator[Trace]:
    _coldstart(folder, "rehearse", "voice.py", "--target", "modal")
    for name in ("before", "after"):
        yield Trace.from_json((folder / f"build/modal/rehearsal/{name}.trace.json").read_text())


def _side_by_side(traces: list[Trace]) -> str:
    """Two by two, each under its caption."""
    pictures = [render_svg(trace) for trace in traces]
    heights = [int(found[1]) for picture in pictures if (found := re.search(r'height="(\d+)"', picture))]
    rows = [max(heights[start : start + 2]) + 40 for start in range(0, len(pictures), 2)]
    parts = []
    for number, (caption, picture) in enumerate(zip(CAPTIONS, pictures, strict=True)):
        row, column = divmod(number, 2)
        x, y = column * _ACROSS, sum(rows[:row])
        parts.append(f'<text x="{x + 4}" y="{y + 22}" style="font:600 16px sans-serif">{caption}</text>')
        parts.append(picture.replace("<svg ", f'<svg x="{x}" y="{y + 32}" ', 1))
    size = f'viewBox="0 0 {2 * _ACROSS} {sum(rows)}" width="{2 * _ACROSS}" height="{sum(rows)}"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">\n' + "\n".join(parts) + "\n</svg>\n"


if __name__ == "__main__":
    main(Path(sys.argv[1]))
