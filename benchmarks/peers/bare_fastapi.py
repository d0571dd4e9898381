"""The endpoints in bare FastAPI, on uvicorn as we run it: `python -m benchmarks.peers.bare_fastapi PORT`."""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from typing import Annotated

import uvicorn
from fastapi import Body, FastAPI

app = FastAPI()
Text = Annotated[str, Body(embed=True)]


@app.post("/async_noop")  # type: ignore[untyped-decorator] # FastAPI is an extra: its types are not followed
async def async_noop(text: Text) -> dict[str, str]:
    return {"result": text}


@app.post("/noop")  # type: ignore[untyped-decorator] # FastAPI is an extra: its types are not followed
def noop(text: Text) -> dict[str, str]:
    return {"result": text}


@app.post("/ten_ms")  # type: ignore[untyped-decorator] # FastAPI is an extra: its types are not followed
def ten_ms(text: Text) -> dict[str, str]:
    time.sleep(0.01)
    return {"result": text}


@app.post("/async_ten_ms")  # type: ignore[untyped-decorator] # FastAPI is an extra: its types are not followed
async def async_ten_ms(text: Text) -> dict[str, str]:
    await asyncio.sleep(0.01)
    return {"result": text}


if __name__ == "__main__":
    uvicorn.run(
        app,
        port=int(sys.argv[1]),
        loop="uvloop",
        http="httptools",
        ws="none",
        proxy_headers=False,
        server_header=False,
        access_log=False,
        log_level=logging.WARNING,
    )
