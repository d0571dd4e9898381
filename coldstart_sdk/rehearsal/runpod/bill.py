"""What a worker's seconds would have cost.

RunPod's own pages differ on whether a start is billed, so both sums are told.
"""

from __future__ import annotations

from typing import Any

from coldstart_sdk.backends.runpod.capabilities import CAPABILITIES
from coldstart_sdk.plan import Plan


def billed(plan: Plan, *, starting_s: float, answering_s: float) -> dict[str, Any]:
    """Seconds by what they are billed for, and dollars on the first declared card."""
    idle_s = plan.spec.scale.idle_s
    told: dict[str, Any] = {
        "billed_starting_s": round(starting_s, 3),
        "billed_answering_s": round(answering_s, 3),
        "billed_idle_s": idle_s,
    }
    name, _, count = (plan.gpu[0] if plan.gpu else "").partition(":")
    card = next((card for card in CAPABILITIES.cards or () if card.sold_as == name), None)
    if card is None:
        return told | {"price": "none: no GPU is declared, and our prices are those of GPUs"}
    if card.usd_per_s is None:
        return told | {"price": f"none: RunPod lists no price for {name}"}
    usd_per_s = card.usd_per_s * int(count or 1)
    warm_s = answering_s + idle_s
    return told | {
        "usd_if_starting_is_billed": round((starting_s + warm_s) * usd_per_s, 6),
        "usd_if_it_is_not": round(warm_s * usd_per_s, 6),
        "price": f"${usd_per_s:g} a second of {plan.gpu[0]}, as listed on {CAPABILITIES.priced_on}",
    }
