"""The two files that RunPod's Hub reads from `.runpod/` (docs, hub/publishing-guide)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from coldstart_sdk.backends.runpod import body
from coldstart_sdk.backends.runpod.base import choose
from coldstart_sdk.plan import Plan
from coldstart_sdk.spec import Medium

_CATEGORIES = {Medium.AUDIO: "audio", Medium.IMAGE: "image", Medium.VIDEO: "video"}


def card(plan: Plan) -> dict[str, Any]:
    """`hub.json`."""
    spec = plan.spec
    media = [endpoint.medium for endpoint in spec.endpoints if endpoint.medium in _CATEGORIES]
    docs = [endpoint.doc for endpoint in spec.endpoints if endpoint.doc]
    return {
        "title": spec.name,
        "description": docs[0] if docs else f"{spec.qualname}, served by coldstart",
        "type": "serverless",
        "category": _CATEGORIES[media[0]] if media and media[0] else "language",
        "config": _config(plan),
    }


def tests(plan: Plan, sample: Mapping[str, Any]) -> dict[str, Any]:
    """`tests.json`: one call."""
    asked = body.endpoint(plan, "")
    config: dict[str, Any] = {"env": []}
    if "gpu" in asked:
        config |= {"gpuTypeId": plan.gpu[0].partition(":")[0], "gpuCount": asked["gpu"]["count"]}
    else:
        config |= {"cpuFlavor": asked["cpu"][0]["id"]}
    name = str(sample.get("endpoint") or (plan.spec.default_endpoint or plan.spec.endpoints[0]).method)
    return {
        "tests": [{"name": name, "input": dict(sample), "timeout": asked["timeout"]}],
        "config": config,
    }


def _config(plan: Plan) -> dict[str, Any]:
    asked = body.endpoint(plan, "")
    config: dict[str, Any] = {
        "runsOn": "GPU" if "gpu" in asked else "CPU",
        "containerDiskInGb": asked["disk"],
        "env": [
            {"key": name, "input": {"name": name, "type": "string", "advanced": False}}
            for name in sorted(plan.spec.secrets)
        ],
    }
    if "gpu" in asked:
        gpu = asked["gpu"]
        config |= {
            "gpuCount": gpu["count"],
            "gpuIds": ",".join((*gpu["pools"], *(f"-{other}" for other in gpu.get("excludedTypes", ())))),
        }
        if cuda := choose(plan).cuda:
            config["presets"] = []
            config["allowedCudaVersions"] = gpu.get("allowedCudaVersions", [cuda])
    else:
        config["cpuFlavor"] = asked["cpu"][0]["id"]
    if body.is_http(plan):
        config["endpointType"] = "LB"
    return config
