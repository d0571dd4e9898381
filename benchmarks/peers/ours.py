"""The endpoints, declared, and served as `coldstart serve` does: `python -m benchmarks.peers.ours PORT`."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import tempfile
import time
from pathlib import Path

from coldstart_sdk import Scale, endpoint, warm_model


@warm_model(name="overhead", scale=Scale(concurrency=8, queue=64))
class Overhead:
    @endpoint
    async def async_noop(self, text: str) -> str:
        return text

    @endpoint
    def noop(self, text: str) -> str:
        return text

    @endpoint
    def ten_ms(self, text: str) -> str:
        time.sleep(0.01)
        return text

    @endpoint
    async def async_ten_ms(self, text: str) -> str:
        await asyncio.sleep(0.01)
        return text


def main(port: int) -> None:
    from coldstart_sdk import entry, planner  # noqa: PLC0415 - the worker imports this file too, and not these
    from coldstart_sdk.backends.local.capabilities import CAPABILITIES  # noqa: PLC0415 - as above
    from coldstart_sdk.backends.local.messages import Order  # noqa: PLC0415 - as above
    from coldstart_sdk.backends.local.supervise import Worker  # noqa: PLC0415 - as above
    from coldstart_sdk.declare import read  # noqa: PLC0415 - as above
    from coldstart_sdk.serve.options import Options  # noqa: PLC0415 - as above

    here = Path(__file__).resolve()
    spec = read.read(entry.load(f"{here}:Overhead"))
    plan = planner.plan(spec, "local", CAPABILITIES, sdk="0")
    with socket.create_server(("127.0.0.1", port)) as listening, tempfile.TemporaryDirectory() as home:
        order = Order(
            plan=plan,
            project=str(here.parent),
            home=home,
            drain_s=5.0,
            serve=Options(port=port),
            socket=listening.fileno(),
        )
        worker = Worker(order, env=os.environ, listening=listening)
        try:
            for _ in worker.reports():
                pass
        finally:
            worker.end()


if __name__ == "__main__":
    main(int(sys.argv[1]))
