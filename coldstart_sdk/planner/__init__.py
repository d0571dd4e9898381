"""Decide what one platform does with one declaration. Pure, and the only place that decides.

    Spec + Capabilities ─ refuse ▶ decide ▶ order ▶ note ▶ Plan

`refuse` names what cannot be, `decide` settles each choice, `order` lays out the graph of steps, `note` says
what the user should know. A compiler spells the plan and a lifecycle runs it; neither second-guesses it.
"""

from __future__ import annotations

from coldstart_sdk.plan import Capabilities, Plan
from coldstart_sdk.planner import decide, note, order, refuse
from coldstart_sdk.planner.asked import Asked
from coldstart_sdk.spec import Snapshot, Spec


def plan(  # noqa: PLR0913 - a declaration, a platform, and what was said beside both
    spec: Spec,
    backend_name: str,
    capabilities: Capabilities,
    *,
    store: str | None = None,
    snapshot: Snapshot | None = None,
    sdk: str,
) -> Plan:
    """The plan of one backend; `store` and `snapshot` win over the declaration."""
    asked = Asked(
        spec=spec,
        backend=backend_name,
        capabilities=capabilities,
        store=store if store is not None else spec.store,
        snapshot=snapshot if snapshot is not None else spec.snapshot,
    )
    refuse.impossible(asked)
    settled = decide.settle(asked)
    return Plan(
        backend=backend_name,
        spec=spec,
        spec_digest=spec.digest(),
        sdk=sdk,
        snapshot=settled.snapshot,
        gpu=settled.gpu,
        place=settled.place,
        places=settled.places,
        store=asked.store,
        volume=settled.volume,
        tiers=settled.tiers,
        env={**spec.image.env, **spec.env},
        steps=order.steps(asked, settled),
        notes=note.notes(asked, settled),
    )
