"""What a deploy would change: the wanted body against what is live. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

IMMUTABLE = ("type",)
_UNORDERED = ("excludedTypes", "allowedCudaVersions", "dataCenterIds", "networkVolumes")


@dataclass(frozen=True, kw_only=True)
class Change:
    """One field that differs; values of variables are not kept."""

    field: str
    live: Any
    wanted: Any

    def __str__(self) -> str:
        wanted = json.dumps(self.wanted, ensure_ascii=False)
        before = "" if self.live is None else f"{json.dumps(self.live, ensure_ascii=False)} -> "
        return f"{self.field}: {before}{wanted}"


def changes(wanted: Mapping[str, Any], live: Mapping[str, Any]) -> tuple[Change, ...]:
    """Every wanted field that is not so yet."""
    return tuple(
        Change(field=field, live=_shown(field, live.get(field)), wanted=_shown(field, value))
        for field, value in wanted.items()
        if not _same(field, value, live.get(field))
    )


def patch(wanted: Mapping[str, Any], changed: tuple[Change, ...], live: Mapping[str, Any]) -> dict[str, Any]:
    """The body that makes it so: a field goes whole, for what is left out of one may be cleared."""
    body = {change.field: wanted[change.field] for change in changed}
    if "gpu" in body:
        body["gpu"] = {"excludedTypes": [], **_other_cuda_cleared(body["gpu"], live), **body["gpu"]}
    return body


def _other_cuda_cleared(gpu: Mapping[str, Any], live: Mapping[str, Any]) -> dict[str, Any]:
    """A floor and a list of versions exclude each other, and setting one does not clear the other."""
    was = live.get("gpu") or {}
    if "allowedCudaVersions" in gpu and was.get("minCudaVersion"):
        return {"minCudaVersion": ""}
    return {"allowedCudaVersions": []} if "minCudaVersion" in gpu and was.get("allowedCudaVersions") else {}


def undo(live: Mapping[str, Any], changed: tuple[Change, ...]) -> dict[str, Any]:
    """The body that brings back what was live."""
    body = {change.field: live[change.field] for change in changed if live.get(change.field) is not None}
    if gpu := body.get("gpu"):
        keep = {name: gpu[name] for name in ("pools", "count", "excludedTypes") if name in gpu}
        keep["allowedCudaVersions"] = gpu.get("allowedCudaVersions") or []
        keep["minCudaVersion"] = gpu.get("minCudaVersion") or ""
        body["gpu"] = keep
    if cpu := body.get("cpu"):
        body["cpu"] = [{"id": each["id"], "vcpuCount": each["vcpuCount"]} for each in cpu]
    return body


def _same(field: str, wanted: object, live: object) -> bool:
    if isinstance(wanted, Mapping):
        if not isinstance(live, Mapping):
            return False
        if field == "env":  # replaced as a whole
            return dict(wanted) == dict(live)
        keys = {*wanted, *(("excludedTypes",) if field == "gpu" else ())}
        return all(_same(key, wanted.get(key), live.get(key)) for key in keys)
    if field in _UNORDERED:
        return sorted(_listed(wanted)) == sorted(_listed(live))
    if isinstance(wanted, list):
        return len(wanted) == len(_listed(live)) and all(
            _same("", one, other) for one, other in zip(wanted, _listed(live), strict=True)
        )
    return wanted == live


def _listed(value: object) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else []


def _shown(field: str, value: object) -> object:
    """An environment by its names alone: a value may be somebody's secret."""
    return sorted(value) if field == "env" and isinstance(value, Mapping) else value
