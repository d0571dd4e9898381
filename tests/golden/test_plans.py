"""Whole plans of typical declarations on each target: what a change does, its diff shows."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import product

import pytest

from coldstart_sdk.backends.local import backend as local
from coldstart_sdk.backends.modal import backend as modal
from coldstart_sdk.backends.runpod import backend as runpod
from coldstart_sdk.plan import Plan
from coldstart_sdk.planner import plan
from coldstart_sdk.plugins import Backend
from coldstart_sdk.spec import Kind, Medium, Origin, Place, Snapshot, Spec
from tests.builders import (
    BACKGROUND,
    CLOSE,
    EVERY_HOOK,
    LOAD,
    RESTORED,
    WARMUP,
    a_hook,
    a_spec,
    a_weight,
    an_endpoint,
)

DECLARATIONS: dict[str, Spec] = {
    "smallest": a_spec(),
    "speech": a_spec(
        LOAD,
        RESTORED,
        a_hook(Kind.WARMUP, "warm", canary=True),
        BACKGROUND,
        CLOSE,
        an_endpoint(medium=Medium.AUDIO),
        gpu=("L4", "RTX 4090", "A10G"),
        weights={"f5": a_weight("org/f5"), "vocos": a_weight("s3://bucket/vocos", origin=Origin.S3)},
        store="s3://bucket/models",
        imports=("torch",),
    ),
    "every-hook": a_spec(
        *EVERY_HOOK,
        a_hook(Kind.CUDA_INIT, is_async=True),
        a_hook(Kind.WARMUP, "long", after=("warmup",), required=False, timeout_s=30.0),
        a_hook(Kind.WARMUP, "beside"),
        gpu=("L4",),
        weights={"w": a_weight(place=Place.IMAGE)},
    ),
    "on-cpu": a_spec(
        LOAD, WARMUP, weights={"voices": a_weight("https://host/voices.bin", origin=Origin.URL)}
    ),
}
TARGETS: tuple[Backend, ...] = (local, runpod, modal)


def brief(made: Plan) -> str:
    """The decision alone: what only repeats the declaration is left out."""
    data = json.loads(made.to_json())
    del data["spec"], data["spec_digest"]
    return json.dumps(data, indent=1, ensure_ascii=False) + "\n"


@pytest.mark.parametrize(
    ("declaration", "backend", "snapshot"),
    [
        case
        for case in product(DECLARATIONS, TARGETS, Snapshot)
        if case[2] is not Snapshot.GPU or DECLARATIONS[case[0]].gpu
    ],
    ids=lambda value: getattr(value, "name", value),
)
def test_the_plan_is_the_one_that_was_agreed(
    declaration: str, backend: Backend, snapshot: Snapshot, golden: Callable[[str, str], None]
) -> None:
    made = plan(DECLARATIONS[declaration], backend.name, backend.capabilities, snapshot=snapshot, sdk="1.2.3")

    golden(f"plans/{declaration}.{backend.name}.{snapshot.value}.json", brief(made))
