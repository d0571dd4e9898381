"""A worker behind RunPod's load balancer: its own HTTP server, and `/ping` for who sends the requests."""

from __future__ import annotations

import socket
import sys
import threading
from pathlib import Path
from typing import Any

import httpx

from coldstart_sdk import __version__, bundle, entry
from coldstart_sdk.backends.runpod import backend
from coldstart_sdk.declare.read import read
from coldstart_sdk.planner import plan
from coldstart_sdk.rehearsal.runpod.process import Process, bare_environment

HEAD = "import time\nfrom pathlib import Path\nfrom coldstart_sdk import endpoint, hook, warm_model\n"
VOICE = """
@warm_model(name="voice", overrides={"runpod": {"mode": "http"}})
class Voice:
    @hook.load
    def load(self):
        while not (Path(__file__).parent / "go").exists(): time.sleep(0.02)
    @endpoint
    def speak(self, text: str) -> str: return f"said {text}"
"""
TOO_LONG_S = 60.0


def a_worker(folder: Path, source: str) -> tuple[Process, str]:
    path = folder / f"behind_{abs(hash(str(folder))) % 10**9}.py"
    path.write_text(HEAD + source)
    before = list(sys.path)
    made = plan(read(entry.load(str(path))), "runpod", backend.capabilities, sdk=__version__)
    sys.path[:] = before
    bundle.write(backend.compile(made, folder), folder / "bundle")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    env = bare_environment(folder / "home") | {"PORT": str(port), "COLDSTART_HOME": str(folder / "kept")}
    return Process([sys.executable, "-u", "handler.py"], folder / "bundle", env), f"http://127.0.0.1:{port}"


def until(url: str, status: int, *, told: bool = False) -> httpx.Response:
    """The first answer with this status, and where `told` with a body."""
    tick = threading.Event()
    seen: list[Any] = []
    for _ in range(int(TOO_LONG_S / 0.05)):
        try:
            answer = httpx.get(url, timeout=5.0)
        except httpx.TransportError as away:
            seen.append(away)
        else:
            if answer.status_code == status and (answer.content or not told):
                return answer
            seen.append(answer.status_code)
        tick.wait(0.05)
    raise AssertionError(seen[-5:])


def test_the_load_balancer_is_told_when_to_send_requests(tmp_path: Path) -> None:
    worker, url = a_worker(tmp_path, VOICE)
    with worker:
        until(f"{url}/ping", 204)
        (tmp_path / "bundle" / "code" / "go").touch()
        until(f"{url}/ping", 200)

        answer = httpx.post(f"{url}/speak", json={"text": "you"}, headers={"Host": "ep1.api.runpod.ai"})

        assert answer.json() == {"result": "said you"}
        worker.terminate()
        assert worker.wait(TOO_LONG_S) == 0


def test_after_three_strikes_it_says_why_and_gets_no_requests(tmp_path: Path) -> None:
    broken = VOICE.replace(
        'while not (Path(__file__).parent / "go").exists(): time.sleep(0.02)',
        "raise RuntimeError('no model')",
    )
    worker, url = a_worker(tmp_path, broken)
    with worker:
        assert worker.wait_for(lambda: len(worker.reports) == 3, TOO_LONG_S)

        said = until(f"{url}/ping", 503, told=True).json()["error"]

        assert "no model" in said["message"]
        assert said["fix"]
        assert worker.code is None


def test_between_two_tries_it_ends_when_it_is_told_to(tmp_path: Path) -> None:
    broken = VOICE.replace(
        'while not (Path(__file__).parent / "go").exists(): time.sleep(0.02)',
        "raise RuntimeError('no model')",
    )
    worker, _ = a_worker(tmp_path, broken)
    with worker:
        assert worker.wait_for(lambda: worker.reports, TOO_LONG_S)

        worker.terminate()

        assert worker.wait(TOO_LONG_S) is not None
        assert len(worker.reports) == 1
