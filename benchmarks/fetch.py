"""How fast weights come, against what people use: `python -m benchmarks.fetch [ROUNDS] [CASE ...]`.

A tree of four shards and a few small files, more than 2 GB, goes from a fast S3 server on loopback to the
disk. Each client is a process of its own, its imports included; its CPU seconds are user and system of it and
its children. Before each, the page cache has written back what the last one left; after each, every byte of
every file is compared. Rounds are interleaved, in alternating order, and ours is held, round by round, to the
peer that is the fastest by its median.

Memory is full throughout, as on a machine that has run for a while: what is written takes the place of what
was written long ago. Free memory of a virtual machine may have to be given by its host first, page by page;
that takes longer than a transfer, by turns twice and ten times as long, and is no client's doing.

    plain      over HTTP: ours out of a store, each chunk checked as it comes, and out of a plain tree of
               which nothing is known, where the SHA-256 of each file is computed on the way
    tls        the same over TLS
    hub        ours against huggingface_hub, both through the same hub's redirects to the same server
    throttled  over a link of 100 MB/s that all connections share, 20 ms away: how much of it is used

The server runs on the same cores. It is nginx, which also serves nothing but what was prepared; the throttled
link and the hub are ours, in the process that measures.
"""

from __future__ import annotations

import filecmp
import json
import mmap
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks import fast_s3
from benchmarks.fast_s3 import BUCKET, REPOSITORY, STORE, TREE, Server
from benchmarks.paired import machine, ratios, spread
from benchmarks.peers.fetch import Order
from coldstart_sdk.rehearsal.hub import Hub
from coldstart_sdk.rehearsal.s3 import S3

SHARD_BYTES = 512 << 20
THROTTLED_SHARD_BYTES = 128 << 20
LINK_BYTES_S = 100e6
LATENCY_S = 0.02
OURS = "ours"
OTHERS = ("boto3 as shipped", "boto3 tuned", "boto3 with CRT", "obstore", "minio-py", "s5cmd", "rclone")
CASES: Mapping[str, tuple[str, ...]] = {
    "plain": (OURS, "ours, nothing known", *OTHERS),
    "tls": (OURS, "ours, nothing known", *OTHERS),
    "hub": ("ours, from the hub", "huggingface_hub"),
    "throttled": (OURS, *OTHERS),
}


@dataclass(frozen=True, kw_only=True)
class Bench:
    """What every run of one case shares."""

    folder: Path
    tree: Path
    total_bytes: int
    order: Order
    env: Mapping[str, str]
    memory: Memory


class Memory:
    """What was written, kept as long as it may lie in memory: removed sooner, it would leave memory free."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        whole = os.sysconf("SC_PHYS_PAGES") * mmap.PAGESIZE
        self._bytes = min(whole, shutil.disk_usage(folder).free // 2)
        self._written: deque[tuple[Path, int]] = deque()

    def fill(self, tree: Path, tree_bytes: int) -> None:
        """Until next to nothing of it is free."""
        for _ in range(2 * self._bytes // tree_bytes):
            if os.sysconf("SC_AVPHYS_PAGES") * mmap.PAGESIZE < 512 << 20:
                return
            copy = Path(tempfile.mkdtemp(dir=self._folder))
            shutil.copytree(tree, copy, dirs_exist_ok=True)
            os.sync()
            self.hold(copy, tree_bytes)

    def hold(self, written: Path, count: int) -> None:
        self._written.append((written, count))
        while sum(count for _, count in self._written) > self._bytes:
            shutil.rmtree(self._written.popleft()[0])


@dataclass(frozen=True, kw_only=True)
class Run:
    wall_s: float
    cpu_s: float


class _Cdn(ExitStack):
    """The CDN that the hub sends large files to."""

    requests = ()

    def __init__(self, base: str) -> None:
        super().__init__()
        self._base = base

    def url(self, path: str) -> str:
        return f"{self._base}/{path}"

    def forget(self) -> None:
        pass


def main(rounds: int, cases: Sequence[str]) -> None:
    if fast_s3.program() is None:
        print("nginx is not installed, so nothing was measured; on Debian: apt-get install nginx-light")
        return
    print(f"{machine()}, {rounds} interleaved rounds, median (least–most)")
    with tempfile.TemporaryDirectory(prefix="fetch-") as scratch, ExitStack() as stack:
        folder = Path(scratch)
        root = _made(folder / "served", SHARD_BYTES)
        (folder / "nginx").mkdir()
        server = stack.enter_context(fast_s3.serving(root, folder / "nginx"))
        memory = Memory(folder)
        for case in cases:
            with ExitStack() as rooms:
                bench = _bench(case, folder, root, server, memory, rooms)
                _warm(bench)
                taken = [_round(bench, CASES[case], at) for at in range(rounds)]
            _tell(case, bench, taken)


def _made(root: Path, shard_bytes: int) -> Path:
    root.mkdir()
    fast_s3.make_tree(root, shard_bytes)
    return root


def _bench(  # noqa: PLR0913, PLR0917 - what a case needs, each by its name
    case: str, folder: Path, root: Path, server: Server, memory: Memory, rooms: ExitStack
) -> Bench:
    endpoint, hub = server.plain, ""
    match case:
        case "tls":
            endpoint = server.tls
        case "hub":
            hub_room = Hub(root)
            hub_room.cdn = _Cdn(server.cdn)  # type: ignore[assignment] # what the hub asks of it, no more
            hub = rooms.enter_context(hub_room).endpoint
        case "throttled":
            root = _made(folder / "throttled", THROTTLED_SHARD_BYTES)
            room = S3(folder / "link", rate_bytes_s=LINK_BYTES_S, latency_s=LATENCY_S)
            _fill(room, root / BUCKET)
            endpoint = rooms.enter_context(room).endpoint
        case _:
            pass
    order = Order(
        endpoint=endpoint,
        bucket=BUCKET,
        prefix=TREE,
        store=STORE,
        repository=REPOSITORY,
        hub=hub,
        certificate=str(server.certificate),
        into="",
    )
    tree = root / BUCKET / TREE
    total = sum(file.stat().st_size for file in tree.rglob("*") if file.is_file())
    return Bench(
        folder=folder, tree=tree, total_bytes=total, order=order, env=_environment(order), memory=memory
    )


def _fill(room: S3, bucket: Path) -> None:
    """The bucket as our own room keeps one, without a copy of its bytes."""
    for file in (file for file in bucket.rglob("*") if file.is_file()):
        kept = room.file(BUCKET, file.relative_to(bucket).as_posix())
        kept.parent.mkdir(parents=True, exist_ok=True)
        os.link(file, kept)
        room.etag(kept)


def _environment(order: Order) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "AWS_ENDPOINT_URL": order.endpoint,
        "AWS_ACCESS_KEY_ID": "AKIABENCHBENCHBENCH0",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CA_BUNDLE": order.certificate,
        "SSL_CERT_FILE": order.certificate,
        "HF_ENDPOINT": order.hub or "http://127.0.0.1:9",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HOME": "/nonexistent",
    }


def _warm(bench: Bench) -> None:
    """The server's files into the page cache; the clients' modules come with the first round, thrown away."""
    for file in bench.tree.rglob("*"):
        if file.is_file():
            with file.open("rb", buffering=0) as opened:
                while opened.read(1 << 24):
                    pass


def _round(bench: Bench, clients: Sequence[str], at: int) -> dict[str, Run]:
    """Each client once, in the other direction every second time."""
    bench.memory.fill(bench.tree, bench.total_bytes)
    return {client: _run(bench, client) for client in (clients if at % 2 == 0 else clients[::-1])}


def _run(bench: Bench, client: str) -> Run:
    into = Path(tempfile.mkdtemp(dir=bench.folder))
    told = bench.folder / "order.json"
    told.write_text(json.dumps({**asdict(bench.order), "into": str(into)}))
    os.sync()
    before, started_s = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "benchmarks.peers.fetch", client, str(told)], check=True, env=bench.env
    )
    wall_s, after = time.perf_counter() - started_s, resource.getrusage(resource.RUSAGE_CHILDREN)
    _check(bench, into)
    bench.memory.hold(into, bench.total_bytes)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(f"  {client:<22}{wall_s:>8.2f} s{cpu_s:>8.2f} CPU s", file=sys.stderr, flush=True)
    return Run(wall_s=wall_s, cpu_s=cpu_s)


def _check(bench: Bench, into: Path) -> None:
    """Every byte of every file, wherever the client has put it."""
    for file in (file for file in bench.tree.rglob("*") if file.is_file()):
        path = file.relative_to(bench.tree)
        found = [found for found in into.rglob(path.name) if found.parts[-len(path.parts) :] == path.parts]
        assert found, f"{path} did not come"
        assert all(filecmp.cmp(each, file, shallow=False) for each in found), f"{path} came wrong"


def _tell(case: str, bench: Bench, rounds: list[dict[str, Run]]) -> None:
    total = bench.total_bytes
    print(f"\n{case}: {total / 1e9:.2f} GB", flush=True)
    print(f"{'':<22}{'GB/s':>24}{'CPU s/GB':>24}{'wall s':>10}")
    for client in CASES[case]:
        runs = [each[client] for each in rounds]
        speed = spread([total / 1e9 / run.wall_s for run in runs])
        cpu = spread([run.cpu_s / total * 1e9 for run in runs])
        print(f"{client:<22}{speed!s:>24}{cpu!s:>24}{spread([run.wall_s for run in runs]).median:>10.2f}")
    ours, *others = CASES[case]
    peers = [name for name in others if not name.startswith(OURS)]
    mine = [each[ours] for each in rounds]
    best = min(peers, key=lambda name: spread([each[name].wall_s for each in rounds]).median)
    fastest = [each[best] for each in rounds]
    print(
        f"{ours} ÷ {best}, the fastest peer: "
        f"throughput {ratios([run.wall_s for run in fastest], [run.wall_s for run in mine])}, "
        f"CPU {ratios([run.cpu_s for run in mine], [run.cpu_s for run in fastest])}"
    )
    if case == "throttled":
        print(f"{ours}: {spread([total / run.wall_s / LINK_BYTES_S for run in mine])} of the link")


if __name__ == "__main__":
    main(
        int(sys.argv[1]) if len(sys.argv) > 1 else 5,
        sys.argv[2:] or list(CASES),
    )
