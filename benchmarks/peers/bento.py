"""The same endpoints in BentoML: `python -m benchmarks.peers.bento PORT`."""

from __future__ import annotations

import asyncio
import os
import sys
import time

import bentoml


@bentoml.service(workers=1, traffic={"timeout": 60}, logging={"access": {"enabled": False}})
class Overhead:
    @bentoml.api  # type: ignore[untyped-decorator] # as above
    async def async_noop(self, text: str) -> dict[str, str]:
        return {"result": text}

    @bentoml.api  # type: ignore[untyped-decorator] # as above
    def noop(self, text: str) -> dict[str, str]:
        return {"result": text}

    @bentoml.api  # type: ignore[untyped-decorator] # as above
    def ten_ms(self, text: str) -> dict[str, str]:
        time.sleep(0.01)
        return {"result": text}

    @bentoml.api  # type: ignore[untyped-decorator] # as above
    async def async_ten_ms(self, text: str) -> dict[str, str]:
        await asyncio.sleep(0.01)
        return {"result": text}


if __name__ == "__main__":
    command = [sys.executable, "-m", "bentoml", "serve", "benchmarks.peers.bento:Overhead"]
    os.execv(sys.executable, [*command, "--host", "127.0.0.1", "--port", sys.argv[1]])  # noqa: S606 - no shell is wanted
