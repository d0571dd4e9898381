"""`coldstart status` and its kin as a person uses them: processes, against a control plane on loopback."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from coldstart_sdk.backends.runpod.client import Client
from coldstart_sdk.backends.runpod.platform import Platform
from coldstart_sdk.rehearsal.runpod.control import Control
from coldstart_sdk.rehearsal.runpod.jobs import ENDPOINT, Jobs
from tests.commands import VOICE, Said, a_project, coldstart

KEY = "rpa_" + "k" * 30
PUSHED = VOICE.replace(
    '(name="voice")', '(name="voice", overrides={"runpod": {"image": "registry.example/me/voice"}})'
)


class Endpoint:
    """A control plane, a worker that gives one answer, and the command line that looks after them."""

    def __init__(self, folder: Path, jobs: Jobs, control: Control) -> None:
        self.app = a_project(folder / "project", PUSHED)
        self.jobs = jobs
        self.control = control
        self.answer: dict[str, Any] = {"output": "spoken"}
        self.chunks: list[Any] = []

    def said(self, verb: str, *more: str, model: str | None = None) -> Said:
        env = {"RUNPOD_API_KEY": KEY, "RUNPOD_API_BASE_URL": self.control.address}
        return coldstart(verb, model or str(self.app), *more, "--target", "runpod", env=env)

    def asked(self, verb: str, *more: str) -> Any:  # noqa: ANN401 - plain JSON
        ended = self.said(verb, *more, "--json")
        assert ended.code == 0, ended.err + ended.out
        return ended.data

    def deploy(self) -> None:
        """As the command does, but for the image, which nobody here pulls."""
        assert self.said("build").code == 0
        client = Client(KEY, self.control.address)
        bundle = self.app.parent / "build" / "runpod"
        platform = Platform(client, builder=lambda *_: None, poll_s=0.02)
        from coldstart_sdk.plan import Plan

        plan = Plan.from_json((bundle / "plan.json").read_text(), where="plan.json")
        platform.deploy(plan, bundle, smoke_s=30.0)

    def work(self, stop: threading.Event) -> None:
        while not stop.is_set():
            for job in self.jobs.take("pod-abc", 1):
                for chunk in self.chunks:
                    self.jobs.chunk(job.id, {"output": chunk})
                self.jobs.done(job.id, self.answer, is_stream=True)


@pytest.fixture
def endpoint(tmp_path: Path) -> Iterator[Endpoint]:
    with Jobs(hold_s=0.1) as jobs, Control(jobs) as control:
        made = Endpoint(tmp_path, jobs, control)
        stop = threading.Event()
        worker = threading.Thread(target=made.work, args=(stop,))
        worker.start()
        yield made
        stop.set()
        worker.join()


def test_a_dry_run_tells_what_would_change_and_changes_nothing(endpoint: Endpoint) -> None:
    told = endpoint.asked("deploy", "--dry-run")

    assert told["did"] == "would change"
    assert any(line.startswith("image") for line in told["changed"])
    assert endpoint.control.changes() == []


def test_a_deploy_that_nobody_can_agree_to_is_refused(endpoint: Endpoint) -> None:
    ended = endpoint.said("deploy")

    assert ended.code == 2
    assert "--yes" in ended.problems[0]["fix"]
    assert endpoint.control.changes() == []


def test_status_is_asked_for_by_file_or_by_name(endpoint: Endpoint) -> None:
    endpoint.deploy()
    endpoint.control.workers = [{"id": "w1", "status": "IDLE", "gpuCount": 1, "isStale": False}]

    by_name = endpoint.said("status", model="voice")

    assert endpoint.asked("status")["id"] == ENDPOINT
    assert by_name.code == 0
    assert "w1" in by_name.out
    assert "IDLE" in by_name.out


def test_logs_are_lines(endpoint: Endpoint) -> None:
    endpoint.deploy()
    endpoint.control.workers = [{"id": "w1", "status": "IDLE", "gpuCount": 1, "isStale": False}]
    endpoint.control.log = ["ready"]

    assert endpoint.said("logs").out == "w1  ready\n"


def test_what_is_called_answers_as_run_does(endpoint: Endpoint, tmp_path: Path) -> None:
    endpoint.deploy()
    endpoint.chunks = ["said"]

    told = endpoint.asked("invoke", "-i", "text=hi")
    kept = endpoint.said("invoke", "-i", "text=hi", "-o", str(tmp_path / "out.txt"))

    assert told == {"result": "said"}
    assert (kept.code, (tmp_path / "out.txt").read_text()) == (0, "said\n")
    assert endpoint.jobs.jobs[-1].input == {"endpoint": "speak", "text": "hi"}


def test_a_stream_that_is_called_prints_as_it_comes(endpoint: Endpoint) -> None:
    endpoint.deploy()
    endpoint.chunks = [{"n": 0}, {"n": 1}]

    assert endpoint.said("invoke", "count", "-i", "upto=2").out == '{"n": 0}\n{"n": 1}\n'


def test_a_call_that_is_not_waited_for_is_collected_later(endpoint: Endpoint) -> None:
    endpoint.deploy()
    endpoint.chunks = [{"n": 0}]

    job = endpoint.asked("invoke", "count", "-i", "upto=1", "--no-wait")["job"]
    later = endpoint.said("invoke", "count", "--job", job)

    assert later.out == '{"n": 0}\n', later.err
    assert endpoint.said("invoke", "--job", job, "-i", "text=hi").code == 2


def test_a_backend_without_a_queue_says_so(endpoint: Endpoint) -> None:
    ended = coldstart("invoke", str(endpoint.app), "-i", "text=hi", "--no-wait", "--target", "modal")

    assert ended.code == 7
    assert "no queue" in ended.problems[0]["error"]


def test_an_argument_that_does_not_fit_is_told_before_anything_is_called(endpoint: Endpoint) -> None:
    endpoint.deploy()
    before = len(endpoint.jobs.jobs)

    ended = endpoint.said("invoke", "-i", "times=3")

    assert ended.code == 2
    assert "text is missing" in ended.problems[0]["error"]
    assert len(endpoint.jobs.jobs) == before


def test_history_and_the_way_back(endpoint: Endpoint) -> None:
    endpoint.deploy()
    first = endpoint.control.endpoints[ENDPOINT]["image"]
    endpoint.app.write_text(endpoint.app.read_text() + "\nword = 1\n")
    endpoint.deploy()

    releases = endpoint.asked("history")["releases"]
    told = endpoint.asked("rollback")

    assert [release["release"] for release in releases] == ["2", "1"]
    assert told["image"] == first == endpoint.control.endpoints[ENDPOINT]["image"]


def test_without_an_earlier_release_there_is_no_way_back(endpoint: Endpoint) -> None:
    endpoint.deploy()

    assert "no earlier release" in endpoint.said("rollback").problems[0]["error"]


def test_scale_changes_how_many_there_may_be(endpoint: Endpoint) -> None:
    endpoint.deploy()

    endpoint.asked("scale", "--min", "1", "--max", "2")

    assert endpoint.control.endpoints[ENDPOINT]["workers"] == {"min": 1, "max": 2, "idleTimeout": 60}
    assert endpoint.said("scale", "--min", "3", "--max", "2").code == 2


def test_delete_asks_first(endpoint: Endpoint) -> None:
    endpoint.deploy()

    unasked = endpoint.said("delete")
    told = endpoint.asked("delete", "--yes")

    assert unasked.code == 2
    assert told == {"app": "voice", "deleted": True}
    assert endpoint.control.endpoints == {}


def test_without_a_platform_it_says_which_there_are(endpoint: Endpoint) -> None:
    ended = coldstart("status", "voice", cwd=endpoint.app.parent)

    assert "--target runpod" in ended.problems[0]["fix"]
