"""A declaration, written to a file, started and served over a real socket in this process."""

from __future__ import annotations

import socket
import sys
import textwrap
import threading
import zlib
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import httpx

from coldstart_sdk import entry, planner
from coldstart_sdk.backends.local.capabilities import CAPABILITIES
from coldstart_sdk.declare import read
from coldstart_sdk.events import Anchor, AnchorSet, Event, RequestEnded, State, now
from coldstart_sdk.lifecycle import Lifecycle
from coldstart_sdk.plan import Plan
from coldstart_sdk.serve import server
from coldstart_sdk.serve.options import Options
from coldstart_sdk.serve.witness import Witness
from coldstart_sdk.steps import Site

HEAD = """
from __future__ import annotations
import asyncio, os, threading, time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from coldstart_sdk import Audio, File, Image, Scale, Video, endpoint, hook, warm_model
HERE = Path(__file__).parent
"""
"""What every declaration of a test begins with."""
TOO_LONG_S = 60.0
"""A guard against a hang."""


@contextmanager
def a_project(folder: Path, source: str) -> Iterator[Plan]:
    """The plan of the one class in the source, in a module of its own."""
    name = (
        f"declared_{zlib.crc32(str(folder).encode()):x}"  # one declaration keeps its name from start to start
    )
    path = folder / f"{name}.py"
    path.write_text(HEAD + textwrap.dedent(source))
    before = list(sys.path)
    try:
        yield planner.plan(read.read(entry.load(str(path))), "local", CAPABILITIES, sdk="0")
    finally:
        sys.path[:] = before
        sys.modules.pop(name, None)


@dataclass
class Served:
    """A server that answers, and its inside."""

    life: Lifecycle
    witness: Witness
    url: str
    port: int
    client: httpx.Client
    folder: Path
    thread: threading.Thread
    stop: threading.Event
    ended: list[RequestEnded] = field(default_factory=list)
    _more: threading.Condition = field(default_factory=threading.Condition)

    def hear(self, event: Event) -> None:
        if isinstance(event, RequestEnded):
            with self._more:
                self.ended.append(event)
                self._more.notify_all()

    def wait_for_requests(self, count: int) -> list[RequestEnded]:
        """The calls that have ended, once there are so many."""
        with self._more:
            assert self._more.wait_for(lambda: len(self.ended) >= count, TOO_LONG_S), self.ended
            return list(self.ended)

    def wait_for_file(self, name: str) -> Path:
        """Something that the declaration writes into its folder."""
        path, tick = self.folder / name, threading.Event()
        until = now() + TOO_LONG_S
        while not path.exists():
            assert now() < until, f"{name} was never written"
            tick.wait(0.01)
        return path

    def drain(self) -> None:
        """Ask for an orderly end."""
        self.stop.set()


@contextmanager
def served(
    folder: Path, source: str, options: Options | None = None, *, drain_s: float = 20.0, wait: bool = True
) -> Iterator[Served]:
    """Start it, serve it on a free port, and take it down; with `wait`, from READY on."""
    with a_project(folder, source) as plan, closing(socket.create_server(("127.0.0.1", 0))) as listening:
        port = listening.getsockname()[1]
        options = replace(options or Options(), port=port)
        heard: list[Served] = []
        witness = Witness(plan, folder / "home", lambda event: heard[0].hear(event) if heard else None)
        witness(AnchorSet(at_s=now(), anchor=Anchor.PROCESS))
        life = Lifecycle(plan, Site(project=folder, home=folder / "home", emit=witness), own_loop=False)
        stop = threading.Event()
        thread = threading.Thread(
            target=server.run,
            args=(life, options, witness),
            kwargs={"fd": listening.detach(), "drain_s": drain_s, "until": stop.wait},
        )
        headers = {"authorization": f"Bearer {options.token}"} if options.token else {}
        url = f"http://127.0.0.1:{port}"
        with httpx.Client(base_url=url, timeout=TOO_LONG_S, headers=headers) as client:
            running = Served(
                life=life,
                witness=witness,
                url=url,
                port=port,
                client=client,
                folder=folder,
                thread=thread,
                stop=stop,
            )
            heard.append(running)
            life.start()
            thread.start()
            try:
                if wait:
                    assert life.wait(TOO_LONG_S).state is State.READY, life.status
                yield running
            finally:
                stop.set()
                thread.join(TOO_LONG_S)
                assert not thread.is_alive()
