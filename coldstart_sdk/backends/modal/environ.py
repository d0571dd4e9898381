"""The image's environment: where files lie, and what suits a snapshot."""

from __future__ import annotations

from collections.abc import Mapping

from coldstart_sdk.plan import Plan
from coldstart_sdk.spec import Snapshot

VOLUME = "/coldstart"
"""Where the volume is mounted."""
COMPILED = "/coldstart-compiled"
"""Where a volume is mounted that keeps compiled kernels alone."""
IN_IMAGE = "/opt/coldstart"
"""Where files are kept that no volume keeps; a build step may have put weights there."""

_COMPILE_CACHES = {
    "CUDA_CACHE_PATH": "cuda",
    "TORCHINDUCTOR_CACHE_DIR": "inductor",
    "TRITON_CACHE_DIR": "triton",
    "VLLM_CACHE_ROOT": "vllm",
}


def home(plan: Plan) -> str:
    """Where the worker keeps files between starts."""
    return VOLUME if plan.volume else IN_IMAGE


def compiles(plan: Plan) -> bool:
    """Whether compiled kernels need a volume of their own: there is none for weights."""
    return bool(plan.gpu) and not plan.volume


def in_image(env: Mapping[str, str]) -> Mapping[str, str]:
    """While an image is built there is no volume; it would later hide what was put in its place."""
    moved = {COMPILED: f"{IN_IMAGE}/compiled", VOLUME: IN_IMAGE}
    return {
        name: to + value.removeprefix(at)
        for name, value in env.items()
        for at, to in moved.items()
        if value == at or value.startswith(f"{at}/")
    }


def environment(plan: Plan) -> Mapping[str, str]:
    """Ours first: what the user declared wins."""
    return {"COLDSTART_HOME": home(plan), **_caches(plan), **_for_snapshots(plan), **plan.env}


def _caches(plan: Plan) -> Mapping[str, str]:
    """A compiled kernel is compiled once for all workers, not once for each."""
    kept = COMPILED if compiles(plan) else f"{home(plan)}/compiled"
    caches = {name: f"{kept}/{folder}" for name, folder in _COMPILE_CACHES.items()}
    downloads = {"HF_XET_HIGH_PERFORMANCE": "1"} if plan.spec.weights else {}
    return {**(caches if plan.spec.gpu else {}), **downloads}


def _for_snapshots(plan: Plan) -> Mapping[str, str]:
    if plan.snapshot is Snapshot.NONE or not plan.spec.gpu:
        return {}
    # Inductor's worker processes would be part of the snapshot, and may keep it from being taken.
    quiet = {"TORCHINDUCTOR_COMPILE_THREADS": "1"}
    if any(requirement.lower().startswith("xformers") for requirement in plan.spec.image.pip):
        quiet["XFORMERS_ENABLE_TRITON"] = "1"  # else it asks for a GPU while there is none
    return quiet
