"""The module that Modal is given, for typical declarations: a person could have written each of them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from coldstart_sdk.backends.modal import backend
from coldstart_sdk.backends.modal.compile import module
from coldstart_sdk.planner import plan
from coldstart_sdk.spec import (
    CallStyle,
    ContainerSpec,
    Kind,
    Medium,
    Origin,
    Place,
    RunCommand,
    ScaleSpec,
    Snapshot,
    Spec,
    VolumeSpec,
)
from tests.builders import (
    BACKGROUND,
    BUILD,
    CLOSE,
    LOAD,
    RESTORED,
    WARMUP,
    a_hook,
    a_spec,
    a_weight,
    an_endpoint,
)
from tests.modal_clients import Client, every_client

TAKES = """
import os, warnings
import modal
assert modal.__version__ == os.environ["EXPECTED"], modal.__file__
warnings.simplefilter("error")
import modal_app
modal_app.Voice
"""
"""With every warning of the client's an error: nothing that it means to drop."""
DECLARATIONS: dict[str, Spec] = {
    "smallest": a_spec(),
    "cpu-snapshot": a_spec(
        LOAD,
        RESTORED,
        WARMUP,
        BACKGROUND,
        CLOSE,
        an_endpoint(medium=Medium.AUDIO),
        an_endpoint("count", style=CallStyle.ASYNC_GENERATOR),
        gpu=("L4", "RTX 4090", "A10G"),
        image=ContainerSpec(python="3.12", apt=("ffmpeg", "libsndfile1"), pip=("f5-tts==1.1.22",)),
        weights={"f5": a_weight("org/f5"), "vocos": a_weight("s3://bucket/vocos", origin=Origin.S3)},
        secrets=("HF_TOKEN",),
        scale=ScaleSpec(min=1, max=5, idle_s=120.0, concurrency=4),
    ),
    "gpu-snapshot": a_spec(
        LOAD,
        a_hook(Kind.WARMUP, "warm", canary=True),
        gpu=("H100",),
        snapshot=Snapshot.GPU,
        image=ContainerSpec(
            pip=("torch==2.8.0", "xformers==0.0.32"), run=(RunCommand(command="true", gpu=True),)
        ),
        weights={"w": a_weight(place=Place.VOLUME)},
        volume=VolumeSpec(name="shared", region="eu-west"),
    ),
    "no-snapshot": a_spec(
        LOAD,
        gpu=("A100-80GB:2",),
        snapshot=Snapshot.NONE,
        weights={"w": a_weight()},
        store="s3://bucket/models",
    ),
    "baked": a_spec(
        BUILD,
        LOAD,
        place=Place.IMAGE,
        weights={"w": a_weight()},
        secrets=("HF_TOKEN",),
        image=ContainerSpec(files=(("voices", "/opt/voices"), ("words.txt", "words.txt"))),
    ),
    "overridden": a_spec(
        an_endpoint("http"),
        image=ContainerSpec(
            base="nvidia/cuda:12.8.0-runtime-ubuntu22.04",
            env={"QUOTED": "say \"hi\" to 'them' \\ back\n", "ONE": 'a "b"', "UMLAUT": "ä"},
        ),
        env={"LEVEL": "debug"},
        secrets=("HF_TOKEN", "MY_KEY"),
        overrides={
            "modal": {
                "public": True,
                "secrets": {"HF_TOKEN": "huggingface"},
                "region": ["eu", "us"],
                "cpu": 2.5,
                "memory": 4096,
                "retries": 0,
                "startup_timeout": 90,
                "nonpreemptible": True,
            }
        },
    ),
}


def app(name: str) -> str:
    made = plan(DECLARATIONS[name], "modal", backend.capabilities, sdk="1.2.3")
    return module(made, frozenset({"voices"}))


@pytest.mark.parametrize("name", DECLARATIONS)
def test_the_module_is_the_one_that_was_agreed(name: str, golden: Callable[[str, str], None]) -> None:
    golden(f"modal/{name}.py.txt", app(name))


@pytest.mark.parametrize("name", DECLARATIONS)
@pytest.mark.parametrize("width", [88, 110])
def test_the_formatter_finds_nothing_to_do(name: str, width: int) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "ruff", "format", "--isolated", f"--line-length={width}", "--diff", "-"],
        input=app(name),
        capture_output=True,
        text=True,
        check=False,
    )

    assert ended.returncode == 0, ended.stdout


@pytest.mark.parametrize("name", DECLARATIONS)
@every_client
def test_the_real_client_takes_the_module(name: str, client: Client, tmp_path: Path) -> None:
    (tmp_path / "modal_app.py").write_text(app(name))
    (tmp_path / "plan.json").write_text("{}")
    (tmp_path / "code/voices").mkdir(parents=True)
    (tmp_path / "code/words.txt").touch()

    ended = subprocess.run(
        [sys.executable, "-c", TAKES],
        cwd=tmp_path,
        env=client.env(EXPECTED=client.version),
        capture_output=True,
        text=True,
        check=False,
    )

    assert ended.returncode == 0, ended.stderr
