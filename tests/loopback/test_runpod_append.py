"""An image put together without Docker and without buildah, in a registry on loopback."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest

from coldstart_sdk import __version__, bundle
from coldstart_sdk.backends.runpod import append, backend, layers
from coldstart_sdk.backends.runpod.append import append_and_push
from coldstart_sdk.backends.runpod.registry import DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST, Reference
from coldstart_sdk.errors import PlatformError
from coldstart_sdk.planner import plan
from coldstart_sdk.rehearsal.hub import Hub
from coldstart_sdk.rehearsal.runpod.jobs import Jobs
from coldstart_sdk.rehearsal.runpod.process import Process, bare_environment
from coldstart_sdk.rehearsal.runpod.registry import Pushed, Registry
from coldstart_sdk.spec import ContainerSpec, Place
from tests.builders import BUILD, LOAD, a_spec, a_weight
from tests.images import a_real_registry, wheels

OCI_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
CODE = """\
from coldstart_sdk import endpoint, hook, warm_model

@warm_model(name="voice")
class Voice:
    @hook.load
    def load(self): self.word = "hello"
    @endpoint
    def speak(self, text: str) -> str: return f"{self.word} {text}"
"""


@pytest.fixture(autouse=True)
def _no_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in wheels(tmp_path / "wheels").items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))


def a_bundle(folder: Path, base: str, code: str = CODE, *hooks: Any, **fields: Any) -> Path:  # noqa: ANN401 - fields of a record
    project = folder / "project"
    project.mkdir(exist_ok=True)
    (project / "voice.py").write_text(code)
    image = ContainerSpec(base=base, python=PYTHON)
    spec = a_spec(LOAD, *hooks, **{"image": image, **fields})
    made = plan(spec, "runpod", backend.capabilities, sdk=__version__)
    bundle.write(backend.compile(made, project), folder / "out")
    return folder / "out"


def a_base(registry: Registry, repository: str = "library/python") -> str:
    return registry.add_base(repository, "3", {"etc/base": b"the base"}, kind=OCI_MANIFEST, layer=OCI_LAYER)


def test_the_worker_of_an_image_that_nobody_built_answers(tmp_path: Path) -> None:
    pytest.importorskip("runpod", reason="could not import 'runpod'")
    with Registry() as registry, Jobs(hold_s=0.5) as jobs:
        append_and_push(a_bundle(tmp_path, a_base(registry)), f"{registry.host}/me/voice:1", ())
        registry.unpack(f"{registry.host}/me/voice:1", tmp_path / "root")
        config = registry.image(f"{registry.host}/me/voice:1")[1]["config"]
        root = tmp_path / "root"
        env = bare_environment(tmp_path / "home") | jobs.environment()
        env |= {"PYTHONPATH": f"{root}{append.SITE}", "COLDSTART_HOME": str(tmp_path / "kept")}
        command = [sys.executable, *config["Cmd"][1:-1], f"{root}{config['Cmd'][-1]}"]

        with Process(command, root / "app", env) as worker:
            answer = jobs.result(jobs.submit({"text": "you"}))

        assert (root / "etc/base").read_bytes() == b"the base"
        assert f"PYTHONPATH={append.SITE}" in config["Env"]
        assert (answer.status, answer.output) == ("COMPLETED", "hello you"), worker.text


def test_another_line_of_code_sends_one_small_layer(tmp_path: Path) -> None:
    with Registry() as registry:
        base = a_base(registry)
        append_and_push(a_bundle(tmp_path, base), f"{registry.host}/me/voice:1", ())
        first = registry.image(f"{registry.host}/me/voice:1")[0]["layers"]
        sent = len(registry.uploaded)

        append_and_push(a_bundle(tmp_path, base, f"{CODE}# a line\n"), f"{registry.host}/me/voice:2", ())
        second = registry.image(f"{registry.host}/me/voice:2")[0]["layers"]

        assert [layer["digest"] for layer in first[:-1]] == [layer["digest"] for layer in second[:-1]]
        assert first[-1] != second[-1]
        assert second[-1]["size"] < 20_000
        assert len(registry.uploaded) == sent + 2  # the code, and what the image is


def test_the_same_input_gives_the_same_image(tmp_path: Path) -> None:
    with Registry() as registry:
        base = a_base(registry)
        one = append_and_push(a_bundle(tmp_path, base), f"{registry.host}/me/voice:1", ())
        (tmp_path / "elsewhere").mkdir()

        other = append_and_push(a_bundle(tmp_path / "elsewhere", base), f"{registry.host}/me/voice:2", ())

        assert one == other


def test_the_base_is_mounted_where_it_lies_in_the_same_registry_and_copied_elsewhere(tmp_path: Path) -> None:
    with Registry() as registry, Registry() as other:
        base = a_base(registry)
        layer = registry.image(base)[0]["layers"][0]["digest"]
        made = a_bundle(tmp_path, base)

        append_and_push(made, f"{registry.host}/me/voice:1", ())
        append_and_push(made, f"{other.host}/me/voice:1", ())

        assert layer not in registry.uploaded
        assert layer in other.uploaded


@pytest.mark.parametrize(
    ("kind", "layer"),
    [(OCI_MANIFEST, OCI_LAYER), (DOCKER_MANIFEST, "application/vnd.docker.image.rootfs.diff.tar.gzip")],
    ids=["oci", "docker"],
)
def test_our_layers_are_of_the_bases_kind_and_an_index_is_followed(
    tmp_path: Path, kind: str, layer: str
) -> None:
    with Registry() as registry:
        registry.add_base("b", "amd64", {"f": b""}, kind=kind, layer=layer)
        fitting = registry.manifests["b", "amd64"].digest
        index = {
            "manifests": [
                {"digest": "sha256:0", "platform": {"os": "linux", "architecture": "arm64"}},
                {"digest": fitting, "platform": {"os": "linux", "architecture": "amd64"}},
            ]
        }
        registry.put("b", "1", Pushed(kind=OCI_INDEX, content=json.dumps(index).encode()))

        append_and_push(a_bundle(tmp_path, f"{registry.host}/b:1"), f"{registry.host}/me/voice:1", ())

        manifest = registry.image(f"{registry.host}/me/voice:1")[0]
        assert manifest["mediaType"] == kind
        assert {each["mediaType"] for each in manifest["layers"]} == {layer}


def test_a_base_for_another_machine_is_refused(tmp_path: Path) -> None:
    with Registry() as registry:
        index = {"manifests": [{"digest": "sha256:0", "platform": {"os": "linux", "architecture": "arm64"}}]}
        registry.put("b", "1", Pushed(kind=OCI_INDEX, content=json.dumps(index).encode()))

        with pytest.raises(PlatformError, match="linux/amd64"):
            append_and_push(a_bundle(tmp_path, f"{registry.host}/b:1"), f"{registry.host}/me/voice:1", ())


def test_weights_are_a_layer_of_their_own_and_its_links_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "hub/org/model").mkdir(parents=True)
    (tmp_path / "hub/org/model/model.bin").write_bytes(b"m" * 100_000)
    with Registry() as registry, Hub(tmp_path / "hub", token="hf_the_token", gated=["org/model"]) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
        monkeypatch.setenv("HF_TOKEN", "hf_the_token")
        made = a_bundle(tmp_path, a_base(registry), weights={"w": a_weight("org/model")}, place=Place.IMAGE)

        append_and_push(made, f"{registry.host}/me/voice:1", ())

        manifest, config = registry.image(f"{registry.host}/me/voice:1")
        weights = registry.blobs["me/voice", manifest["layers"][-2]["digest"]]
        (tmp_path / "weights.tar.gz").write_bytes(weights)
        with tarfile.open(tmp_path / "weights.tar.gz") as archive:
            links = [member.linkname for member in archive if member.issym()]
            assert "models/pins.json" in archive.getnames()
        assert links
        assert all(link.startswith("/models/blobs/") for link in links)
        assert "COLDSTART_HOME=/models" in config["config"]["Env"]
        assert not [content for content in registry.blobs.values() if b"hf_the_token" in content]
        for layer in manifest["layers"]:
            registry_root = tmp_path / layer["digest"].removeprefix("sha256:")[:8]
            registry_root.mkdir()
            (registry_root / "l").write_bytes(registry.blobs["me/voice", layer["digest"]])
            with tarfile.open(registry_root / "l") as archive:
                inside = [archive.extractfile(member) for member in archive if member.isfile()]
                assert not [file for file in inside if file and b"hf_the_token" in file.read()]


@pytest.mark.parametrize(
    ("fields", "hooks", "word"),
    [
        ({"apt": ("ffmpeg",)}, (), "system packages"),
        ({"run": ("make",)}, (), "commands"),
        ({}, (BUILD,), "build hooks"),
    ],
    ids=["apt", "run", "build"],
)
def test_what_has_to_run_in_the_image_is_refused_by_name(
    tmp_path: Path, fields: dict[str, Any], hooks: tuple[Any, ...], word: str
) -> None:
    from coldstart_sdk.spec import RunCommand

    run = tuple(RunCommand(command=command) for command in fields.pop("run", ()))
    image = ContainerSpec(base="b", python=PYTHON, run=run, **fields)

    with pytest.raises(PlatformError, match=word):
        append_and_push(a_bundle(tmp_path, "b", CODE, *hooks, image=image), "127.0.0.1:9/me/voice:1", ())


def test_packages_without_wheels_are_told_before_anything_is_sent(tmp_path: Path) -> None:
    with Registry() as registry:
        image = ContainerSpec(base=a_base(registry), python=PYTHON, pip=("no-such-package==1.0",))

        with pytest.raises(PlatformError, match="no wheels"):
            append_and_push(a_bundle(tmp_path, "", image=image), f"{registry.host}/me/voice:1", ())

        assert registry.uploaded == []


def signed_in(folder: Path, host: str, account: tuple[str, str]) -> None:
    auth = base64.b64encode(":".join(account).encode()).decode()
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps({"auths": {host: {"auth": auth}}}))


def test_who_has_signed_in_with_docker_may_push(tmp_path: Path) -> None:
    account = ("me", "a-secret-password")
    with Registry(account=account) as registry:
        made = a_bundle(tmp_path, a_base(registry))
        with pytest.raises(PlatformError, match="who has not signed in") as refused:
            append_and_push(made, f"{registry.host}/me/voice:1", ())
        signed_in(tmp_path / "docker", registry.host, account)

        append_and_push(made, f"{registry.host}/me/voice:1", ())

        assert "docker login" in refused.value.fix
        assert ("me/voice", "1") in registry.manifests


def test_a_helper_of_docker_is_asked_for_the_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    account = ("me", "a-secret-password")
    helper = tmp_path / "bin" / "docker-credential-test"
    helper.parent.mkdir()
    helper.write_text('#!/bin/sh\necho \'{"Username": "me", "Secret": "a-secret-password"}\'\n')
    helper.chmod(0o755)
    monkeypatch.setenv("PATH", f"{helper.parent}:/usr/bin:/bin")
    with Registry(account=account) as registry:
        (tmp_path / "docker").mkdir()
        (tmp_path / "docker" / "config.json").write_text(json.dumps({"credHelpers": {registry.host: "test"}}))

        append_and_push(a_bundle(tmp_path, a_base(registry)), f"{registry.host}/me/voice:1", ())

        assert ("me/voice", "1") in registry.manifests


def test_a_wrong_password_is_refused_and_never_shown(tmp_path: Path) -> None:
    with Registry(account=("me", "right")) as registry:
        signed_in(tmp_path / "docker", registry.host, ("me", "wrong-password"))

        with pytest.raises(PlatformError) as refused:
            append_and_push(a_bundle(tmp_path, a_base(registry)), f"{registry.host}/me/voice:1", ())

        said = f"{refused.value.message}{refused.value.fix}{refused.value.where}"
        assert "401" in said
        assert "wrong-password" not in said


@pytest.mark.parametrize(
    ("text", "host", "repository", "tag"),
    [
        ("python:3.11", "registry-1.docker.io", "library/python", "3.11"),
        ("me/voice", "registry-1.docker.io", "me/voice", "latest"),
        ("docker.io/me/voice:1", "registry-1.docker.io", "me/voice", "1"),
        ("ghcr.io/me/voice:1", "ghcr.io", "me/voice", "1"),
        ("localhost:5000/voice:1", "localhost:5000", "voice", "1"),
        ("ghcr.io/me/voice@sha256:ab", "ghcr.io", "me/voice", "sha256:ab"),
    ],
)
def test_names_are_read_as_docker_reads_them(text: str, host: str, repository: str, tag: str) -> None:
    assert Reference.parse(text) == Reference(host=host, repository=repository, tag=tag)


def test_a_layer_is_the_same_whoever_makes_it(tmp_path: Path) -> None:
    for name in ("one", "other"):
        folder = tmp_path / name
        (folder / "b").mkdir(parents=True)
        (folder / "b" / "run.sh").write_text("#!/bin/sh\n")
        (folder / "b" / "run.sh").chmod(0o755 if name == "one" else 0o700)
        (folder / "a.txt").write_text("a")
    (tmp_path / "other" / "a.txt").chmod(0o600)

    one = layers.layer("x", {"/app": tmp_path / "one"}, tmp_path / "1.tar.gz")
    other = layers.layer("x", {"/app": tmp_path / "other"}, tmp_path / "2.tar.gz")

    assert (one.blob.digest, one.diff_id) == (other.blob.digest, other.diff_id)
    assert list(layers.names(one.blob.file)) == ["app", "app/a.txt", "app/b", "app/b/run.sh"]


@pytest.mark.skipif(
    not shutil.which("docker-registry") or not shutil.which("skopeo"),
    reason="could not import 'docker-registry': neither it nor skopeo is a program here",
)
def test_a_real_registry_takes_it_and_another_program_reads_it(tmp_path: Path) -> None:
    layout = tmp_path / "layout"
    with Registry() as registry, a_real_registry(tmp_path) as real:
        base = a_base(registry)
        append_and_push(a_bundle(tmp_path, base), f"{real}/me/voice:1", ())
        image = f"docker://{real}/me/voice:1"

        read = subprocess.run(
            ["skopeo", "inspect", "--tls-verify=false", image], capture_output=True, check=True
        )
        subprocess.run(
            ["skopeo", "copy", "--src-tls-verify=false", image, f"dir:{layout}"],
            capture_output=True,
            check=True,
        )

        told = json.loads(read.stdout)
        assert (told["Os"], told["Architecture"]) == ("linux", "amd64")
        assert len(told["Layers"]) == 3
        manifest = json.loads((layout / "manifest.json").read_text())
        code = layout / manifest["layers"][-1]["digest"].removeprefix("sha256:")
        assert "app/handler.py" in layers.names(code)
