"""The image's tag is a digest of what goes in: not of who compiles it, where, with which Python, or when."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.commands import PROGRAM, environment

CHECKOUT = Path(__file__).parents[2]
VOICE = '''\
from __future__ import annotations

from typing import Literal

import colours
from coldstart_sdk import Audio, Container, Image, Scale, Weights, endpoint, hook, warm_model


@warm_model(
    name="voice",
    gpu=["L4", "RTX 4090"],
    image=Container.python("3.11").apt("ffmpeg").pip("torch==2.8.0", "numpy").copy("data", "data"),
    weights={"b": Weights.hf("org/b", include=["*.bin"]), "a": Weights.url("https://example.org/a.bin")},
    secrets=["HF_TOKEN", "ANOTHER"],
    scale=Scale(max=5, concurrency=2),
    env={"GREETING": "grüß $dich"},
    overrides={"runpod": {"image": "docker.io/you/voice", "region": ["EU-RO-1", "US-KS-2"]}},
)
class Voice:
    """Ein Modell mit ü."""

    @hook.load
    def load(self, weights): ...

    @endpoint(default=True)
    def speak(
        self, ref: Audio, text: str, mode: Literal["a", "b"] = "a", names: list[str] | None = None
    ) -> Audio: ...

    @endpoint
    def draw(self, size: tuple[int, int] = (1, 2), more: dict[str, list[int]] | None = None) -> Image: ...

    @endpoint
    def count(self, upto: int = 3):
        yield upto
'''


def a_checkout(folder: Path) -> Path:
    """The project, as another machine has it: other times, other modes, files made in another order."""
    folder.mkdir(parents=True)
    for name in ("data/b.txt", "data/a.txt"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(name)
    (folder / "colours.py").write_text('RED = "red"\n')
    (folder / "voice.py").write_text(VOICE, encoding="utf-8")
    return folder


def compiled(project: Path, *program: str, env: dict[str, str] | None = None, umask: int = 0o022) -> Path:
    ended = subprocess.run(
        [*program, "build", "voice.py", "--target", "runpod"],
        cwd=project,
        env=environment(env),
        umask=umask,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return project / "build" / "runpod"


def every_byte(bundle: Path) -> dict[str, bytes]:
    return {
        path.relative_to(bundle).as_posix(): path.read_bytes() for path in bundle.rglob("*") if path.is_file()
    }


def tag_of(bundle: Path) -> str:
    return str(json.loads((bundle / "endpoint.json").read_text())["image"])


def test_another_machine_compiles_the_same_bundle_with_the_same_tag(tmp_path: Path) -> None:
    here = a_checkout(tmp_path / "here")
    there = a_checkout(tmp_path / "another place" / "über")
    os.utime(there / "colours.py", (1, 1))
    (there / "data/a.txt").chmod(0o600)
    odd = {
        "PYTHONHASHSEED": "7",
        "LC_ALL": "C",
        "TZ": "Pacific/Chatham",
        "HOME": str(tmp_path / "home"),
        "COLDSTART_HOME": str(tmp_path / "kept"),
        "SOURCE_DATE_EPOCH": "1",
    }

    one = compiled(here, str(PROGRAM), env={"PYTHONHASHSEED": "1"})
    other = compiled(there, str(PROGRAM), env=odd, umask=0o077)

    assert tag_of(one) == tag_of(other)
    assert every_byte(one) == every_byte(other)
    (there / "colours.py").write_text('RED = "rot"\n')
    assert tag_of(compiled(there, str(PROGRAM))) != tag_of(one)


OTHERS = sorted((Path.home() / ".pyenv/versions").glob("3.1*/bin/python"))
"""Read before a fixture gives the tests another home."""


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.skipif(not OTHERS, reason="could not import 'python': there is no other one here")
def test_another_python_compiles_the_same_bundle_with_the_same_tag(tmp_path: Path) -> None:
    ours = compiled(a_checkout(tmp_path / "ours"), str(PROGRAM))
    for number, python in enumerate(OTHERS):
        venv = tmp_path / f"venv-{number}"
        subprocess.run([str(python), "-m", "venv", str(venv)], check=True, capture_output=True)
        pip = [str(venv / "bin/pip"), "install", "--quiet", "--editable", str(CHECKOUT)]
        subprocess.run(pip, check=True, capture_output=True)

        theirs = compiled(a_checkout(tmp_path / f"project-{number}"), str(venv / "bin/coldstart"))

        assert tag_of(theirs) == tag_of(ours), python
        assert every_byte(theirs) == every_byte(ours), python
