"""What was declared, as data: parsed, checked, the same on every machine.

`declare.read` makes a `Spec`; all that follows trusts what stands here. Durations are seconds, sizes are
bytes.
"""

from __future__ import annotations

import enum
import json
from collections.abc import Mapping
from dataclasses import field
from typing import Any

from coldstart_sdk import record
from coldstart_sdk.frozen import dataclass


class Kind(str, enum.Enum):
    """The eight hooks, in the order in which a start meets them."""

    BUILD = "build"
    FETCH = "fetch"
    CUDA_INIT = "cuda_init"
    LOAD = "load"
    RESTORED = "restored"
    WARMUP = "warmup"
    BACKGROUND = "background"
    CLOSE = "close"


class Snapshot(str, enum.Enum):
    NONE = "none"
    CPU = "cpu"
    GPU = "gpu"
    AUTO = "auto"


class Place(str, enum.Enum):
    """Where weights are put; every tier that exists is still read in its fixed order."""

    STORE = "store"
    VOLUME = "volume"
    IMAGE = "image"
    ORIGIN = "origin"


class Origin(str, enum.Enum):
    HF = "hf"
    S3 = "s3"
    URL = "url"
    LOCAL = "local"


class CallStyle(str, enum.Enum):
    """How an endpoint's method is called."""

    PLAIN = "plain"
    ASYNC = "async"
    GENERATOR = "generator"
    ASYNC_GENERATOR = "async_generator"


class Medium(str, enum.Enum):
    AUDIO = "Audio"
    IMAGE = "Image"
    VIDEO = "Video"
    FILE = "File"


@dataclass(frozen=True, kw_only=True)
class WeightSpec:
    """One set of files: where it comes from, which of it, and how the user wants to see it."""

    origin: Origin
    source: str
    """Repository, `s3://` address, URL or path, as declared."""
    revision: str | None = None
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    sha256: str | None = None
    filename: str | None = None
    """Name of the one file of a URL, when its last path segment is not wanted."""
    links: Mapping[str, str] = field(default_factory=dict)
    """Extra name inside this set → `other_weight/path`, or a path in this set."""
    place: Place | None = None
    allow_pickle: tuple[str, ...] = ()
    """`file@sha256:…` of each pickle that may be loaded."""


@dataclass(frozen=True, kw_only=True)
class RunCommand:
    command: str
    gpu: bool = False


@dataclass(frozen=True, kw_only=True)
class ContainerSpec:
    """The environment that the worker's image is built with."""

    python: str | None = None
    base: str | None = None
    apt: tuple[str, ...] = ()
    pip: tuple[str, ...] = ()
    run: tuple[RunCommand, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    files: tuple[tuple[str, str], ...] = ()
    """(local path beside the declaration, path in the image)."""


@dataclass(frozen=True, kw_only=True)
class ScaleSpec:
    min: int = 0
    max: int = 3
    idle_s: float = 60.0
    concurrency: int = 1
    queue: int = 32
    """Requests that may wait for a place; the next one is answered 429."""


@dataclass(frozen=True, kw_only=True)
class VolumeSpec:
    name: str
    size_bytes: int | None = None
    region: str | None = None


@dataclass(frozen=True, kw_only=True)
class HookSpec:
    kind: Kind
    method: str
    required: bool
    timeout_s: float | None
    after: tuple[str, ...]
    receives: tuple[str, ...]
    """Which of weights, device, spec, log the method asks for."""
    is_async: bool
    canary: bool = False
    line: int | None = None


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """One argument of an endpoint as callers see it."""

    name: str
    required: bool
    default: Any
    schema: Mapping[str, Any]
    text: bool
    """A plain `str`: the command line takes it literally."""
    medium: Medium | None
    """Set when the argument is one media value."""


@dataclass(frozen=True, kw_only=True)
class EndpointSpec:
    method: str
    style: CallStyle
    default: bool
    timeout_s: float | None
    parameters: tuple[Parameter, ...]
    result: Mapping[str, Any]
    """JSON schema of the result, or of one chunk of a stream."""
    medium: Medium | None
    """Set when the result, or each chunk, is one media value."""
    doc: str
    line: int | None = None

    @property
    def streams(self) -> bool:
        return self.style in {CallStyle.GENERATOR, CallStyle.ASYNC_GENERATOR}


@dataclass(frozen=True, kw_only=True)
class Spec:
    """One declared model class."""

    name: str
    module: str
    """File name of the declaration without `.py`; the folder it lies in is the project."""
    qualname: str
    gpu: tuple[str, ...]
    """Names of the GPU table, in order of preference; empty: no GPU."""
    image: ContainerSpec
    weights: Mapping[str, WeightSpec]
    store: str | None
    place: Place | None
    volume: VolumeSpec | None
    read_url: str | None
    results: str | None
    snapshot: Snapshot
    scale: ScaleSpec
    timeout_s: float
    """How long a request may wait for READY, and then take."""
    imports: tuple[str, ...]
    env: Mapping[str, str]
    secrets: tuple[str, ...]
    overrides: Mapping[str, Mapping[str, Any]]
    hooks: tuple[HookSpec, ...]
    endpoints: tuple[EndpointSpec, ...]

    def hooks_of(self, kind: Kind) -> tuple[HookSpec, ...]:
        return tuple(hook for hook in self.hooks if hook.kind is kind)

    @property
    def default_endpoint(self) -> EndpointSpec | None:
        """The one that may be called without a name, if there is one."""
        if len(self.endpoints) == 1:
            return self.endpoints[0]
        return next((endpoint for endpoint in self.endpoints if endpoint.default), None)

    def endpoint(self, name: str) -> EndpointSpec | None:
        return next((endpoint for endpoint in self.endpoints if endpoint.method == name), None)

    def to_json(self) -> str:
        return json.dumps(record.to_data(self), indent=2, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Spec:
        return record.from_data(cls, json.loads(text))

    def digest(self) -> str:
        """The same on every machine; where in its file a method stands does not change it."""
        data = record.to_data(self)
        for mark in (*data["hooks"], *data["endpoints"]):
            del mark["line"]
        return record.digest(data)
