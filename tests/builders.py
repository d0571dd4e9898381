"""Declarations as data, in one line: `a_spec(LOAD, a_hook(Kind.WARMUP, "warm"), gpu=("L4",))`.

Only what a test is about is said; the rest is the smallest thing that can be declared.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from coldstart_sdk.backends.local import backend as local
from coldstart_sdk.plan import Plan
from coldstart_sdk.planner import plan
from coldstart_sdk.spec import (
    CallStyle,
    ContainerSpec,
    EndpointSpec,
    HookSpec,
    Kind,
    Origin,
    Parameter,
    ScaleSpec,
    Snapshot,
    Spec,
    WeightSpec,
)

_OPTIONAL = {Kind.BACKGROUND, Kind.CLOSE}


def a_hook(kind: Kind, method: str | None = None, **fields: Any) -> HookSpec:  # noqa: ANN401 - fields of a record, each of its own type
    """A hook; without a name its method is called like its kind."""
    hook = HookSpec(
        kind=kind,
        method=method or kind.value,
        required=kind not in _OPTIONAL,
        timeout_s=None,
        after=(),
        receives=(),
        is_async=False,
    )
    return replace(hook, **fields)


def an_endpoint(method: str = "speak", **fields: Any) -> EndpointSpec:  # noqa: ANN401 - fields of a record, each of its own type
    endpoint = EndpointSpec(
        method=method,
        style=CallStyle.PLAIN,
        default=False,
        timeout_s=None,
        parameters=(
            Parameter(
                name="text",
                required=True,
                default=None,
                schema={"type": "string"},
                text=True,
                medium=None,
            ),
        ),
        result={"type": "string"},
        medium=None,
        doc="",
    )
    return replace(endpoint, **fields)


def a_weight(source: str = "org/voice", **fields: Any) -> WeightSpec:  # noqa: ANN401 - fields of a record, each of its own type
    return replace(WeightSpec(origin=Origin.HF, source=source), **fields)


def a_spec(*marked: HookSpec | EndpointSpec, **fields: Any) -> Spec:  # noqa: ANN401 - fields of a record, each of its own type
    """A class with these hooks and endpoints; without an endpoint it has `speak`."""
    hooks = tuple(mark for mark in marked if isinstance(mark, HookSpec))
    endpoints = tuple(mark for mark in marked if isinstance(mark, EndpointSpec))
    spec = Spec(
        name="voice",
        module="voice",
        qualname="Voice",
        gpu=(),
        image=ContainerSpec(),
        weights={},
        store=None,
        place=None,
        volume=None,
        read_url=None,
        results=None,
        snapshot=Snapshot.AUTO,
        scale=ScaleSpec(),
        timeout_s=300.0,
        imports=(),
        env={},
        secrets=(),
        overrides={},
        hooks=hooks,
        endpoints=endpoints or (an_endpoint(),),
    )
    return replace(spec, **fields)


def a_plan(*marked: HookSpec | EndpointSpec, **fields: Any) -> Plan:  # noqa: ANN401 - fields of a record, each of its own type
    """What this machine does with such a class."""
    return plan(a_spec(*marked, **fields), "local", local.capabilities, sdk="0")


BUILD = a_hook(Kind.BUILD)
FETCH = a_hook(Kind.FETCH)
CUDA_INIT = a_hook(Kind.CUDA_INIT)
LOAD = a_hook(Kind.LOAD)
RESTORED = a_hook(Kind.RESTORED)
WARMUP = a_hook(Kind.WARMUP)
CANARY = a_hook(Kind.WARMUP, canary=True)
BACKGROUND = a_hook(Kind.BACKGROUND)
CLOSE = a_hook(Kind.CLOSE)
EVERY_HOOK = (BUILD, FETCH, LOAD, RESTORED, WARMUP, BACKGROUND, CLOSE)
