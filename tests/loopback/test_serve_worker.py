"""A serving worker is a process: it goes down in order, at once when asked twice, and never stays behind."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from coldstart_sdk.backends.local.messages import Order, Report
from coldstart_sdk.backends.local.supervise import Worker, worker_env
from coldstart_sdk.events import RequestEnded, State, StateChanged
from coldstart_sdk.serve.options import Options
from tests.serving import TOO_LONG_S, a_project

MODEL = """
@warm_model(name="steady", scale=Scale(concurrency=1, queue=4))
class Steady:
    @hook.load
    def load(self) -> None:
        if (HERE / "fail").exists():
            raise ValueError("no such model")

    @hook.background
    def tidy(self) -> None:
        (HERE / "tidying").touch()
        while not (HERE / "never").exists():
            time.sleep(0.01)

    @hook.close
    def close(self) -> None:
        (HERE / "closed").touch()

    @endpoint
    def work(self) -> str:
        (HERE / "began").touch()
        while not (HERE / "go").exists():
            time.sleep(0.01)
        return "answered"
"""


@dataclass
class Running:
    worker: Worker
    folder: Path
    client: httpx.Client
    pid: int
    listener: threading.Thread = field(init=False)
    said: list[Report] = field(default_factory=list)
    _more: threading.Condition = field(default_factory=threading.Condition)
    code: int | None = None

    def listen(self) -> None:
        for report in self.worker.reports():
            with self._more:
                self.said.append(report)
                self._more.notify_all()

    def wait_for(self, state: State) -> None:
        def has_come() -> bool:
            return any(isinstance(each, StateChanged) and each.state is state for each in self.said)

        with self._more:
            assert self._more.wait_for(has_come, TOO_LONG_S), self.said

    def wait_for_file(self, name: str) -> None:
        tick = threading.Event()
        for _ in range(6000):
            if (self.folder / name).exists():
                return
            tick.wait(0.01)
        raise AssertionError(f"{name} was never written")

    def end(self) -> int:
        """Nothing more is asked of it; its exit code."""
        if self.code is None:
            self.worker.release()
            self.listener.join(TOO_LONG_S)
            self.code = self.worker.end()
        return self.code


@contextmanager
def a_server(folder: Path, *, drain_s: float = 30.0) -> Iterator[Running]:
    with a_project(folder, MODEL) as plan, socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        order = Order(
            plan=plan,
            project=str(folder),
            home=str(folder / "home"),
            drain_s=drain_s,
            serve=Options(port=port),
            socket=listening.fileno(),
        )
        worker = Worker(order, env=worker_env(plan, folder / "home"), listening=listening)
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=TOO_LONG_S) as client:
            running = Running(worker=worker, folder=folder, client=client, pid=worker._process.pid)  # noqa: SLF001 - a signal needs its number
            running.listener = threading.Thread(target=running.listen)
            running.listener.start()
            try:
                yield running
            finally:
                (folder / "go").touch()
                running.end()


@contextmanager
def _a_request(running: Running) -> Iterator[list[httpx.Response]]:
    """One that is inside; its reply, afterwards."""
    replies: list[httpx.Response] = []
    asking = threading.Thread(target=lambda: replies.append(running.client.post("/work", json={})))
    asking.start()
    running.wait_for_file("began")
    yield replies
    asking.join(TOO_LONG_S)


def test_a_signal_in_the_middle_of_a_request_lets_it_be_answered(tmp_path: Path) -> None:
    with a_server(tmp_path) as running:
        running.wait_for_file("tidying")
        with _a_request(running) as replies:
            os.kill(running.pid, signal.SIGTERM)
            running.wait_for(State.DRAINING)
            refused = running.client.post("/work", json={})
            (tmp_path / "go").touch()
        running.wait_for(State.STOPPED)

        assert replies[0].json() == {"result": "answered"}
        assert refused.status_code == 503
        assert refused.headers["connection"] == "close"
        assert running.end() == 0
        assert (tmp_path / "closed").exists()


def test_a_second_signal_ends_it_at_once(tmp_path: Path) -> None:
    with a_server(tmp_path) as running:
        running.wait_for(State.READY)

        def ask() -> None:
            with pytest.raises(httpx.TransportError):
                running.client.post("/work")

        asking = threading.Thread(target=ask)
        asking.start()
        running.wait_for_file("began")
        os.kill(running.pid, signal.SIGTERM)
        running.wait_for(State.DRAINING)
        os.kill(running.pid, signal.SIGTERM)

        assert running.end() == 128 + signal.SIGTERM
        asking.join(TOO_LONG_S)
        assert not (tmp_path / "closed").exists()


def test_a_request_that_outlasts_the_deadline_does_not_keep_it(tmp_path: Path) -> None:
    with a_server(tmp_path, drain_s=1.0) as running:
        with _a_request(running) as replies:
            os.kill(running.pid, signal.SIGTERM)
            running.wait_for(State.STOPPED)

        assert (replies[0].status_code, replies[0].json()["error"]["type"]) == (503, "cancelled")
        assert running.end() == 0
        assert (tmp_path / "closed").exists()


def test_a_worker_whose_supervisor_is_gone_goes_down_in_order(tmp_path: Path) -> None:
    with a_server(tmp_path) as running:
        running.wait_for(State.READY)

        assert running.end() == 0  # closes the control pipe, as a supervisor's death would
        assert (tmp_path / "closed").exists()


def test_a_worker_that_is_stopped_and_left_at_once_still_goes_down_in_order(tmp_path: Path) -> None:
    with a_server(tmp_path) as running:
        running.wait_for(State.READY)
        running.worker.stop()

        assert running.end() == 0
        assert (tmp_path / "closed").exists()


def test_a_start_that_fails_leaves_no_server_behind(tmp_path: Path) -> None:
    (tmp_path / "fail").touch()
    with a_server(tmp_path) as running:
        running.wait_for(State.FAILED)

        assert running.end() == 6
        with pytest.raises(httpx.TransportError):
            running.client.get("/health", timeout=0.5)


def test_requests_stay_in_the_worker_and_its_start_is_told(tmp_path: Path) -> None:
    (tmp_path / "go").touch()
    with a_server(tmp_path) as running:
        assert running.client.post("/work", json={}).json() == {"result": "answered"}
        trace = running.client.get("/trace").json()

        assert trace["anchors"]["process_s"] == 0
        assert trace["anchors"]["sdk_s"] > 0
        assert [request["endpoint"] for request in trace["requests"]] == ["work"]
        assert not any(isinstance(each, RequestEnded) for each in running.said)
