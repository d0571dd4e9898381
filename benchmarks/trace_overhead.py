"""What looking inside steps costs until READY: cold starts with the recorder and without it, in turns.

    python -m benchmarks.trace_overhead                     CPU seconds and seconds to ready, paired
    python -m benchmarks.trace_overhead --instructions      the same, counted: needs valgrind, takes minutes

Seconds vary by more than a hundredth from one start to the next, so their ratio has an uncertainty beside it.
Instructions vary less, on a busy machine too. The worker ends itself in its first request, so that what is
looked up after READY is not counted.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.paired import machine, ratios, spread

APP = """\
import os
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
        self.is_warm = True

    @endpoint
    def speak(self, text: str) -> str:
        if os.environ.get("END_AT_READY") and hasattr(self, "is_warm"):
            os._exit(0)
        return text
"""
KINDS = {
    "small": "import json",
    "sympy": "import sympy\nassert sympy",
    "torch": "import torch\nassert torch.ones(1).sum() == 1",
}
_SLOWED = 40
"""How many times slower valgrind is, about: what the recorder leaves out for being short is scaled by it."""
_SCALED = f"""\
import os
if os.environ.get("END_AT_READY"):
    from coldstart_sdk.recorder import imports, tensors
    imports._LEAST_S *= {_SLOWED}
    tensors._LEAST_S *= {_SLOWED}
"""
_WORKER = "coldstart_sdk.backends.local.worker"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--kind", choices=[*KINDS], action="append")
    parser.add_argument("--instructions", action="store_true")
    said = parser.parse_args()
    print(machine())
    with tempfile.TemporaryDirectory() as folder:
        for kind in said.kind or KINDS:
            app = Path(folder) / kind / "app.py"
            app.parent.mkdir()
            app.write_text(APP.format(imports=KINDS[kind]))
            timed(app, folder, record=True)  # the declaration is read once, and its bytecode written
            if said.instructions:
                _count(kind, app, folder)
            else:
                _time(kind, app, folder, said.rounds)


def timed(app: Path, home: str, *, record: bool) -> tuple[float, float]:
    """(CPU seconds, seconds to ready) of one start and one answer."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    ended = subprocess.run(
        [*_command(app), "--json"], env=_env(home, record=record), capture_output=True, text=True, check=True
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    told = json.loads(ended.stdout.splitlines()[-1])
    inside = [span for span in json.loads(Path(told["trace"]).read_text())["spans"] if span["parent"]]
    assert bool(inside) == record, "the switch does what it says"
    cpu_s = (after.ru_utime + after.ru_stime) - (before.ru_utime + before.ru_stime)
    return cpu_s, float(told["ready_s"])


def counted(app: Path, home: str, *, record: bool) -> int:
    """Instructions of the worker until READY, in user space."""
    with tempfile.TemporaryDirectory() as logs:
        (Path(logs) / "sitecustomize.py").write_text(_SCALED)
        valgrind = ["valgrind", "--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null"]
        subprocess.run(
            [*valgrind, "--trace-children=yes", f"--log-file={logs}/%p.log", *_command(app)],
            env={
                **_env(home, record=record),
                "END_AT_READY": "1",
                "PYTHONHASHSEED": "0",
                "PYTHONPATH": os.pathsep.join([logs, *sys.path]),
            },
            capture_output=True,
            check=False,  # a worker that ends itself is a failure to whoever waits for its answer
        )
        texts = [log.read_text() for log in Path(logs).glob("*.log")]
    worker = next(text for text in texts if _WORKER in text)
    found = re.search(r"I\s+refs:\s+([\d,]+)", worker)
    assert found, worker
    return int(found[1].replace(",", ""))


def _time(kind: str, app: Path, home: str, rounds: int) -> None:
    measured = []
    for number in range(rounds):
        order = (True, False) if number % 2 else (False, True)
        pair = {record: timed(app, home, record=record) for record in order}
        measured.append((pair[True], pair[False]))
    for at, what in enumerate(("CPU", "ready")):
        on, off = ([pair[side][at] for pair in measured] for side in (0, 1))
        each = [one / other for one, other in zip(on, off, strict=True)]
        least, most = _interval(each)
        print(
            f"{kind:<6} {what:<6} on {spread(on)} s, off {spread(off)} s, ratio {ratios(on, off)}, "
            f"its median between {least:.3f} and {most:.3f}",
            flush=True,
        )


def _count(kind: str, app: Path, home: str) -> None:
    on, off = (sorted(counted(app, home, record=record) for _ in range(2)) for record in (True, False))
    noise = max((many[1] - many[0]) / many[0] for many in (on, off))
    print(
        f"{kind:<6} instructions to ready: on {on[0] / 1e6:.1f} M, off {off[0] / 1e6:.1f} M, "
        f"ratio {on[0] / off[0]:.4f}; two counts of one differ by {noise:.2%} at most",
        flush=True,
    )


def _interval(values: Sequence[float]) -> tuple[float, float]:
    """Where the median lies, nineteen times of twenty: the bootstrap."""
    draw = random.Random(1)  # noqa: S311 - no secret
    medians = sorted(statistics.median(draw.choices(values, k=len(values))) for _ in range(2000))
    return medians[50], medians[-51]


def _command(app: Path) -> list[str]:
    return [sys.executable, "-m", "coldstart_sdk.cli", "run", str(app), "-i", "text=hi", "--quiet"]


def _env(home: str, *, record: bool) -> Mapping[str, str]:
    return {**os.environ, "COLDSTART_HOME": home, "COLDSTART_RECORD": "1" if record else "0"}


if __name__ == "__main__":
    main()
