"""Ask one address again and again: `python -m benchmarks.load PORT PATH CONNECTIONS SECONDS`.

A process of its own, so that it can have a core of its own; its connections are kept. Prints one JSON object:
answers per second, and their latency at the median and at the 99th percentile.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from dataclasses import dataclass, field
from typing import cast

import uvloop

BODY = b'{"text":"hello"}'
ANSWER = b'"hello"'


@dataclass
class Load:
    """What all connections have in common."""

    request: bytes
    until_s: float
    latencies_s: list[float] = field(default_factory=list)
    over: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    def fail(self, why: str) -> None:
        if not self.over.done():
            self.over.set_exception(RuntimeError(why))


class Connection(asyncio.Protocol):
    """Sends, waits for the whole answer, sends again."""

    def __init__(self, load: Load) -> None:
        self.load = load
        self.buffer = b""
        self.ends = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is none by name
        self._ask()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.ends.done():
            self.load.fail(f"the server closed a connection: {exc or 'no error'}")

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        head, gap, body = self.buffer.partition(b"\r\n\r\n")
        if not gap or len(body) < _length(head):
            return
        if not head.startswith(b"HTTP/1.1 200") or ANSWER not in body:
            self.load.fail(f"not what was asked for: {self.buffer[:200]!r}")
            return
        self.buffer = b""
        at_s = time.perf_counter()
        self.load.latencies_s.append(at_s - self.asked_s)
        if at_s < self.load.until_s:
            self._ask()
        else:
            self.ends.set_result(None)
            self.transport.close()

    def _ask(self) -> None:
        self.asked_s = time.perf_counter()
        self.transport.write(self.load.request)


def _length(head: bytes) -> int:
    """Every contender says how long its answer is; headers' case is free."""
    at = head.lower().index(b"content-length:") + len(b"content-length:")
    return int(head[at:].split(b"\r\n", 1)[0])


async def main(port: int, path: str, connections: int, seconds: float) -> None:
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
    request = f"{head}Content-Length: {len(BODY)}\r\n\r\n".encode() + BODY
    began_s = time.perf_counter()
    load = Load(request=request, until_s=began_s + seconds)
    loop = asyncio.get_running_loop()
    made = [
        await loop.create_connection(lambda: Connection(load), "127.0.0.1", port) for _ in range(connections)
    ]
    every = asyncio.gather(*(connection.ends for _, connection in made))
    await asyncio.wait((every, load.over), return_when=asyncio.FIRST_COMPLETED)
    if load.over.done():
        await load.over
    took_s = time.perf_counter() - began_s
    latencies = sorted(load.latencies_s)
    figures = {
        "per_s": len(latencies) / took_s,
        "p50_ms": 1000 * latencies[len(latencies) // 2],
        "p99_ms": 1000 * latencies[len(latencies) * 99 // 100],
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), float(sys.argv[4])))
