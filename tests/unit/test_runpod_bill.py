"""What a rehearsal says that RunPod would bill: seconds by their name, dollars of the declared card."""

from __future__ import annotations

import pytest

from coldstart_sdk.backends.runpod import backend
from coldstart_sdk.backends.runpod.capabilities import CAPABILITIES
from coldstart_sdk.plan import Plan
from coldstart_sdk.planner import plan
from coldstart_sdk.rehearsal.runpod.bill import billed
from tests.builders import LOAD, a_spec


def planned(*gpu: str) -> Plan:
    return plan(a_spec(LOAD, gpu=gpu), "runpod", backend.capabilities, sdk="0")


def test_seconds_are_told_by_what_they_are_billed_for_and_dollars_by_their_card_and_date() -> None:
    told = billed(planned("L4:2"), starting_s=10.0, answering_s=2.0)

    assert (told["billed_starting_s"], told["billed_answering_s"], told["billed_idle_s"]) == (10.0, 2.0, 60.0)
    assert told["usd_if_starting_is_billed"] == pytest.approx(72 * 2 * 0.00019)
    assert told["usd_if_it_is_not"] == pytest.approx(62 * 2 * 0.00019)
    assert told["price"] == f"$0.00038 a second of NVIDIA L4:2, as listed on {CAPABILITIES.priced_on}"


@pytest.mark.parametrize(
    ("gpu", "why"),
    [((), "no GPU is declared"), (("RTX 5090",), "lists no price for NVIDIA GeForce RTX 5090")],
)
def test_what_has_no_listed_price_has_no_sum_and_says_why(gpu: tuple[str, ...], why: str) -> None:
    told = billed(planned(*gpu), starting_s=10.0, answering_s=2.0)

    assert why in told["price"]
    assert not [name for name in told if name.startswith("usd")]
