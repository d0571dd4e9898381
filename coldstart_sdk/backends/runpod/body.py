"""What is asked of RunPod's control plane, REST v2: the endpoint's body, and the volume's.

Whatever has a default there is sent all the same: FlashBoot is off and a time limit is absent when left out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from coldstart_sdk.backends.runpod.base import choose, declared_cards
from coldstart_sdk.backends.runpod.capabilities import CAPABILITIES
from coldstart_sdk.errors import PlanError
from coldstart_sdk.plan import Plan

PORT = 8000
"""Where an http worker listens."""
INIT_LIMIT_S = 420
"""A worker that starts for longer is called unhealthy, unless it is told how long."""
DISK_GB = 20
_QUEUE_DELAY_S = 4
_GB = 1_000_000_000
_CPU = ({"id": "cpu5c", "vcpuCount": 2},)


def overrides(plan: Plan) -> Mapping[str, Any]:
    return plan.spec.overrides.get("runpod", {})


def is_http(plan: Plan) -> bool:
    """Whether callers talk to the worker's own HTTP server instead of a queue."""
    mode = overrides(plan).get("mode", "queue")
    if mode not in {"queue", "http"}:
        raise PlanError(
            f"overrides['runpod'] has the mode {mode!r:.40}",
            fix='Write "queue" (the default) or "http".',
            where=f"{plan.spec.module}.py:{plan.spec.qualname}",
        )
    return bool(mode == "http")


def endpoint(plan: Plan, image: str, *, weights_bytes: int = 0) -> dict[str, Any]:
    """The body that creates the endpoint; sent as it stands, but for the id of a volume.

    `weights_bytes` is what a worker brings onto its own disk.
    """
    said = overrides(plan)
    body: dict[str, Any] = {
        "name": plan.spec.name,
        "type": "LOAD_BALANCER" if is_http(plan) else "QUEUE",
        "image": image,
        "disk": said.get("disk", DISK_GB + math.ceil(weights_bytes / _GB)),
        "env": environment(plan),
        **_compute(plan),
        "workers": _workers(plan),
        "scaling": _scaling(plan),
        "flashboot": said.get("flashboot", "FLASHBOOT"),
        "timeout": said.get("timeout", _timeout_ms(plan)),
    }
    if is_http(plan):
        body["ports"] = [f"{PORT}/http"]
    if "registry" in said:
        body["registry"] = said["registry"]
    if places := data_centers(plan):
        body["dataCenterIds"] = places
    return body


def volume(plan: Plan) -> dict[str, Any] | None:
    """The body that creates the volume, where weights have one."""
    if plan.volume is None:
        return None
    centers = data_centers(plan)
    if not centers:
        raise PlanError(
            f"the volume {plan.volume.name!r} has no data centre, and on RunPod it lies in exactly one",
            fix='Write volume=Volume(..., region="EU-RO-1"), or another one of RunPod\'s.',
            where=f"{plan.spec.module}.py:{plan.spec.qualname}",
        )
    size = plan.volume.size_bytes or 50 * _GB
    return {
        "name": plan.volume.name,
        "size": max(10, math.ceil(size / _GB)),
        "dataCenter": centers[0],
        "type": "STANDARD",
    }


def data_centers(plan: Plan) -> list[str]:
    """Where workers may start; a volume leaves one choice."""
    if plan.volume and plan.volume.region:
        return [plan.volume.region]
    region = overrides(plan).get("region", ())
    return [region] if isinstance(region, str) else list(region)


def environment(plan: Plan) -> dict[str, str]:
    """Only what is no secret; of a secret the platform's own reference to it."""
    env = {name: f"{{{{ RUNPOD_SECRET_{name} }}}}" for name in sorted(plan.spec.secrets)}
    if plan.spec.timeout_s > INIT_LIMIT_S:
        env["RUNPOD_INIT_TIMEOUT"] = str(math.ceil(plan.spec.timeout_s))
    if is_http(plan):
        env |= {"PORT": str(PORT), "PORT_HEALTH": str(PORT), "HEALTH_CHECK_PATH": "/ping"}
    return dict(sorted(env.items()))


def _compute(plan: Plan) -> dict[str, Any]:
    cards = declared_cards(plan)
    if not cards:
        return {"cpu": overrides(plan).get("cpu", list(_CPU))}
    counts = {int(name.partition(":")[2] or 1) for name in plan.gpu}
    if len(counts) > 1:
        raise PlanError(
            f"gpu= asks for {' and for '.join(map(str, sorted(counts)))} cards at once",
            fix="RunPod gives each worker of an endpoint the same number: declare one.",
            where=f"{plan.spec.module}.py:{plan.spec.qualname}",
        )
    pools = list(dict.fromkeys(card.pool for card in cards))
    wanted = {card.sold_as for card in cards}
    # A pool holds several cards; who asked for one of them gets no other.
    others = [
        card.sold_as for card in CAPABILITIES.cards or () if card.pool in pools and card.sold_as not in wanted
    ]
    gpu: dict[str, Any] = {"pools": pools, "count": counts.pop()}
    if others:
        gpu["excludedTypes"] = sorted(others)
    said = overrides(plan)
    if "allowedCudaVersions" in said:
        gpu["allowedCudaVersions"] = list(said["allowedCudaVersions"])
    else:
        gpu["minCudaVersion"] = said.get("minCudaVersion", choose(plan).cuda)
    return {"gpu": gpu}


def _workers(plan: Plan) -> dict[str, int]:
    scale = plan.spec.scale
    workers = {"min": scale.min, "max": max(scale.max, scale.min, 1)}
    if is_http(plan) or _scaling(plan)["type"] != "REQUEST_COUNT":  # refused together with 422
        workers["idleTimeout"] = max(1, min(3600, round(scale.idle_s)))
    return workers


def _scaling(plan: Plan) -> dict[str, Any]:
    if said := overrides(plan).get("scaling"):
        return dict(said)
    if is_http(plan):
        return {"type": "REQUEST_COUNT", "requestCount": plan.spec.scale.concurrency}
    return {"type": "QUEUE_DELAY", "queueDelay": _QUEUE_DELAY_S}


def _timeout_ms(plan: Plan) -> int:
    """A job that is taken early waits for READY before it runs: the platform's limit holds for both."""
    spec = plan.spec
    longest = max((endpoint.timeout_s or spec.timeout_s for endpoint in spec.endpoints), default=0.0)
    return max(5000, round((spec.timeout_s + longest) * 1000))
