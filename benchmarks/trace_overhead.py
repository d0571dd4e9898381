"""What looking inside steps costs: cold starts with the recorder and without it, in turns.

CPU seconds of the whole worker are the figure to trust on a busy machine; time to ready is what a user feels.

    python -m benchmarks.trace_overhead --rounds 10
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.paired import machine, ratios, spread

APP = """\
{imports}
from coldstart_sdk import endpoint, hook, warm_model


@warm_model
class Model:
    @hook.load
    def load(self):
        self.words = [str(n) for n in range(1000)]

    @hook.warmup
    def warm(self):
        self.speak("a")

    @endpoint
    def speak(self, text: str) -> str:
        return text
"""
KINDS = {
    "small": "import json",
    "torch": "import torch\nassert torch.ones(1).sum() == 1",
}


def start(app: Path, home: str, *, record: bool) -> tuple[float, float]:
    """(CPU seconds, seconds to ready) of one start and one answer."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    ended = subprocess.run(
        [sys.executable, "-m", "coldstart_sdk.cli", "run", str(app), "-i", "text=hi", "--json", "--quiet"],
        env={**os.environ, "COLDSTART_HOME": home, "COLDSTART_RECORD": "1" if record else "0"},
        capture_output=True,
        text=True,
        check=True,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    told = json.loads(ended.stdout.splitlines()[-1])
    inside = [span for span in json.loads(Path(told["trace"]).read_text())["spans"] if span["parent"]]
    assert bool(inside) == record, "the switch does what it says"
    cpu_s = (after.ru_utime + after.ru_stime) - (before.ru_utime + before.ru_stime)
    return cpu_s, float(told["ready_s"])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--kind", choices=[*KINDS], action="append")
    said = parser.parse_args()
    print(machine())
    with tempfile.TemporaryDirectory() as folder:
        for kind in said.kind or KINDS:
            app = Path(folder) / kind / "app.py"
            app.parent.mkdir()
            app.write_text(APP.format(imports=KINDS[kind]))
            start(app, folder, record=True)  # the declaration is read once, and its bytecode written
            measured = [
                (start(app, folder, record=True), start(app, folder, record=False))
                for _ in range(said.rounds)
            ]
            for at, what in enumerate(("CPU", "ready")):
                on, off = ([pair[side][at] for pair in measured] for side in (0, 1))
                print(f"{kind:<6} {what:<6} on {spread(on)} s, off {spread(off)} s, ratio {ratios(on, off)}")


if __name__ == "__main__":
    main()
