"""What the planner is asked, and what it settled before it orders the steps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from coldstart_sdk.plan import Capabilities, Card
from coldstart_sdk.spec import Kind, Place, Snapshot, Spec, VolumeSpec


@dataclass(frozen=True, kw_only=True)
class Asked:
    """One declaration, one platform, and what was said beside the declaration."""

    spec: Spec
    backend: str
    capabilities: Capabilities
    store: str | None
    snapshot: Snapshot

    @property
    def where(self) -> str:
        return f"{self.spec.module}.py:{self.spec.qualname}"

    def has(self, kind: Kind) -> bool:
        return bool(self.spec.hooks_of(kind))


@dataclass(frozen=True, kw_only=True)
class Settled:
    """Every choice that is not the order of steps."""

    snapshot: Snapshot
    """Never `auto`."""
    cards: tuple[Card, ...]
    """The declared cards that are sold there, in order of preference."""
    unsold: tuple[str, ...]
    gpu: tuple[str, ...]
    place: Place
    places: Mapping[str, Place]
    volume: VolumeSpec | None
    tiers: tuple[str, ...]
