"""The decision as data: which step runs in which stage on one backend, and what the user should know.

`planner.plan` writes it, a compiler spells it, a lifecycle runs it. Also here: what a platform says of
itself.
"""

from __future__ import annotations

import enum
import json
from collections.abc import Mapping
from dataclasses import field

from coldstart_sdk import record
from coldstart_sdk.errors import BundleError
from coldstart_sdk.frozen import dataclass
from coldstart_sdk.spec import Place, Snapshot, Spec, VolumeSpec

FORMAT = 1


class Stage(str, enum.Enum):
    """The cuts that a platform makes, in order. Without a snapshot all up to READY is `after_snapshot`."""

    BUILD = "build"
    BEFORE_SNAPSHOT = "before_snapshot"
    AFTER_SNAPSHOT = "after_snapshot"
    BACKGROUND = "background"
    CLOSE = "close"


class StepKind(str, enum.Enum):
    """What a step does; the first half of its name, and what `COLDSTART_SKIP` may name."""

    BUILD = "build"
    FETCH = "fetch"
    IMPORT = "import"
    CUDA_INIT = "cuda_init"
    CONSTRUCT = "construct"
    LOAD = "load"
    RESTORED = "restored"
    WARMUP = "warmup"
    CANARY = "canary"
    BACKGROUND = "background"
    CLOSE = "close"


class Lane(str, enum.Enum):
    """Where a step's code runs."""

    MODEL = "model"
    """The one thread that load, warm-up and requests share: CUDA-graph state belongs to a thread."""
    IMPORTS = "imports"
    """One thread for all imports: two at once would only fight for the interpreter."""
    LOOP = "loop"
    """The event loop that async hooks and endpoints share."""
    OWN = "own"
    """A thread of its own."""


class Work(str, enum.Enum):
    """Who does the step's work, and so what `Step.target` names."""

    HOOK = "hook"
    """The user's method `target`."""
    WEIGHT = "weight"
    """Bring the weight `target` here."""
    MODULE = "module"
    """Import the module `target`."""
    DECLARATION = "declaration"
    """Import the user's own file, and find the class in it."""
    VALIDATION = "validation"
    """Make ready what checks arguments and results."""
    INSTANCE = "instance"
    """Construct the user's class."""
    DRIVER = "driver"
    """Open a CUDA context through the driver."""
    KERNEL = "kernel"
    """Launch one real kernel."""
    UPLOAD = "upload"
    """Fill the store, in a process of its own."""
    RESEED = "reseed"
    """Give random generators a state of their own after a restore."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """One node of the lifecycle's graph."""

    name: str
    """`kind:what`, unique in its plan."""
    kind: StepKind
    work: Work
    target: str
    stage: Stage
    lane: Lane
    after: tuple[str, ...] = ()
    required: bool = True
    timeout_s: float | None = None
    device: str | None = None
    """What a hook that asks for `device` is given in this stage."""


@dataclass(frozen=True, kw_only=True)
class Note:
    """Something that the platform cannot give, or that was decided for the user, and why."""

    about: str
    """The field, hook or capability it is about."""
    text: str


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What one backend will do with one declaration."""

    backend: str
    spec: Spec
    spec_digest: str
    sdk: str
    """Version of coldstart that decided; a worker of another version refuses the plan."""
    snapshot: Snapshot
    """Decided: never `auto`."""
    gpu: tuple[str, ...]
    """The declared cards that exist on this platform, in its own words, in order of preference."""
    place: Place
    """Where weights are put that say nothing themselves."""
    places: Mapping[str, Place] = field(default_factory=dict)
    """Where each weight is put."""
    store: str | None
    volume: VolumeSpec | None = None
    """The volume that the worker mounts, declared or decided."""
    tiers: tuple[str, ...]
    """Where bytes are looked for, in this order."""
    env: Mapping[str, str]
    """Set before the first import of anything."""
    steps: tuple[Step, ...]
    notes: tuple[Note, ...]
    format: int = FORMAT

    def steps_in(self, *stages: Stage) -> tuple[Step, ...]:
        return tuple(step for step in self.steps if step.stage in stages)

    def to_json(self) -> str:
        return json.dumps(record.to_data(self), indent=2, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str, *, where: str | None = None) -> Plan:
        """The plan that `to_json` wrote; anything else is a stale or broken bundle."""
        try:
            return record.from_data(cls, json.loads(text))
        except ValueError as exc:
            raise BundleError(
                f"this is not a plan that this version can read: {exc}",
                fix="Build it again with this version of coldstart.",
                where=where,
            ) from exc


@dataclass(frozen=True, kw_only=True)
class Card:
    """One GPU as a platform sells it."""

    gpu: str
    """Name in the GPU table."""
    sold_as: str
    """The platform's own word for it."""
    pool: str | None = None
    usd_per_s: float | None = None


@dataclass(frozen=True, kw_only=True)
class Capabilities:
    """Facts about a platform, each one quotable in a note."""

    title: str
    snapshots: frozenset[Snapshot]
    cards: tuple[Card, ...] | None
    """None: whatever the machine has."""
    tiers: tuple[str, ...]
    """Tiers that can exist there, in the fixed order."""
    places: frozenset[Place]
    builds_image: bool
    """Whether `hook.build` runs while an image is built; otherwise it runs once per environment."""
    request_limit_bytes: int | None
    response_limit_bytes: int | None
    volume_path: str | None
    """Where a volume is mounted; None: there are none."""
    overrides: frozenset[str]
    """Keys that `overrides={name: {...}}` may hold."""
    chunk_limit_bytes: int | None = None
    """The largest chunk of a stream."""
    volume_by_default: bool = False
    """Whether weights go to a volume unless something else is said; one is made where none is declared."""
    lacks: Mapping[str, str] = field(default_factory=dict)
    """What a user might expect and will not get: field, `field=value` or hook → the sentence to show."""
    priced_on: str | None = None
    """The day the prices were read."""
