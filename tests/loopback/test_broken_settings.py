"""Settings that cost callers a cold start: found in traces of workers that really ran, with the price."""

from __future__ import annotations

import json
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.commands import PROGRAM, a_project, coldstart, environment

SERVED = """
@warm_model(name="served", scale=Scale(idle={idle!r}))
class Served:
    @endpoint
    def speak(self, text: str) -> str:
        return text
"""
KEPT = """
@warm_model(name="kept", gpu="T4", snapshot={snapshot!r})
class Kept:
    @hook.load
    def load(self, device):
        time.sleep(2)

    @hook.restored
    def restored(self):
        time.sleep(0.2)

    @endpoint
    def speak(self, text: str = "hi") -> str:
        return text
"""


@contextmanager
def served(app: Path, home: Path) -> Iterator[str]:
    command = [str(PROGRAM), "serve", str(app), "--port", "0", "--json", "--quiet"]
    env = environment({"COLDSTART_HOME": str(home)})
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=env
    ) as worker:
        assert worker.stdout
        try:
            yield json.loads(worker.stdout.readline())["url"]
        finally:
            worker.terminate()


def ask(url: str) -> None:
    body = json.dumps({"text": "hi"}).encode()
    asked = urllib.request.Request(f"{url}/speak", body, {"Content-Type": "application/json"})  # noqa: S310 - an address of this very test
    with urllib.request.urlopen(asked, timeout=60) as answer:  # noqa: S310 - as above
        assert json.loads(answer.read()) == {"result": "hi"}


def rules(explained: dict[str, object]) -> set[str]:
    told = [*explained["remarks"], *explained["beside"]]  # type: ignore[misc] # lists, as JSON has them
    told += [one["finding"] for one in explained["advice"]]  # type: ignore[attr-defined] # as above
    return {finding["rule"] for finding in told}


@pytest.mark.parametrize(("idle", "fires"), [("1s", True), ("60s", False)])
def test_pauses_longer_than_the_idle_time_are_told_of_a_worker_that_served(
    tmp_path: Path, idle: str, *, fires: bool
) -> None:
    app, trace = a_project(tmp_path / "project", SERVED.format(idle=idle)), tmp_path / "served.json"
    with served(app, tmp_path / "home") as url:
        for _ in range(4):
            ask(url)
            time.sleep(1.3)
        with urllib.request.urlopen(f"{url}/trace", timeout=60) as answer:  # noqa: S310 - as above
            trace.write_bytes(answer.read())

    said = coldstart("explain", str(trace), "--json")

    assert said.code == 0, said.err
    assert ("idle-too-short" in rules(said.data)) == fires


def test_a_snapshot_that_is_off_is_priced_by_what_a_restore_does_not_wait_for(tmp_path: Path) -> None:
    """On loopback a restore is a fork, which takes no time of its own."""
    pytest.importorskip("modal")
    ready_s, told = {}, {}
    for snapshot, state in (("none", "empty"), ("cpu", "restore")):
        app = a_project(tmp_path / snapshot, KEPT.format(snapshot=snapshot))
        receipt = tmp_path / f"{snapshot}.receipt.json"
        said = coldstart(
            *("check", str(app), "--target", "modal", "--budget", "ready=90s", "--json"),
            *("--set", f"state={state}", "--receipt", str(receipt)),
            env={"COLDSTART_HOME": str(tmp_path / "home")},
        )
        assert said.code == 0, said.err
        told[snapshot] = coldstart("explain", said.data["trace"], "--json").data
        ready_s[snapshot] = told[snapshot]["ready_s"]

    (advice,) = [one for one in told["none"]["advice"] if one["finding"]["rule"] == "snapshot-off"]
    assert 0 < advice["saves_s"] < ready_s["none"]
    assert "snapshot-off" not in rules(told["cpu"])
