"""The same class and the same requests, here, under RunPod's worker and under Modal's: the same answers."""

from __future__ import annotations

import base64
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("modal")
pytest.importorskip("runpod")

from coldstart_sdk import Audio
from coldstart_sdk.rehearsal.modal.plane import Plane
from coldstart_sdk.rehearsal.runpod.jobs import Jobs
from coldstart_sdk.rehearsal.runpod.process import Process, bare_environment
from tests.commands import a_project, coldstart
from tests.modal_clients import CLIENTS, Client
from tests.modals import Deployed

TALKER = """
@warm_model(name="model")
class Model:
    @hook.load
    def load(self):
        self.greeting = "hello"

    @endpoint(default=True)
    def speak(self, text: str, times: int = 1) -> str:
        return f"{self.greeting} {text}" * times

    @endpoint
    def facts(self, deep: bool) -> dict:
        return {"deep": deep, "list": [1, 2.5, None, "ü"], "nested": {"a": {"b": []}}}

    @endpoint
    def tone(self, seconds: float = 0.01) -> Audio:
        return Audio.silence(f"{seconds}s")

    @endpoint
    def count(self, upto: int):
        for number in range(upto):
            yield {"n": number}

    @endpoint
    def boom(self) -> int:
        raise KeyError("a path of ours")
"""
REQUESTS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("speak", {"text": "you", "times": 2}),
    ("facts", {"deep": True}),
    ("tone", {}),
    ("count", {"upto": 3}),
    ("speak", {"txet": "you"}),
    ("boom", {}),
)


def here(path: Path) -> list[Any]:
    return [_run(path, endpoint, arguments) for endpoint, arguments in REQUESTS]


def _run(path: Path, endpoint: str, arguments: dict[str, Any]) -> Any:  # noqa: ANN401 - plain JSON
    given = [part for name, value in arguments.items() for part in ("-i", f"{name}={_written(value)}")]
    said = coldstart("run", str(path), endpoint, *given, "--json", cwd=path.parent)
    if endpoint == "tone":  # a person gets a file
        return base64.b64encode((path.parent / "tone.wav").read_bytes()).decode()
    lines = [json.loads(line) for line in said.out.splitlines()]
    if said.code:
        return "refused"
    chunks = [line["chunk"] for line in lines if "chunk" in line]
    return chunks or lines[-1]["result"]


def _written(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def on_runpod(path: Path, folder: Path) -> list[Any]:
    assert coldstart("build", str(path), "--target", "runpod", "--out", str(folder / "runpod")).code == 0
    with Jobs() as jobs:
        environment = bare_environment(folder / "user") | jobs.environment()
        environment |= {"COLDSTART_HOME": str(folder / "home")}
        with Process([sys.executable, "-u", "handler.py"], folder / "runpod", environment):
            return [_job(jobs, {"endpoint": endpoint, **arguments}) for endpoint, arguments in REQUESTS]


def _job(jobs: Jobs, arguments: dict[str, Any]) -> Any:  # noqa: ANN401 - plain JSON
    job = jobs.result(jobs.submit(arguments))
    if job.status != "COMPLETED":
        return "refused"
    output = job.output
    if isinstance(output, list) and arguments["endpoint"] != "count":
        (output,) = output
    return _sound(output)


def on_modal(path: Path, folder: Path, client: Client) -> list[Any]:
    assert coldstart("build", str(path), "--target", "modal", "--out", str(folder / "modal")).code == 0
    with Plane() as plane:
        there = Deployed(folder=folder, plane=plane, client=client)
        ended = there.modal("deploy", str(folder / "modal/modal_app.py"))
        assert ended.code == 0, ended.err
        told = there.call(f"""
            for endpoint, arguments in json.loads({json.dumps(json.dumps(REQUESTS))}):
                method = getattr(model, endpoint)
                failing(lambda: list(method.remote_gen(**arguments)) if endpoint == "count"
                        else method.remote(**arguments))
        """)
    return [_sound(each["value"]) if "value" in each else "refused" for each in told]


def _sound(value: Any) -> Any:  # noqa: ANN401 - plain JSON
    return value["base64"] if isinstance(value, dict) and "base64" in value else value


@pytest.mark.parametrize("client", CLIENTS[:1])
def test_three_targets_give_the_same_answers(tmp_path: Path, client: Client) -> None:
    path = a_project(tmp_path / "project", TALKER)

    expected = [
        "hello youhello you",
        {"deep": True, "list": [1, 2.5, None, "ü"], "nested": {"a": {"b": []}}},
        base64.b64encode(Audio.silence("0.01s").bytes).decode(),
        [{"n": 0}, {"n": 1}, {"n": 2}],
        "refused",
        "refused",
    ]
    assert here(path) == expected
    assert on_runpod(path, tmp_path / "rp") == expected
    shutil.rmtree(path.parent / "__pycache__", ignore_errors=True)
    assert on_modal(path, tmp_path / "mo", client) == expected
