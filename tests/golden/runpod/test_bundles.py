"""Whole bundles for RunPod: what a change of a declaration does to them, the diff shows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from coldstart_sdk.backends.runpod import backend
from coldstart_sdk.backends.runpod.compile import compile_bundle
from coldstart_sdk.planner import plan
from coldstart_sdk.spec import (
    CallStyle,
    ContainerSpec,
    Medium,
    Origin,
    Place,
    RunCommand,
    ScaleSpec,
    Spec,
    VolumeSpec,
)
from tests.builders import BUILD, LOAD, WARMUP, a_spec, a_weight, an_endpoint

DECLARATIONS: dict[str, Spec] = {
    "smallest": a_spec(),
    "speech-baked": a_spec(
        LOAD,
        WARMUP,
        an_endpoint(medium=Medium.AUDIO),
        gpu=("L4", "RTX 4090"),
        image=ContainerSpec(python="3.11", apt=("ffmpeg",), pip=("torch==2.8.0",)),
        weights={"f5": a_weight("org/f5"), "vocos": a_weight("s3://bucket/vocos", origin=Origin.S3)},
        place=Place.IMAGE,
        env={"PRICE": 'a $ and a "quote"'},
        secrets=("HF_TOKEN",),
        timeout_s=600.0,
    ),
    "volume": a_spec(
        LOAD,
        gpu=("H100",),
        weights={"w": a_weight()},
        place=Place.VOLUME,
        volume=VolumeSpec(name="weights", size_bytes=40_000_000_000, region="EU-RO-1"),
        scale=ScaleSpec(min=1, max=5, idle_s=5.0, concurrency=4),
        overrides={"runpod": {"image": "docker.io/me/voice", "registry": "reg1", "disk": 40}},
    ),
    "http": a_spec(
        an_endpoint("chat", style=CallStyle.ASYNC_GENERATOR),
        an_endpoint("embed"),
        overrides={"runpod": {"mode": "http", "region": ["EU-RO-1", "US-KS-2"]}},
    ),
    "compiled": a_spec(
        BUILD,
        LOAD,
        gpu=("RTX 5090:2",),
        image=ContainerSpec(
            python="3.12",
            pip=("torch==2.9.1",),
            run=(RunCommand(command="pip install flash-attn==2.8.3 --no-build-isolation", gpu=True),),
            files=(("voices", "/models/voices"),),
        ),
        store="s3://bucket/models",
    ),
}


@pytest.mark.parametrize("name", DECLARATIONS)
def test_the_bundle_is_the_one_that_was_agreed(
    name: str, tmp_path: Path, golden: Callable[[str, str], None]
) -> None:
    (tmp_path / "voice.py").write_text("class Voice: ...\n")
    (tmp_path / "voices").mkdir()
    (tmp_path / "voices" / "a.txt").write_text("a voice\n")
    made = plan(DECLARATIONS[name], "runpod", backend.capabilities, sdk="1.2.3")

    bundle = compile_bundle(made, tmp_path)

    for file in bundle.artifacts:
        if file.path != "plan.json" and not file.path.startswith("code/"):  # the plans are golden elsewhere
            golden(f"runpod/{name}/{file.path}", file.data.decode())
