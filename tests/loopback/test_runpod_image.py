"""The generated Dockerfile, really built: by buildah, on a base made from Debian's packages.

The base goes by the official image's name and stands in for it: what is proved are the instructions, the
layers and our files. Wants root, buildah, debootstrap, docker-registry, skopeo and a package index.
"""

from __future__ import annotations

import gzip
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from coldstart_sdk.backends.runpod import layers
from coldstart_sdk.backends.runpod.image import build_and_push
from coldstart_sdk.rehearsal.hub import Hub
from coldstart_sdk.rehearsal.runpod.jobs import Jobs
from coldstart_sdk.rehearsal.runpod.process import Process
from tests.commands import PROGRAM, coldstart
from tests.images import a_real_registry

NEEDED = ("buildah", "debootstrap", "docker-registry", "skopeo")
MISSING = [program for program in NEEDED if not shutil.which(program)] + ["root"] * bool(os.geteuid())
ROOTFS = os.environ.get("COLDSTART_TEST_ROOTFS")
"""A base that was made before; read before a fixture takes our settings away."""
TOKEN = "hf_a_token_of_this_very_test"
BASE = "python:3.11-slim-bookworm"
CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"
CODE = """\
from coldstart_sdk import Weights, endpoint, hook, warm_model

@warm_model(name="voice", weights={"w": Weights.hf("org/w")}, place="image", secrets=["HF_TOKEN"])
class Voice:
    @hook.load
    def load(self, weights):
        self.size = len((weights["w"].path / "model.bin").read_bytes())
        self.word = (weights["w"].path / "word.txt").read_text()
    @endpoint
    def speak(self, text: str) -> str: return f"{self.word} {text}"
"""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(2400),
    pytest.mark.skipif(bool(MISSING), reason=f"could not import 'buildah': not here: {', '.join(MISSING)}"),
]


@dataclass(frozen=True, kw_only=True)
class Machine:
    """One with buildah, the base in its own storage, and a registry."""

    folder: Path
    registry: str
    base: str
    """The digest of what stands in for the official image."""

    def build(self, code: str, tag: str) -> str:
        """The bundle's image, pushed."""
        project = self.folder / "project"
        project.mkdir(exist_ok=True)
        (project / "voice.py").write_text(code)
        (project / "base.lock").write_text(json.dumps({BASE: self.base}))
        built = coldstart("build", str(project / "voice.py"), "--target", "runpod")
        assert built.code == 0, built.err
        image = f"{self.registry}/me/voice:{tag}"
        build_and_push(project / "build" / "runpod", image, ("HF_TOKEN",))
        return image

    def pulled(self, image: str) -> list[Path]:
        """The blobs of its layers."""
        place = self.folder / image.rpartition(":")[2]
        run("skopeo", "copy", "--src-tls-verify=false", f"docker://{image}", f"dir:{place}")
        manifest = json.loads((place / "manifest.json").read_text())
        return [place / layer["digest"].partition(":")[2] for layer in manifest["layers"]]


def run(*command: str) -> str:
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, f"{command[:4]}: {ended.stderr[-3000:]}"
    return ended.stdout


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    roots = f'graphroot = "{tmp_path}/graph"\nrunroot = "{tmp_path}/run"'
    (tmp_path / "storage.conf").write_text(f'[storage]\ndriver = "overlay"\n{roots}\n')
    pip = f"[global]\ncert = {CERTIFICATES}\ndefault-timeout = 180\nfind-links = /wheels\n"
    (tmp_path / "pip.conf").write_text(pip)
    monkeypatch.setenv("CONTAINERS_STORAGE_CONF", str(tmp_path / "storage.conf"))
    monkeypatch.setenv("COLDSTART_BUILDER", "buildah")
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    checkout = str(Path(__file__).parents[2])
    run(sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", f"{tmp_path}/wheels", checkout)
    base = _make_base(tmp_path)
    with a_real_registry(tmp_path) as registry:
        yield Machine(folder=tmp_path, registry=registry, base=base)
    run("buildah", "rm", "--all")


def _make_base(folder: Path) -> str:
    """Its digest."""
    made = ROOTFS or str(folder / "rootfs")
    if not ROOTFS:
        include = "--include=ca-certificates,python3-minimal,python3-pip,python3-venv"
        run("debootstrap", "--variant=minbase", include, "bookworm", made)
    container = run("buildah", "from", "scratch").strip()
    run("buildah", "add", "-q", container, made, "/")
    path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    run("buildah", "config", "--env", path, "--cmd", "python3", container)
    run("buildah", "commit", "-q", "--rm", container, BASE)
    return run("buildah", "images", "--format", "{{.Digest}}", BASE).strip()


def test_the_image_is_built_and_its_worker_answers(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "hub/org/w").mkdir(parents=True)
    (tmp_path / "hub/org/w/word.txt").write_text("heavy")
    (tmp_path / "hub/org/w/model.bin").write_bytes(os.urandom(2_000_000))
    with Hub(tmp_path / "hub", token=TOKEN, gated=["org/w"]) as hub:
        mounts = (f"-v {CERTIFICATES}:{CERTIFICATES}:ro", f"-v {tmp_path}/pip.conf:/etc/pip.conf:ro")
        wheels = f"-v {tmp_path}/wheels:/wheels:ro --build-arg HF_ENDPOINT={hub.endpoint}"
        options = f"--isolation chroot --pull-never {' '.join(mounts)} {wheels}"
        monkeypatch.setenv("COLDSTART_BUILDAH_OPTIONS", options)
        first = machine.build(CODE, "1")
        second = machine.build(f"{CODE}# another line\n", "2")
    one, other = machine.pulled(first), machine.pulled(second)

    changed = [blob.name for blob, before in zip(other, one, strict=True) if blob.name != before.name]
    weights = next(at for at, blob in enumerate(other) if "models/pins.json" in layers.names(blob))
    assert [blob.name for blob in one[: weights + 1]] == [blob.name for blob in other[: weights + 1]]
    assert len(changed) == 2  # the code, and what is compiled of it
    assert not [blob for blob in (*one, *other) if TOKEN.encode() in gzip.decompress(blob.read_bytes())]
    assert TOKEN not in run("skopeo", "inspect", "--config", "--tls-verify=false", f"docker://{second}")

    container = run("buildah", "from", "--pull-never", second).strip()
    with Jobs(hold_s=0.5) as jobs:
        said = [f"--env={name}={value}" for name, value in {**jobs.environment(), "HF_TOKEN": "x"}.items()]
        command = [
            "buildah",
            "run",
            "--isolation",
            "chroot",
            *said,
            container,
            "--",
            "python",
            "-u",
            "handler.py",
        ]
        with Process(command, tmp_path, dict(os.environ)) as worker:
            answer = jobs.result(jobs.submit({"text": "you"}), 300.0)

            assert (answer.status, answer.output) == ("COMPLETED", "heavy you"), worker.text

    project = str(machine.folder / "project/voice.py")
    asked = ("rehearse", project, "-i", "text=you", "--target", "runpod", "--json", "--image")
    told = coldstart(*asked, second)
    assert told.code == 0, told.err
    assert (told.data["job"], told.data["result"], told.data["ended"]) == (
        *("COMPLETED", "heavy you", "in order"),
    )
    assert Path(told.data["trace"]).is_file()
    slow = coldstart(*asked, second, "--disk", "1MB/s")
    assert slow.code == 0, slow.err
    assert slow.data["result"] == "heavy you"
    assert slow.data["ready_s"] > 1.5 > told.data["ready_s"]  # two baked megabytes are read
    killed = coldstart(*asked, second, "--disk", "100kB/s", "--set", "limit=3", "--set", "grace=1")
    assert (killed.code, killed.data["job"]) == (6, "IN_PROGRESS"), killed
    assert mounted() == []
    assert_ctrl_c_leaves_nothing(*asked, second, "--disk", "100kB/s")
    other_bundle = coldstart(*asked, first)
    assert other_bundle.code == 8
    assert "not built of this bundle" in other_bundle.out + other_bundle.err


def assert_ctrl_c_leaves_nothing(*arguments: str) -> None:
    before = run("buildah", "containers", "-q")
    rehearsal = subprocess.Popen(
        [str(PROGRAM), *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    while len(mounted()) < 2:  # the worker's disk, and what was baked
        assert rehearsal.poll() is None
        time.sleep(0.05)
    time.sleep(1.0)  # the worker is in its start
    os.killpg(rehearsal.pid, signal.SIGINT)

    assert rehearsal.wait(60) != 0
    assert mounted() == []
    assert run("buildah", "containers", "-q") == before


def mounted() -> list[str]:
    """Disks of a chosen speed."""
    lines = Path("/proc/mounts").read_text().splitlines()
    return [line for line in lines if "/coldstart-rehearsal-" in line and "fuse" in line.split()[2]]
