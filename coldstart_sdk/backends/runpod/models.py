"""Which model RunPod's hosts should bring before a worker starts, so that no worker fetches it.

A host stages a whole repository of the Hugging Face hub, beside a GPU, and one for each endpoint (docs,
serverless/endpoints/model-caching). So it helps with the one that is wanted whole and lies nowhere nearer.
"""

from __future__ import annotations

import json
import re

from coldstart_sdk import record
from coldstart_sdk.backends.runpod.body import overrides
from coldstart_sdk.bundle import Artifact
from coldstart_sdk.manifest import LOCK_NAME, Lock
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


def _locked(name: str, code: tuple[Artifact, ...]) -> str | None:
    """The commit that the project's lock holds."""
    text = next((file.data for file in code if file.path.endswith(LOCK_NAME)), None)
    if text is None:
        return None
    locked = record.from_data(Lock, json.loads(text)).weights.get(name)
    return locked.manifest.revision if locked and _COMMIT.fullmatch(locked.manifest.revision) else None
