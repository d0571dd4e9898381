"""Build an image where neither Docker nor buildah is: layers of ours on a base that lies in a registry.

Nothing runs inside the image while it is made. Packages are wheels for the base's Python; system packages,
commands and build hooks, which would have to run there, are refused by name. The layers stand in the
Dockerfile's order, so another line of code sends one small layer.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from coldstart_sdk import gpu
from coldstart_sdk.backends.runpod import base, dockerfile, layers
from coldstart_sdk.backends.runpod.layers import Layer
from coldstart_sdk.backends.runpod.registry import (
    DOCKER_INDEX,
    DOCKER_MANIFEST,
    OCI_INDEX,
    Blob,
    Reference,
    Repository,
)
from coldstart_sdk.errors import PlatformError
from coldstart_sdk.plan import Plan, Stage

SITE = "/opt/site"
"""Where the packages lie."""
_LAYER_KINDS = {
    DOCKER_MANIFEST: "application/vnd.docker.image.rootfs.diff.tar.gzip",
}
_OCI_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
# What a glibc of 2.36, Debian 12's, can load.
_WHEELS = ("manylinux_2_34", "manylinux_2_31", "manylinux_2_28", "manylinux_2_17", "manylinux2014")
_BASIS = "Start Docker, install buildah, or push the bundle to GitHub: its workflow builds there."


def append_and_push(bundle: Path, image: str, secrets: Sequence[str]) -> str:
    """The image's digest in its registry."""
    del secrets  # weights are fetched here, with the tokens of this environment
    plan = Plan.from_json((bundle / "plan.json").read_text(encoding="utf-8"), where=str(bundle))
    _refuse_what_has_to_run(plan, bundle)
    wanted = Reference.parse(image)
    target = Repository(wanted.host, wanted.repository, push=True)
    began = Reference.parse(dockerfile.base_of((bundle / "Dockerfile").read_text(encoding="utf-8")))
    source = Repository(began.host, began.repository)
    kind, manifest = _of_this_platform(source, began)
    config = _config(source, manifest)
    with tempfile.TemporaryDirectory(prefix="coldstart-image-") as scratch:
        folder = Path(scratch)
        ours = list(_layers(plan, bundle, folder, _python(config, plan)))
        _take_over(manifest, source, target, folder)
        for layer in ours:
            _say(f"{layer.what}: {layer.blob.size:,} bytes")
            target.put(layer.blob)
        described = _configured(config, plan, ours, folder)
        target.put(described)
        return target.put_manifest(wanted.tag, kind, _manifest(manifest, kind, described, ours))


# ---- the base


def _of_this_platform(source: Repository, began: Reference) -> tuple[str, dict[str, Any]]:
    """The manifest for linux/amd64, out of an index where there is one."""
    kind, content = source.manifest(began.tag)
    if kind in {OCI_INDEX, DOCKER_INDEX}:
        fitting = [
            each["digest"]
            for each in json.loads(content)["manifests"]
            if (each.get("platform") or {}).get("os") == "linux"
            and (each.get("platform") or {}).get("architecture") == "amd64"
        ]
        if not fitting:
            raise PlatformError(
                f"{began.repository}:{began.tag} has no image for linux/amd64", fix="Name another base."
            )
        kind, content = source.manifest(fitting[0])
    made: dict[str, Any] = json.loads(content)
    return kind, made


def _config(source: Repository, manifest: dict[str, Any]) -> dict[str, Any]:
    with source.blob(manifest["config"]["digest"]) as content:
        read: dict[str, Any] = json.loads(content.read())
    return read


def _python(config: dict[str, Any], plan: Plan) -> str:
    """`major.minor`: the official images say theirs; otherwise the declaration does."""
    env = dict(each.partition("=")[::2] for each in (config.get("config") or {}).get("Env") or ())
    said = env.get("PYTHON_VERSION", plan.spec.image.python or base.PYTHON)
    return ".".join(said.split(".")[:2])


def _take_over(manifest: dict[str, Any], source: Repository, target: Repository, folder: Path) -> None:
    """The base's layers into the target's repository; within one registry without moving a byte."""
    for described in manifest["layers"]:
        digest = described["digest"]
        if target.has(digest) or (source.host == target.host and target.mount(digest, source.name)):
            continue
        _say(f"base: {described['size']:,} bytes from {source.host}")
        file = folder / "base"
        with source.blob(digest) as content, file.open("wb") as kept:
            shutil.copyfileobj(content, kept, 1 << 20)
        blob = Blob.of(file)
        if blob.digest != digest:
            raise PlatformError(
                "a layer of the base arrived with other bytes than its name says",
                fix="Try again.",
                where=digest,
            )
        target.put(blob)
        file.unlink()


# ---- our layers


def _layers(plan: Plan, bundle: Path, folder: Path, python: str) -> Iterator[Layer]:
    site = _installed(bundle, folder / "site", python)
    yield layers.layer("packages", {SITE: site}, folder / "site.tar.gz")
    if dockerfile.baked(plan):
        models = _baked(bundle, folder / "models")
        yield layers.layer("weights", {dockerfile.MODELS: models}, folder / "models.tar.gz")
    yield layers.layer("code", dict(_code(plan, bundle, folder / "app", python)), folder / "app.tar.gz")


def _installed(bundle: Path, site: Path, python: str) -> Path:
    short = python.replace(".", "")
    options = [f"--platform={wheel}_x86_64" for wheel in _WHEELS]
    options += [f"--abi={abi}" for abi in (f"cp{short}", "abi3", "none")]
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile"]
    ended = subprocess.run(
        [
            *pip,
            "--only-binary=:all:",
            "--implementation=cp",
            f"--python-version={python}",
            *options,
            f"--target={site}",
            f"--requirement={bundle / 'requirements.lock'}",
        ],
        stdout=sys.stderr.fileno(),
        check=False,
    )
    if ended.returncode:
        raise PlatformError(
            f"pip found no wheels of these packages for Python {python} on Linux",
            fix=f"What it said is above; pin versions that have wheels. Or: {_BASIS}",
            where=str(bundle / "requirements.lock"),
        )
    shutil.rmtree(site / "bin", ignore_errors=True)  # scripts name the Python of this machine
    for listed in site.glob("*.dist-info/RECORD"):
        lines = listed.read_text(encoding="utf-8").splitlines()
        kept = sorted(line for line in lines if not line.startswith(("../../bin/", "bin/")))
        listed.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")
    _compiled(site, SITE, python)
    return site


def _baked(bundle: Path, models: Path) -> Path:
    """Fetched here, by the very program that a build runs; its links are made to fit where they will lie."""
    fetch = [sys.executable, str(bundle / "fetch_weights.py"), str(models)]
    ended = subprocess.run(fetch, stdout=sys.stderr.fileno(), check=False)
    if ended.returncode:
        raise PlatformError(
            "the weights could not be fetched for the image", fix="What it said is above.", where=str(bundle)
        )
    return models


def _code(plan: Plan, bundle: Path, app: Path, python: str) -> Iterator[tuple[str, Path]]:
    shutil.copytree(bundle / "code", app / "code")
    for name in ("plan.json", "handler.py", "test_input.json"):
        shutil.copy(bundle / name, app / name)
    _compiled(app, dockerfile.APP, python)
    yield dockerfile.APP, app
    for source, place in dockerfile.copies(plan):
        yield place, bundle / "code" / source


def _compiled(folder: Path, place: str, python: str) -> None:
    """Byte-compiled, where the Python here is the base's; elsewhere the worker does it, each time."""
    if python != f"{sys.version_info.major}.{sys.version_info.minor}":
        _say(f"not byte-compiled: here is no Python {python}")
        return
    compileall = [sys.executable, "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash"]
    paths = ["-s", str(folder), "-p", place, str(folder)]
    # Some packages ship files that are no Python of this version: those stay as they are.
    subprocess.run([*compileall, *paths], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)


# ---- what the registry is told


def _configured(config: dict[str, Any], plan: Plan, ours: Sequence[Layer], folder: Path) -> Blob:
    run = dict(config.get("config") or {})
    env = dict(each.partition("=")[::2] for each in run.get("Env") or ())
    env |= {**dockerfile.environment(plan), "PYTHONPATH": SITE, "PYTHONUNBUFFERED": "1"}
    cards = [found for card in base.declared_cards(plan) if (found := gpu.find(card.gpu))]
    if cards:
        env["TORCH_CUDA_ARCH_LIST"] = gpu.arch_list(cards)
    run |= {
        "Env": [f"{name}={value}" for name, value in sorted(env.items())],
        "WorkingDir": dockerfile.APP,
        "Entrypoint": None,
        "Cmd": ["python3", "-u", f"{dockerfile.APP}/handler.py"],
    }
    history = [
        {"created": "1970-01-01T00:00:00Z", "created_by": f"coldstart {plan.sdk}: {each.what}"}
        for each in ours
    ]
    made = {
        **config,
        "config": run,
        "created": "1970-01-01T00:00:00Z",
        "rootfs": {
            "type": "layers",
            "diff_ids": [*config["rootfs"]["diff_ids"], *(each.diff_id for each in ours)],
        },
        "history": [*config.get("history", ()), *history],
    }
    file = folder / "config.json"
    file.write_text(json.dumps(made, sort_keys=True), encoding="utf-8")
    return Blob.of(file)


def _manifest(manifest: dict[str, Any], kind: str, config: Blob, ours: Sequence[Layer]) -> bytes:
    layer_kind = _LAYER_KINDS.get(kind, _OCI_LAYER)
    added = [{"mediaType": layer_kind, "digest": each.blob.digest, "size": each.blob.size} for each in ours]
    made = {
        **manifest,
        "mediaType": kind,
        "config": {**manifest["config"], "digest": config.digest, "size": config.size},
        "layers": [*manifest["layers"], *added],
    }
    return json.dumps(made, sort_keys=True).encode()


def _refuse_what_has_to_run(plan: Plan, bundle: Path) -> None:
    image = plan.spec.image
    runs = [
        *(["system packages"] if image.apt else []),
        *(["commands of Container.run"] if image.run else []),
        *(["build hooks"] if plan.steps_in(Stage.BUILD) else []),
    ]
    if runs:
        raise PlatformError(
            f"here is no Docker that runs and no buildah, and {' and '.join(runs)} have to run in the image",
            fix=_BASIS,
            where=str(bundle),
        )


def _say(text: str) -> None:
    sys.stderr.write(f"image   {text}\n")
    sys.stderr.flush()
