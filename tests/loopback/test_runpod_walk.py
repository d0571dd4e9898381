"""What a new user does, in order: from a declaration to an endpoint on RunPod, and down again.

Everything is real but the platform: the command line, the image in its registry, and RunPod's own worker
under the very files that were unpacked from it.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from coldstart_sdk.backends.runpod import append
from coldstart_sdk.backends.runpod.registry import OCI_MANIFEST
from coldstart_sdk.rehearsal.runpod.control import Control
from coldstart_sdk.rehearsal.runpod.jobs import Jobs
from coldstart_sdk.rehearsal.runpod.process import Process, bare_environment
from coldstart_sdk.rehearsal.runpod.registry import Registry
from tests.commands import PROGRAM, Said, coldstart, environment
from tests.images import wheels

OCI_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
APP = """\
from coldstart_sdk import Audio, Container, endpoint, hook, warm_model

@warm_model(
    name="voice",
    image=Container.base("{base}"),
    overrides={{"runpod": {{"image": "{host}/me/voice"}}}},
)
class Voice:
    @hook.load
    def load(self): self.word = "hello"
    @endpoint(default=True)
    def speak(self, text: str) -> str: return f"{{self.word}} {{text}}"
    @endpoint
    def count(self, upto: int):
        for number in range(upto):
            yield {{"n": number}}
    @endpoint
    def tone(self) -> Audio: return Audio.silence("0.1s")
"""


class Cloud:
    """A registry and a platform; whatever image is rolled out there, one worker of it runs."""

    def __init__(self, folder: Path, registry: Registry, jobs: Jobs) -> None:
        self.folder = folder
        self.registry = registry
        self.jobs = jobs
        self.control = Control(jobs, released=self.roll_out)
        self.worker: Process | None = None
        self.rolled_out = 0

    def roll_out(self, endpoint: Mapping[str, Any]) -> None:
        """Pull, and start; the worker that was there is ended."""
        self.end()
        self.rolled_out += 1
        root = self.folder / f"root-{self.rolled_out}"
        self.registry.unpack(endpoint["image"], root)
        command = self.registry.image(endpoint["image"])[1]["config"]["Cmd"]
        env = bare_environment(self.folder / "nobody") | self.jobs.environment(self.name)
        env |= {"PYTHONPATH": f"{root}{append.SITE}", "COLDSTART_HOME": str(self.folder / "kept")}
        self.worker = Process([sys.executable, *command[1:-1], f"{root}{command[-1]}"], root / "app", env)
        self.control.log = self.worker.lines
        self.control.workers = [{"id": self.name, "status": "IDLE", "gpuCount": 0, "isStale": False}]

    @property
    def name(self) -> str:
        """Of the worker that runs."""
        return f"w{self.rolled_out}"

    def end(self) -> None:
        if self.worker:
            self.worker.kill()
            self.jobs.lose(self.name)


@pytest.fixture
def cloud(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloud]:
    pytest.importorskip("runpod", reason="could not import 'runpod'")
    for name, value in wheels(tmp_path / "wheels").items():
        monkeypatch.setenv(name, value)
    with Registry() as registry, Jobs(hold_s=0.5) as jobs:
        made = Cloud(tmp_path, registry, jobs)
        with made.control:
            monkeypatch.setenv("RUNPOD_API_KEY", "rpa_" + "k" * 30)
            monkeypatch.setenv("RUNPOD_API_BASE_URL", made.control.address)
            monkeypatch.setenv("COLDSTART_BUILDER", "registry")
            yield made
            made.end()


def well(*words: str, cwd: Path) -> Said:
    said = coldstart(*words, cwd=cwd)
    assert said.code == 0, said.err + said.out
    return said


@pytest.mark.timeout(300)
def test_from_a_declaration_to_an_endpoint_and_down_again(cloud: Cloud, tmp_path: Path) -> None:
    home = tmp_path / "project"
    home.mkdir()
    base = cloud.registry.add_base("library/base", "1", {"etc/base": b""}, kind=OCI_MANIFEST, layer=OCI_LAYER)
    app = home / "app.py"
    app.write_text(APP.format(base=base, host=cloud.registry.host))
    there = ("--target", "runpod")

    well("check", "app.py", cwd=home)
    assert "load:load" in well("plan", "app.py", *there, cwd=home).out
    rehearsed = well("rehearse", "app.py", *there, "--json", cwd=home).data
    assert (rehearsed["job"], rehearsed["worker"]) == ("COMPLETED", "ready")
    well("build", "app.py", *there, cwd=home)
    well("build", "app.py", *there, "--check", cwd=home)

    dry = well("deploy", "app.py", *there, "--dry-run", "--json", cwd=home).data
    first = well("deploy", "app.py", *there, "--yes", "--json", cwd=home)
    assert (dry["did"], first.data["did"]) == ("would change", "created")
    assert "load:load" in first.err  # the waterfall of the first start
    assert well("invoke", "app.py", "-i", "text=you", *there, cwd=home).out == "hello you\n"
    assert well("invoke", "app.py", "count", "-i", "upto=2", *there, cwd=home).out == '{"n": 0}\n{"n": 1}\n'
    well("invoke", "app.py", "tone", "-o", "tone.wav", *there, cwd=home)
    assert (home / "tone.wav").read_bytes()[:4] == b"RIFF"
    assert '"state": "ready"' in well("logs", "voice", *there, cwd=home).out
    assert "w1" in well("status", "app.py", *there, cwd=home).out
    assert well("deploy", "app.py", *there, "--yes", "--json", cwd=home).data["did"] == "nothing to change"

    app.write_text(app.read_text().replace('"hello"', '"goodbye"'))
    second = well("deploy", "app.py", *there, "--yes", "--quiet", "--json", cwd=home).data
    assert [change.partition(":")[0] for change in second["changed"]] == ["image"]
    assert well("invoke", "app.py", "-i", "text=you", *there, cwd=home).out == "goodbye you\n"

    well("rollback", "app.py", *there, cwd=home)
    assert well("invoke", "app.py", "-i", "text=you", *there, cwd=home).out == "hello you\n"
    assert len(well("history", "app.py", *there, "--json", cwd=home).data["releases"]) == 3
    well("delete", "app.py", "--yes", *there, cwd=home)
    assert coldstart("status", "app.py", *there, cwd=home).code == 8


def test_a_line_that_breaks_the_start_is_told_and_what_ran_before_runs_again(
    cloud: Cloud, tmp_path: Path
) -> None:
    home = tmp_path / "project"
    home.mkdir()
    base = cloud.registry.add_base("library/base", "1", {"etc/base": b""}, kind=OCI_MANIFEST, layer=OCI_LAYER)
    app = home / "app.py"
    app.write_text(APP.format(base=base, host=cloud.registry.host))
    well("deploy", "app.py", "--target", "runpod", "--yes", cwd=home)

    app.write_text(app.read_text().replace('self.word = "hello"', 'raise RuntimeError("no model")'))
    broken = coldstart("deploy", "app.py", "--target", "runpod", "--yes", cwd=home)

    assert broken.code == 8
    assert "no model" in broken.problems[0]["error"]
    assert "live again" in broken.problems[0]["error"]
    # What was taken back is not what a rollback goes to, unless it is named.
    back = coldstart("rollback", "app.py", "--target", "runpod", cwd=home)
    assert back.code == 8
    assert "came between: 2" in back.problems[0]["fix"]
    app.write_text(app.read_text().replace('raise RuntimeError("no model")', 'self.word = "hello"'))
    assert well("invoke", "app.py", "-i", "text=you", "--target", "runpod", cwd=home).out == "hello you\n"


def test_who_stops_waiting_for_the_first_answer_leaves_it_deployed(cloud: Cloud, tmp_path: Path) -> None:
    home = tmp_path / "project"
    home.mkdir()
    base = cloud.registry.add_base("library/base", "1", {"etc/base": b""}, kind=OCI_MANIFEST, layer=OCI_LAYER)
    slow = APP.format(base=base, host=cloud.registry.host).replace(
        'self.word = "hello"', "__import__('time').sleep(99)"
    )
    (home / "app.py").write_text(slow)
    command = [str(PROGRAM), "deploy", "app.py", "--target", "runpod", "--yes"]
    with subprocess.Popen(
        command, cwd=home, env=environment(), stderr=subprocess.PIPE, text=True
    ) as deploying:
        assert deploying.stderr is not None
        waits = any(line.startswith("waiting for the first answer") for line in deploying.stderr)
        assert waits

        deploying.send_signal(signal.SIGINT)
        rest = deploying.stderr.read()

    assert deploying.returncode == 130
    assert "it stays deployed" in rest
    assert cloud.control.endpoints
