"""The module that Modal is given, for typical declarations: a person could have written each of them."""

from __future__ import annotations

import itertools
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
import importlib, os, sys, warnings
import modal
assert modal.__version__ == os.environ["EXPECTED"], modal.__file__
warnings.simplefilter("error")
for name in sys.argv[1:]:
    assert importlib.import_module(name).Voice, name
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


MATRIX: dict[str, Spec] = {
    f"app_{number}": a_spec(
        LOAD,
        RESTORED,
        an_endpoint(),
        *([an_endpoint("count", style=CallStyle.GENERATOR)] if concurrency > 1 else []),
        snapshot=snapshot,
        gpu=gpu,
        weights={"w": a_weight()} if place else {},
        place=place,
        secrets=secrets,
        scale=ScaleSpec(concurrency=concurrency),
        overrides={"modal": {"public": True, "region": "us"}} if secrets else {},
    )
    for number, (snapshot, gpu, place, secrets, concurrency) in enumerate(
        itertools.product(
            (Snapshot.NONE, Snapshot.CPU, Snapshot.GPU),
            ((), ("H100",), ("L4", "A10G")),
            (None, Place.VOLUME, Place.IMAGE, Place.ORIGIN),
            ((), ("HF_TOKEN",)),
            (1, 8),
        )
    )
    if gpu or snapshot is not Snapshot.GPU
}
"""Every way in which these differ; what comes of each is not looked at, only taken."""


def app(name: str) -> str:
    made = plan({**DECLARATIONS, **MATRIX}[name], "modal", backend.capabilities, sdk="1.2.3")
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


@pytest.fixture(scope="module")
def apps(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A module for each declaration, and what they add to their images."""
    folder = tmp_path_factory.mktemp("apps")
    for name in (*DECLARATIONS, *MATRIX):
        (folder / f"{name}.py").write_text(app(name))
    (folder / "plan.json").write_text("{}")
    (folder / "code/voices").mkdir(parents=True)
    (folder / "code/words.txt").touch()
    return folder


def test_the_formatter_finds_nothing_to_do_in_any_combination(apps: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "ruff", "format", "--isolated", "--check", "."],
        cwd=apps,
        capture_output=True,
        text=True,
        check=False,
    )

    assert ended.returncode == 0, ended.stdout
    assert f"{len(DECLARATIONS) + len(MATRIX)} files already formatted" in ended.stdout


@every_client
def test_the_real_client_takes_every_module(client: Client, apps: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", TAKES, *DECLARATIONS, *MATRIX],
        cwd=apps,
        env=client.env(EXPECTED=client.version),
        capture_output=True,
        text=True,
        check=False,
    )

    assert ended.returncode == 0, ended.stderr
