"""What our HTTP side costs a request: `python -m benchmarks.overhead [ROUNDS] [SECONDS]`.

The same endpoints in bare FastAPI, LitServe and BentoML, each a server of its own, all up at once, asked in
turn, round by round. Servers share one set of cores and the load has another. A ratio is ours over theirs in
one round: above 1 for requests per second, below 1 for latencies, we are ahead. Only wrong answers fail.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

from benchmarks.paired import Spread, machine, ratios, spread

ROOT = Path(__file__).parents[1]
BOUND = 0.95
"""What the project holds itself to: requests per second over the best peer's."""
UP_S = 60.0


@dataclass(frozen=True, kw_only=True)
class Case:
    path: str
    connections: int
    about: str


CASES = (
    Case(path="/async_noop", connections=8, about="async def, no work, 8 connections"),
    Case(path="/noop", connections=8, about="def, no work, 8 connections"),
    Case(path="/async_ten_ms", connections=8, about="async def, 10 ms, 8 connections"),
    Case(path="/ten_ms", connections=1, about="def, 10 ms, 1 connection"),
)


@dataclass(frozen=True, kw_only=True)
class Contender:
    name: str
    module: str
    distribution: str
    paths: tuple[str, ...] = tuple(case.path for case in CASES)

    @property
    def version(self) -> str | None:
        try:
            return metadata.version(self.distribution)
        except metadata.PackageNotFoundError:
            return None


OURS = Contender(name="coldstart", module="ours", distribution="uvicorn")
PEERS = (
    Contender(name="FastAPI", module="bare_fastapi", distribution="fastapi"),
    Contender(name="LitServe", module="lit", distribution="litserve", paths=("/noop", "/ten_ms")),
    Contender(name="BentoML", module="bento", distribution="bentoml"),
)


@dataclass
class Figures:
    """One contender in one case, round by round."""

    per_s: list[float] = field(default_factory=list)
    p50_ms: list[float] = field(default_factory=list)
    p99_ms: list[float] = field(default_factory=list)

    def add(self, measured: dict[str, float]) -> None:
        self.per_s.append(measured["per_s"])
        self.p50_ms.append(measured["p50_ms"])
        self.p99_ms.append(measured["p99_ms"])


def main(rounds: int, seconds: float) -> None:
    present = [peer for peer in PEERS if peer.version]
    print(f"coldstart and FastAPI on uvicorn {OURS.version}")
    for peer in PEERS:
        print(
            f"{peer.name:<10} {peer.version or 'not installed: skipped (pip install coldstart-sdk[bench])'}"
        )
    print(f"{machine()}, {rounds} interleaved rounds of {seconds:g} s; median (least–most)")
    with ExitStack() as running:
        servers, load = _cores()
        with _pinned(servers):
            ports = {each.name: running.enter_context(_up(each)) for each in (OURS, *present)}
        for case in CASES:
            peers = [peer for peer in present if case.path in peer.paths]
            with _pinned(load):
                seen = _measure(case, (OURS, *peers), ports, rounds=rounds, seconds=seconds)
            _show(case, peers, seen)


def _measure(
    case: Case, contenders: Sequence[Contender], ports: dict[str, int], *, rounds: int, seconds: float
) -> dict[str, Figures]:
    seen = {each.name: Figures() for each in contenders}
    for each in contenders:
        _ask(ports[each.name], case, min(1.0, seconds))
    for turn in range(rounds):
        for at in range(len(contenders)):
            each = contenders[(at + turn) % len(contenders)]  # nobody is always first
            seen[each.name].add(_ask(ports[each.name], case, seconds))
    return seen


def _show(case: Case, peers: Sequence[Contender], seen: dict[str, Figures]) -> None:
    ours = seen[OURS.name]
    print(f"\n{case.path}: {case.about}")
    print(f"  {'':<10}{'requests/s':>28}{'p50 ms':>24}{'p99 ms':>24}")
    for name, figures in seen.items():
        print(f"  {name:<10}{_cells(spread(figures.per_s), spread(figures.p50_ms), spread(figures.p99_ms))}")
    for peer in peers:
        theirs = seen[peer.name]
        compared = [ratios(getattr(ours, key), getattr(theirs, key)) for key in ("per_s", "p50_ms", "p99_ms")]
        print(f"  / {peer.name:<8}{_cells(*compared)}")
    worst = min((ratios(ours.per_s, seen[peer.name].per_s).median for peer in peers), default=None)
    if worst is not None:
        print(f"  over the best peer {worst:.3f}, held to {BOUND}: {'kept' if worst >= BOUND else 'MISSED'}")


def _cells(per_s: Spread, p50: Spread, p99: Spread) -> str:
    return f"{per_s!s:>28}{p50!s:>24}{p99!s:>24}"


def _ask(port: int, case: Case, seconds: float, *, quiet: bool = False) -> dict[str, float]:
    command = [
        sys.executable,
        "-m",
        "benchmarks.load",
        str(port),
        case.path,
        str(case.connections),
        str(seconds),
    ]
    done = subprocess.run(
        command,
        check=True,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL if quiet else None,
        timeout=seconds + UP_S,
    )
    measured: dict[str, float] = json.loads(done.stdout)
    return measured


@contextmanager
def _up(contender: Contender) -> Iterator[int]:
    """Its server, once it answers, in a process group of its own; its port."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-m", f"benchmarks.peers.{contender.module}", str(port)],
        cwd=ROOT,
        env={**os.environ, "BENTOML_DO_NOT_TRACK": "True", "LIT_SERVER_TELEMETRY": "0"},
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        _wait_until_up(contender, process, port)
        yield port
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _wait_until_up(contender: Contender, process: subprocess.Popen[bytes], port: int) -> None:
    until_s = time.monotonic() + UP_S
    while True:
        assert process.poll() is None, f"{contender.name} ended with {process.returncode}"
        first = next(case for case in CASES if case.path in contender.paths)
        is_late = time.monotonic() > until_s
        try:
            _ask(port, first, 0.1, quiet=not is_late)
        except subprocess.CalledProcessError:
            assert not is_late, f"{contender.name} does not answer"
            time.sleep(0.5)
        else:
            return


def _cores() -> tuple[set[int], set[int]]:
    """Half of the cores for servers, half for the load; with one, both share it."""
    have = sorted(os.sched_getaffinity(0))
    return set(have[: (len(have) + 1) // 2]), set(have[len(have) // 2 :])


@contextmanager
def _pinned(cores: set[int]) -> Iterator[None]:
    """What is started in here stays on these cores."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # the servers must go too
    main(
        int(sys.argv[1]) if len(sys.argv) > 1 else 10,
        float(sys.argv[2]) if len(sys.argv) > 2 else 2.0,
    )
