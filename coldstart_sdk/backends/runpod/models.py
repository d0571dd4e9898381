"""Which model RunPod's hosts should bring before a worker starts, so that no worker fetches it.

A host stages a whole repository of the Hugging Face hub, beside a GPU, and one for each endpoint (docs,
serverless/endpoints/model-caching). So it helps with the one that is wanted whole and lies nowhere nearer.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from typing import Any

from coldstart_sdk.backends.runpod.body import overrides
from coldstart_sdk.bundle import Artifact
from coldstart_sdk.errors import BundleError
from coldstart_sdk.manifest import LOCK_NAME
from coldstart_sdk.plan import Plan
from coldstart_sdk.spec import Origin, Place

FILE = "cached_models.json"
_COMMIT = re.compile(r"[0-9a-f]{40}")


def references(plan: Plan, code: tuple[Artifact, ...]) -> tuple[str, ...]:
    """What GraphQL's `modelReferences` is set to."""
    if not plan.gpu or not overrides(plan).get("cachedModel", True):
        return ()
    fitting = [
        name
        for name, weight in plan.spec.weights.items()
        if weight.origin is Origin.HF
        and plan.places.get(name) not in {Place.IMAGE, Place.VOLUME}
        and not (weight.include or weight.exclude)
    ]
    if len(fitting) != 1:
        return ()
    weight = plan.spec.weights[fitting[0]]
    revision = _locked(fitting[0], code) or weight.revision or "main"
    return (f"https://huggingface.co/{weight.source}:{revision}",)


def disk_bytes(plan: Plan, code: tuple[Artifact, ...]) -> int:
    """What a worker brings onto its own disk, as far as the project's lock knows."""
    locked = _lock(code)
    elsewhere = {name for name, place in plan.places.items() if place in {Place.IMAGE, Place.VOLUME}}
    tables = [table for name, table in locked.items() if name not in elsewhere]
    return sum(int(file["size"]) for table in tables for file in table.get("files", ()))


def _locked(name: str, code: tuple[Artifact, ...]) -> str | None:
    """The commit that the project's lock holds."""
    revision = str(_lock(code).get(name, {}).get("revision", ""))
    return revision if _COMMIT.fullmatch(revision) else None


def _lock(code: tuple[Artifact, ...]) -> Mapping[str, Mapping[str, Any]]:
    """The lock's tables, by weight; whoever fetches with it checks it."""
    text = next((file.data for file in code if file.path == f"code/{LOCK_NAME}"), None)
    if text is None:
        return {}
    if sys.version_info >= (3, 11):
        import tomllib  # noqa: PLC0415 - only a project with a lock pays for it
    else:
        import tomli as tomllib  # noqa: PLC0415 - as above
    try:
        tables: Mapping[str, Mapping[str, Any]] = tomllib.loads(text.decode()).get("weights", {})
    except ValueError as wrong:
        raise BundleError(
            f"{LOCK_NAME} cannot be read: {wrong}", fix="Write it anew: coldstart lock FILE", where=LOCK_NAME
        ) from wrong
    return tables
