"""The base image by its digest: asked for once at its registry, written down, and built upon from then on."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from coldstart_sdk.backends.runpod.append import append_and_push
from coldstart_sdk.backends.runpod.registry import OCI_INDEX, OCI_MANIFEST
from coldstart_sdk.errors import PlatformError
from coldstart_sdk.rehearsal.runpod.registry import Pushed, Registry
from tests.commands import Said, a_project, coldstart
from tests.images import a_real_registry, wheels

OCI_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
APP = """
from coldstart_sdk import Container

@warm_model(name="voice", image=Container.base("{base}"))
class Voice:
    @endpoint
    def speak(self) -> str: return "hi"
"""


@pytest.fixture(autouse=True)
def _no_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in wheels(tmp_path / "wheels").items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))


def a_base(registry: Registry, content: bytes = b"the base") -> str:
    return registry.add_base("library/python", "3", {"etc/base": content}, kind=OCI_MANIFEST, layer=OCI_LAYER)


def an_app(folder: Path, base: str) -> Path:
    return a_project(folder / "project", APP.replace("{base}", base))


def build(app: Path, *options: str) -> Said:
    return coldstart("build", str(app), "--target", "runpod", *options)


def began_with(app: Path) -> str:
    text = (app.parent / "build/runpod/Dockerfile").read_text()
    return next(line for line in text.splitlines() if line.startswith("ARG BASE="))[len("ARG BASE=") :]


def test_a_pinned_base_is_the_same_image_whatever_its_name_means_later(tmp_path: Path) -> None:
    with Registry() as registry:
        base = a_base(registry)
        digest = registry.manifests["library/python", "3"].digest
        app = an_app(tmp_path, base)
        pinned = build(app, "--pin")
        assert pinned.code == 0, pinned.err

        a_base(registry, b"another one, under the same name")
        append_and_push(app.parent / "build/runpod", f"{registry.host}/me/voice:1", ())
        registry.unpack(f"{registry.host}/me/voice:1", tmp_path / "root")

    assert json.loads((app.parent / "base.lock").read_text()) == {base: digest}
    assert began_with(app) == f"{base}@{digest}"
    assert (tmp_path / "root/etc/base").read_bytes() == b"the base"
    # The registry is gone by now: nobody asks it.
    assert build(app, "--check").code == 0
    notes = json.loads(coldstart("plan", str(app), "--target", "runpod", "--json").out)["notes"]
    assert {"about": "base", "text": f"{base}@{digest}"} in notes


def test_without_a_pin_the_plan_says_how_to_get_one(tmp_path: Path) -> None:
    app = an_app(tmp_path, "registry.invalid/base:1")
    said = coldstart("plan", str(app), "--target", "runpod")

    assert "registry.invalid/base:1; no digest is known" in said.out
    assert "--pin" in said.out
    assert build(app).code == 0
    assert began_with(app) == "registry.invalid/base:1"


def test_what_was_written_down_goes_before_what_we_know(tmp_path: Path) -> None:
    app = a_project(tmp_path / "project", APP.replace(', image=Container.base("{base}")', ""))
    assert build(app).code == 0
    known, _, digest = began_with(app).partition("@")
    assert digest.startswith("sha256:")

    (app.parent / "base.lock").write_text(json.dumps({known: f"sha256:{'ab' * 32}"}))

    assert build(app).code == 0
    assert began_with(app) == f"{known}@sha256:{'ab' * 32}"


def test_a_digest_in_the_declaration_is_left_as_it_is(tmp_path: Path) -> None:
    named = f"registry.invalid/base@sha256:{'ab' * 32}"
    app = an_app(tmp_path, named)

    assert build(app).code == 0
    assert began_with(app) == named


def test_an_index_is_pinned_as_a_whole_and_its_linux_image_is_built_upon(tmp_path: Path) -> None:
    with Registry() as registry:
        a_base(registry)
        linux = registry.manifests["library/python", "3"]
        described = {"digest": linux.digest, "platform": {"os": "linux", "architecture": "amd64"}}
        index = Pushed(kind=OCI_INDEX, content=json.dumps({"manifests": [described]}).encode())
        registry.put("library/python", "4", index)
        app = an_app(tmp_path, f"{registry.host}/library/python:4")

        assert build(app, "--pin").code == 0
        append_and_push(app.parent / "build/runpod", f"{registry.host}/me/voice:1", ())

        assert began_with(app).endswith(f":4@{index.digest}")
        assert ("me/voice", "1") in registry.manifests


def test_a_registry_that_cannot_be_reached_pins_nothing(tmp_path: Path) -> None:
    app = an_app(tmp_path, "127.0.0.1:1/base:1")

    said = build(app, "--pin")

    assert said.code == 8
    assert "cannot be reached" in said.problems[0]["error"]
    assert not (app.parent / "base.lock").exists()


def test_a_base_that_is_not_there_is_told_by_its_name(tmp_path: Path) -> None:
    with Registry() as registry:
        said = build(an_app(tmp_path, f"{registry.host}/library/python:3"), "--pin")

    assert said.code == 8
    assert "library/python" in said.problems[0]["fix"]


def test_a_registry_that_gives_another_image_than_was_pinned_is_not_built_upon(tmp_path: Path) -> None:
    with Registry() as registry:
        base = a_base(registry)
        app = an_app(tmp_path, base)
        assert build(app, "--pin").code == 0
        digest = registry.manifests["library/python", "3"].digest
        a_base(registry, b"another one")
        registry.manifests["library/python", digest] = registry.manifests["library/python", "3"]

        with pytest.raises(PlatformError, match="another image than its digest says"):
            append_and_push(app.parent / "build/runpod", f"{registry.host}/me/voice:1", ())


@pytest.mark.parametrize("text", ["{", "[]", '{"python:3": "sha256:short"}'])
def test_a_broken_record_is_told_with_its_mend(tmp_path: Path, text: str) -> None:
    app = an_app(tmp_path, "registry.invalid/base:1")
    (app.parent / "base.lock").write_text(text)

    said = build(app)

    assert said.code == 4
    assert "--pin" in said.problems[0]["fix"]


@pytest.mark.parametrize(
    ("target", "options", "code"), [("runpod", ("--pin", "--check"), 2), ("modal", ("--pin",), 7)]
)
def test_what_cannot_be_pinned_is_refused(
    tmp_path: Path, target: str, options: tuple[str, ...], code: int
) -> None:
    said = coldstart("build", str(a_project(tmp_path)), "--target", target, *options)

    assert said.code == code
    assert "--pin" in said.problems[0]["fix"] + said.problems[0]["error"]


@pytest.mark.skipif(
    not shutil.which("docker-registry") or not shutil.which("skopeo"),
    reason="could not import 'docker-registry': neither it nor skopeo is a program here",
)
def test_a_real_registry_names_the_digest_that_another_program_reads(tmp_path: Path) -> None:
    with Registry() as registry, a_real_registry(tmp_path) as real:
        first = an_app(tmp_path / "first", a_base(registry))
        assert build(first).code == 0
        append_and_push(first.parent / "build/runpod", f"{real}/base:1", ())
        app = an_app(tmp_path, f"{real}/base:1")

        assert build(app, "--pin").code == 0

        read = [
            "skopeo",
            "inspect",
            "--tls-verify=false",
            "--format",
            "{{.Digest}}",
            f"docker://{real}/base:1",
        ]
        digest = subprocess.run(read, capture_output=True, text=True, check=True).stdout.strip()
        append_and_push(app.parent / "build/runpod", f"{real}/me/voice:1", ())
        assert began_with(app) == f"{real}/base:1@{digest}"
