"""Builders for tests of storage: sets of weights, a sync with its events, and one in a process of its own."""

from __future__ import annotations

import hashlib
import json
import random
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from coldstart_sdk import record
from coldstart_sdk.events import Event
from coldstart_sdk.manifest import Manifest
from coldstart_sdk.rehearsal import origin
from coldstart_sdk.spec import Origin, WeightSpec
from coldstart_sdk.storage.partial import CHUNK_BYTES
from coldstart_sdk.storage.sync import sync
from coldstart_sdk.storage.tiers import Tier
from coldstart_sdk.storage.weights import LocalWeight

E = TypeVar("E", bound=Event)

FEW_CHUNKS = 3 * CHUNK_BYTES + 12345
"""A size of four chunks, the last a short one."""

_CHILD = """
import json, sys, threading
from pathlib import Path
from coldstart_sdk import record
from coldstart_sdk.events import ignore
from coldstart_sdk.spec import WeightSpec
from coldstart_sdk.storage.sync import sync
order = json.loads(sys.argv[1])
{before}
weight = sync("w", record.from_data(WeightSpec, order["weight"]), home=Path(order["home"]),
              project=Path(order["home"]), step="fetch:w", emit=ignore, cancelled=threading.Event())
print(json.dumps([str(weight.path), weight.tier]))
"""


def content(size: int, seed: int = 0) -> bytes:
    return random.Random(seed).randbytes(size)  # noqa: S311 - the same bytes every time


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def a_url(address: str, *, sha256: str | None = None, filename: str | None = None) -> WeightSpec:
    return WeightSpec(origin=Origin.URL, source=address, sha256=sha256, filename=filename)


def an_origin(folder: Path, data: bytes) -> origin.Origin:
    """One that serves these bytes as `model.bin`."""
    served = folder / "served"
    served.mkdir()
    (served / "model.bin").write_bytes(data)
    return origin.Origin(served)


@dataclass
class Syncing:
    """A home, and what syncs into it said."""

    home: Path
    project: Path
    events: list[Event] = field(default_factory=list)
    cancelled: threading.Event = field(default_factory=threading.Event)
    alone: bool = False

    def run(
        self,
        weight: WeightSpec,
        name: str = "w",
        *,
        tiers: Sequence[Tier] = (),
        locked: Manifest | None = None,
        tree: str | None = None,
    ) -> LocalWeight:
        self.events.clear()
        return sync(
            name,
            weight,
            home=self.home,
            project=self.project,
            step=f"fetch:{name}",
            emit=self.events.append,
            cancelled=self.cancelled,
            tiers=tiers,
            locked=locked,
            tree=tree,
            alone=self.alone,
        )

    def of(self, kind: type[E]) -> list[E]:
        return [event for event in self.events if isinstance(event, kind)]

    def blobs(self) -> set[str]:
        return {path.name for path in (self.home / "blobs" / "sha256").iterdir()}

    def leftovers(self) -> set[str]:
        """Everything that is neither finished nor meant to be found again."""
        hidden = {str(path.relative_to(self.home)) for path in self.home.rglob(".*")}
        return hidden | {path.name for path in (self.home / "partial").iterdir()}


def in_a_process(weight: WeightSpec, home: Path, *, before: str = "") -> subprocess.Popen[str]:
    """The same sync in a child; `before` is code that it runs first."""
    order = json.dumps({"weight": record.to_data(weight), "home": str(home)})
    return subprocess.Popen(
        [sys.executable, "-c", _CHILD.format(before=before), order], stdout=subprocess.PIPE, text=True
    )
