"""What a worker says of itself: to a person, to a load balancer, and to a caller who came too early."""

from __future__ import annotations

import math

from coldstart_sdk.events import State
from coldstart_sdk.lifecycle import Status
from coldstart_sdk.progress import Reading

PING = {State.STARTING: 204, State.READY: 200}
"""RunPod's load balancer: 204 is "not yet", 200 "send me requests", anything else "not me"."""


def answer(status: Status, reading: Reading) -> dict[str, object]:
    """The body of `/ready`: the same keys in every state, and of a start that failed why."""
    said = early(status, reading)
    if status.state is not State.STARTING:
        said |= {"percent": 100, "eta_s": 0.0, "steps": []}
    if status.state is State.FAILED:
        said |= {"percent": reading.percent, "eta_s": None}
    return {**said, "degraded": list(status.degraded), **_problem(status)}


def describe(status: Status, reading: Reading) -> dict[str, object]:
    """What a person is shown: only what there is to say."""
    said: dict[str, object] = {"state": status.state.value}
    if status.state is State.STARTING:
        said |= early(status, reading)
    if status.degraded:
        said["degraded"] = list(status.degraded)
    return {**said, **_problem(status)}


def _problem(status: Status) -> dict[str, object]:
    problem = status.problem
    return {"reason": problem.message, "where": problem.where, "fix": problem.fix} if problem else {}


def early(status: Status, reading: Reading) -> dict[str, object]:
    """What a refused caller may know: how far the start is."""
    eta_s = None if reading.eta_s is None else round(reading.eta_s, 1)
    return {
        "state": status.state.value,
        "percent": reading.percent,
        "eta_s": eta_s,
        "steps": list(reading.running),
    }


def retry_after_s(reading: Reading) -> int:
    """When it is worth while to ask again."""
    return max(1, min(60, math.ceil(reading.eta_s))) if reading.eta_s is not None else 1
