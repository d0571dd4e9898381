"""A platform that is told what to run by one text file. It can be planned and built for, and no more."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from coldstart_sdk.bundle import Artifact, Bundle, code
from coldstart_sdk.plan import Capabilities, Card, Plan
from coldstart_sdk.spec import Place, Snapshot

CAPABILITIES = Capabilities(
    title="Harbour",
    snapshots=frozenset({Snapshot.NONE, Snapshot.CPU}),
    cards=(Card(gpu="L4", sold_as="small", usd_per_s=0.0001),),
    tiers=("image", "store", "origin"),
    places=frozenset({Place.IMAGE, Place.STORE, Place.ORIGIN}),
    builds_image=True,
    request_limit_bytes=1_000_000,
    response_limit_bytes=1_000_000,
    volume_path=None,
    overrides=frozenset({"berth"}),
    lacks={"volume": "Harbour has no volumes"},
)


@dataclass(frozen=True)
class Harbour:
    name: str = "harbour"
    capabilities: Capabilities = CAPABILITIES

    def compile(self, plan: Plan, project: Path) -> Bundle:
        berth = plan.spec.overrides.get("harbour", {}).get("berth", "any")
        manifest = f"run: {plan.spec.module}.py\ncard: {', '.join(plan.gpu)}\nberth: {berth}\n"
        return Bundle(
            target=self.name,
            artifacts=(*code(project, plan.spec), Artifact(path="harbour.txt", content=manifest)),
        )


backend = Harbour()
