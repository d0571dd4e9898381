"""How close a cold start comes to its lower bound: `python -m benchmarks.overlap [ROUNDS]`.

One class is started cold by the real worker: it fetches a file over a throttled link, imports torch, loads
the file on the CPU and warms up. `ready` is the time from the process's start, read from the kernel, to
READY. It is held against

    LB = max(path, CPU seconds / usable cores, bytes / measured link)

and against the same steps in sequence. All of it is measured anew in each round, in alternating order:

- `sequence` is a start of the same plan whose steps wait for one another, so each runs alone in its process.
- `path` is the longest way through the plan's graph, each step weighing what it took alone in that run, plus
  what comes before its first step (interpreter, our own modules) and after its last. Later steps profit there
  from modules that earlier ones imported, so the bound is rather too low than too high.
- CPU seconds are those of the whole worker process up to the end of warm-up in that run, all threads. The
  server of the file runs on the same cores, in a process of its own, and is left out: again rather too low.
- the link is the same file from the same server, read by nothing but a loop over a socket.

A step that is slow by itself makes `path` longer too: the ratio says how well steps overlap, and the table of
steps says what each one costs, together with the others and alone.

What is warm: the interpreter's and torch's files in the page cache, and their bytecode. What is cold: the
process and `COLDSTART_HOME`, empty on each start. One round before the first is thrown away, to make that so.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

from benchmarks.paired import machine, ratios, spread
from coldstart_sdk import __version__, planner
from coldstart_sdk.backends.local import backend
from coldstart_sdk.backends.local.messages import Answered, Chunk, Order, Refused, Waiting
from coldstart_sdk.backends.local.supervise import Worker, worker_env
from coldstart_sdk.declare.read import read_file
from coldstart_sdk.events import Event, State, StateChanged
from coldstart_sdk.machine import cpu_quota
from coldstart_sdk.plan import Plan, Stage
from coldstart_sdk.rehearsal.origin import Origin
from coldstart_sdk.trace.build import build
from coldstart_sdk.trace.model import Trace

FILE_BYTES = 32 * 2**20
CASES = {"the fetch takes longest": 14e6, "the import takes longest": 44e6}
"""Bytes per second of the link."""
UP_TO_READY = (Stage.BEFORE_SNAPSHOT, Stage.AFTER_SNAPSHOT)
TARGET = 1.05

MODEL = """\
import os
import time
from pathlib import Path

from coldstart_sdk import Weights, endpoint, hook, warm_model


@warm_model(imports=["torch"], weights={{"file": Weights.url("{url}", sha256="{sha256}")}})
class Overlapped:
    @hook.load
    def load(self, weights):
        import torch

        torch.set_num_threads(1)  # spinning threads of other sizes would measure the scheduler
        content = bytearray(weights["file"].path.read_bytes())
        layers = torch.frombuffer(content, dtype=torch.uint8).view(-1, 1024, 1024).to(torch.float32)
        self.layers = [layer / torch.trace(layer @ layer.T).sqrt() for layer in layers]

    @hook.warmup
    def warm(self):
        self.forward(1)
        Path(os.environ["OVERLAP_CPU"]).write_text(str(time.process_time()))

    @endpoint
    def forward(self, seed: int) -> float:
        import torch

        state = torch.full((1024, 64), float(seed))
        for layer in self.layers:
            state = layer @ state
        return float(state.sum())
"""


@dataclass(frozen=True, kw_only=True)
class Bench:
    """What every start of one case shares."""

    folder: Path
    plan: Plan
    url: str


@dataclass(frozen=True, kw_only=True)
class Run:
    trace: Trace
    ready_s: float
    cpu_s: float


@dataclass(frozen=True, kw_only=True)
class Bound:
    """The three terms of LB."""

    path_s: float
    cpu_s: float
    link_s: float

    @property
    def least_s(self) -> float:
        return max(self.path_s, self.cpu_s, self.link_s)


@dataclass(frozen=True, kw_only=True)
class Round:
    ready: Run
    sequence: Run
    bound: Bound


def main(rounds: int) -> None:
    print(f"{machine()}, {cpu_quota()} usable, {rounds} interleaved rounds, seconds as median (least–most)")
    with tempfile.TemporaryDirectory(prefix="overlap-") as folder:
        served = Path(folder, "served")
        served.mkdir()
        Path(served, "file.bin").write_bytes(os.urandom(FILE_BYTES))
        for number, (title, rate) in enumerate(CASES.items()):
            with Origin(served, rate_bytes_s=rate, process=True) as origin:
                bench = _bench(Path(folder), number, origin.url("file.bin"))
                _round(bench, 0)
                taken = [_round(bench, at) for at in range(rounds)]
            print(f"\n{title}: {FILE_BYTES / 2**20:g} MiB at {rate / 1e6:g} MB/s", flush=True)
            _tell(taken)


def _bench(folder: Path, number: int, url: str) -> Bench:
    """The class as a file of its own, and the local plan for it."""
    project = folder / f"case{number}"
    project.mkdir()
    content = (folder / "served" / "file.bin").read_bytes()
    path = project / f"overlapped{number}.py"
    path.write_text(MODEL.format(url=url, sha256=hashlib.sha256(content).hexdigest()))
    plan = planner.plan(read_file(str(path)), "local", backend.capabilities, sdk=__version__)
    return Bench(folder=project, plan=plan, url=url)


def _round(bench: Bench, at: int) -> Round:
    """Both starts, the other one first in every second round, and the link."""
    plans = (bench.plan, _in_sequence(bench.plan))
    runs = [_start(bench, plan) for plan in (plans if at % 2 == 0 else plans[::-1])]
    ready, sequence = runs if at % 2 == 0 else runs[::-1]
    return Round(ready=ready, sequence=sequence, bound=_bound(bench.plan, sequence, _read(bench.url)))


def _in_sequence(plan: Plan) -> Plan:
    """The same steps, each after the one before it in the plan's own order."""
    steps = plan.steps_in(*UP_TO_READY)
    after = dict(zip((step.name for step in steps[1:]), (step.name for step in steps), strict=False))
    chained = (
        replace(step, after=(after[step.name],) if step.name in after else ()) if step in steps else step
        for step in plan.steps
    )
    return replace(plan, steps=tuple(chained))


def _start(bench: Bench, plan: Plan) -> Run:
    """One cold start in an empty home, ended as soon as it is ready."""
    with tempfile.TemporaryDirectory(dir=bench.folder) as scratch:
        home, cpu = Path(scratch, "home"), Path(scratch, "cpu")
        order = Order(
            plan=plan, project=str(bench.folder), home=str(home), drain_s=5, serve=None, socket=None
        )
        worker = Worker(order, env={**worker_env(plan, home), "OVERLAP_CPU": str(cpu)})
        trace = build(list(_events(worker)), plan, wall_start=worker.wall_start)
        worker.end()
        assert trace.anchors.ready_s is not None, trace.reason
        return Run(trace=trace, ready_s=trace.anchors.ready_s, cpu_s=float(cpu.read_text()))


def _events(worker: Worker) -> Iterator[Event]:
    for report in worker.reports():
        if isinstance(report, StateChanged) and report.state is State.READY:
            worker.stop()
        if not isinstance(report, Chunk | Answered | Refused | Waiting):
            yield report


def _bound(plan: Plan, sequence: Run, link_s: float) -> Bound:
    spans = {span.name: span for span in sequence.trace.spans}
    steps = plan.steps_in(*UP_TO_READY)
    alone = [spans[step.name] for step in steps]
    before_s = min(span.start_s for span in alone)
    ends: dict[str, float] = {}
    for step, span in zip(steps, alone, strict=True):  # the plan lists a step after those that it waits for
        ends[step.name] = max((ends[name] for name in step.after), default=before_s) + span.duration_s
    after_s = sequence.ready_s - max(span.end_s for span in alone)
    return Bound(path_s=max(ends.values()) + after_s, cpu_s=sequence.cpu_s / cpu_quota(), link_s=link_s)


def _read(url: str) -> float:
    """Seconds for the whole file over the link, with nothing done to it."""
    address = urlsplit(url)
    connection = http.client.HTTPConnection(address.netloc)
    started_s = time.perf_counter()
    connection.request("GET", address.path)
    answer = connection.getresponse()
    buffer, count = memoryview(bytearray(2**20)), 0
    while got := answer.readinto(buffer):
        count += got
    connection.close()
    assert count == FILE_BYTES
    return time.perf_counter() - started_s


def _tell(rounds: list[Round]) -> None:
    ready = [each.ready.ready_s for each in rounds]
    least = [each.bound.least_s for each in rounds]
    sequence = [each.sequence.ready_s for each in rounds]
    for name, values in {
        "ready": ready,
        "sequence": sequence,
        "LB": least,
        "  path": [each.bound.path_s for each in rounds],
        "  CPU / cores": [each.bound.cpu_s for each in rounds],
        "  bytes / link": [each.bound.link_s for each in rounds],
    }.items():
        print(f"{name:<16}{spread(values)!s:>24}   {' '.join(f'{value:.2f}' for value in values)}")
    print(f"{'ready / LB':<16}{ratios(ready, least)!s:>24}   held to {TARGET}")
    print(f"{'sequence / ready':<16}{ratios(sequence, ready)!s:>24}")
    _tell_steps(rounds)


def _tell_steps(rounds: list[Round]) -> None:
    """Where the time went: each step together with the others, and alone."""
    print(f"{'step':<24}{'together':>24}{'alone':>24}")
    for step in [span.name for span in rounds[0].sequence.trace.steps]:
        together, alone = (
            [span.duration_s for run in runs for span in run.trace.steps if span.name == step]
            for runs in ([each.ready for each in rounds], [each.sequence for each in rounds])
        )
        if together and alone:
            print(f"{step:<24}{spread(together)!s:>24}{spread(alone)!s:>24}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10)
