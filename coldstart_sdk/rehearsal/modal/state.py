"""What the plane knows: apps, functions, images, mounts, volumes, secrets, and the calls under way."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from coldstart_sdk.rehearsal.modal.volumes import Volume


class Ids:
    """Ids with the prefixes that Modal's client insists on; one dash each."""

    def __init__(self) -> None:
        self._counter = itertools.count(1)

    def new(self, prefix: str) -> str:
        return f"{prefix}-{next(self._counter):012d}"


@dataclass(kw_only=True)
class Function:
    """A function, or a class's one, as it was created."""

    id: str
    app: str
    tag: str
    """Its name in the app: `prefetch`, `Voice.*`."""
    definition: Any
    """api_pb2.Function"""
    metadata: Any
    """api_pb2.FunctionHandleMetadata"""
    parameters: bytes = b""
    base: str | None = None
    """Of a bound one: the function it was bound from."""


@dataclass(frozen=True, kw_only=True)
class Release:
    """One deployment of an app."""

    version: int
    functions: Mapping[str, str]
    classes: Mapping[str, str]
    deployed_at: float
    tag: str
    client: str
    rolled_back_to: int = 0
    definitions: tuple[Function, ...] = ()
    """The functions as they were: a later release keeps their ids, and says something else of them."""


@dataclass(kw_only=True)
class App:
    id: str
    name: str
    environment: str
    functions: dict[str, str] = field(default_factory=dict)
    """tag → id, of the release that is live."""
    classes: dict[str, str] = field(default_factory=dict)
    history: list[Release] = field(default_factory=list)
    deployed: bool = False
    stopped: bool = False
    created_at: float = field(default_factory=time.time)


@dataclass(kw_only=True)
class Input:
    """One input of a call, until its output is there."""

    id: str
    index: int
    message: Any
    """api_pb2.FunctionInput"""
    call: Call
    container: str | None = None
    """The task that took it."""
    deaths: int = 0
    """How many containers died over it."""


class Stream:
    """Chunks that one side puts and the other reads, in order, more than once if it likes."""

    def __init__(self) -> None:
        self.chunks: list[Any] = []
        self.ended = False
        self._changed = asyncio.Condition()

    async def put(self, *chunks: Any) -> None:  # noqa: ANN401 - api_pb2.DataChunk
        async with self._changed:
            self.chunks.extend(chunks)
            self._changed.notify_all()

    async def end(self) -> None:
        async with self._changed:
            self.ended = True
            self._changed.notify_all()

    async def after(self, seen: int, timeout_s: float) -> list[Any]:
        """The chunks beyond the first `seen`; none when it has ended, or the time is up."""

        def is_there() -> bool:
            return self.ended or len(self.chunks) > seen

        async with self._changed:
            try:
                await asyncio.wait_for(self._changed.wait_for(is_there), timeout_s)
            except asyncio.TimeoutError:
                return []
            return self.chunks[seen:]


@dataclass(kw_only=True)
class Call:
    """One call of a function: its inputs, and what came of them."""

    id: str
    function: str
    inputs: dict[str, Input] = field(default_factory=dict)
    outputs: Stream = field(default_factory=Stream)
    """api_pb2.FunctionGetOutputsItem"""
    given: Stream = field(default_factory=Stream)
    """Towards the container: the body of a web request."""
    said: Stream = field(default_factory=Stream)
    """From the container: what a generator yields."""

    @property
    def is_done(self) -> bool:
        return len(self.outputs.chunks) >= len(self.inputs)


@dataclass(frozen=True, kw_only=True)
class Mount:
    id: str
    files: Mapping[str, str]
    """Path → sha256."""


@dataclass(frozen=True, kw_only=True)
class Secret:
    id: str
    name: str
    values: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Image:
    id: str
    message: Any
    """api_pb2.Image"""


@dataclass(frozen=True, kw_only=True)
class Seen:
    """One call of the protocol, in the order in which they came."""

    rpc: str
    task: str | None
    """The container that made it; None: a client."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """One line of a container's log."""

    app: str
    task: str
    function: str
    stream: int
    text: str
    at: float


class World:
    """Everything, in one place."""

    def __init__(self, folder: Path, secrets: Mapping[str, Mapping[str, str]]) -> None:
        self.folder = folder
        self.ids = Ids()
        self.apps: dict[str, App] = {}
        self.functions: dict[str, Function] = {}
        self.class_functions: dict[str, str] = {}
        """Class id → function id."""
        self.mounts: dict[str, Mount] = {}
        self.volumes: dict[str, Volume] = {}
        self.secrets: dict[str, Secret] = {}
        self.images: dict[str, Image] = {}
        self.calls: dict[str, Call] = {}
        self.inputs: dict[str, Input] = {}
        self.seen: list[Seen] = []
        self.lines = Stream()
        self.lost: list[str] = []
        """What was written to a volume and never committed, a sentence each."""
        self.unimplemented: set[str] = set()
        for name, values in secrets.items():
            self.add_secret(name, values)

    def add_secret(self, name: str, values: Mapping[str, str]) -> Secret:
        secret = Secret(id=self.ids.new("st"), name=name, values=dict(values))
        self.secrets[secret.id] = secret
        return secret

    def as_now(self, functions: Mapping[str, str]) -> tuple[Function, ...]:
        return tuple(self.functions[each] for each in functions.values() if each in self.functions)

    def put_back(self, release: Release) -> None:
        for function in release.definitions:
            self.functions[function.id] = function

    def app_named(self, name: str) -> App | None:
        """The deployed one: a `modal run` is an app of its own, under the same name."""
        live = (app for app in self.apps.values() if app.deployed and not app.stopped)
        return next((app for app in live if app.name == name), None)

    def blob(self, name: str) -> Path:
        return self.folder / "blobs" / name

    def env_of(self, image_id: str) -> dict[str, str]:
        """The `ENV` lines of an image and of all that it is built on."""
        image = self.images[image_id].message
        env: dict[str, str] = {}
        for base in image.base_images:
            env |= self.env_of(base.image_id)
        for command in image.dockerfile_commands:
            word, _, rest = command.partition(" ")
            if word.upper() == "ENV":
                env |= _pairs(rest)
        return env

    def commands_of(self, image_id: str) -> list[str]:
        """What would be built, base first."""
        image = self.images[image_id].message
        before = [line for base in image.base_images for line in self.commands_of(base.image_id)]
        return [*before, *image.dockerfile_commands]


def _pairs(text: str) -> dict[str, str]:
    """`NAME=value` pairs as a Dockerfile quotes them."""
    import shlex  # noqa: PLC0415 - one place

    return {name: value for name, _, value in (part.partition("=") for part in shlex.split(text))}
