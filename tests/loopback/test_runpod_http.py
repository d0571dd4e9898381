"""A worker behind RunPod's load balancer: its own HTTP server, and `/ping` for who sends the requests."""

from __future__ import annotations

import socket
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from coldstart_sdk import __version__, bundle, entry
from coldstart_sdk.backends.runpod import backend
from coldstart_sdk.backends.runpod.client import Client
from coldstart_sdk.backends.runpod.platform import Platform
from coldstart_sdk.declare.read import read
from coldstart_sdk.errors import PlatformError
from coldstart_sdk.plan import Plan
from coldstart_sdk.planner import plan
from coldstart_sdk.rehearsal.runpod.control import Control
from coldstart_sdk.rehearsal.runpod.jobs import Jobs
from coldstart_sdk.rehearsal.runpod.process import Process, bare_environment

if TYPE_CHECKING:
    from typing_extensions import Self

HEAD = "import time\nfrom pathlib import Path\nfrom coldstart_sdk import File, endpoint, hook, warm_model\n"
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


def a_bundle(folder: Path, source: str) -> Plan:
    path = folder / f"behind_{abs(hash(str(folder))) % 10**9}.py"
    path.write_text(HEAD + source)
    before = list(sys.path)
    made = plan(read(entry.load(str(path))), "runpod", backend.capabilities, sdk=__version__)
    sys.path[:] = before
    bundle.write(backend.compile(made, folder), folder / "bundle")
    return made


def a_worker(folder: Path, source: str) -> tuple[Process, str]:
    a_bundle(folder, source)
    return started(folder)


def started(folder: Path) -> tuple[Process, str]:
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

        assert worker.wait(TOO_LONG_S) == 0
        assert len(worker.reports) == 1


class Cloud:
    """A control plane; whatever is deployed there, one worker of it runs behind its address."""

    def __init__(self, folder: Path, source: str) -> None:
        self.folder = folder
        self.plan = a_bundle(folder, source)
        self.worker, url = started(folder)
        self.control = Control(Jobs())
        self.control.balanced = url

    def __enter__(self) -> Self:
        self.control.jobs.__enter__()
        self.control.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self.worker.kill()
        self.control.__exit__(None, None, None)
        self.control.jobs.__exit__(None, None, None)

    @property
    def platform(self) -> Platform:
        client = Client("rpa_" + "k" * 30, self.control.address)
        return Platform(client, builder=lambda *_: None, poll_s=0.05)

    def deploy(self, smoke_s: float = TOO_LONG_S) -> dict[str, Any]:
        return dict(self.platform.deploy(self.plan, self.folder / "bundle", smoke_s=smoke_s))


BALANCED = """
@warm_model(name="voice", overrides={"runpod": {"mode": "http", "image": "registry.example/me/voice"}})
class Voice:
    @hook.load
    def load(self): time.sleep(0.3)
    @endpoint(default=True)
    def speak(self, text: str) -> str: return f"said {text}"
    @endpoint
    def count(self, upto: int):
        for number in range(upto):
            if number == 3: raise ValueError("too far")
            yield {"n": number}
"""


def test_a_deploy_waits_until_a_worker_is_ready_and_asks_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Cloud(tmp_path, BALANCED) as cloud:
        told = cloud.deploy()

        assert told["did"] == "created"
        assert told["first_answer_s"] > 0
        assert told["ready_s"] > 0
        assert "load:load" in capsys.readouterr().err
        assert cloud.deploy()["did"] == "nothing to change"


def test_an_endpoint_behind_the_load_balancer_is_invoked(tmp_path: Path) -> None:
    with Cloud(tmp_path, BALANCED) as cloud:
        cloud.deploy()
        platform = cloud.platform

        assert list(platform.invoke("voice", None, {"text": "you"})) == ["said you"]
        assert list(platform.invoke("voice", "count", {"upto": 2})) == [{"n": 0}, {"n": 1}]
        with pytest.raises(PlatformError, match=r"400: .*text"):
            list(platform.invoke("voice", "speak", {}))
        with pytest.raises(PlatformError, match="the endpoint answered"):
            list(platform.invoke("voice", "count", {"upto": 5}))


def test_a_first_answer_that_is_an_error_takes_the_new_endpoint_away(tmp_path: Path) -> None:
    broken = BALANCED.replace('return f"said {text}"', 'raise ValueError("/srv/secret")')
    with Cloud(tmp_path, broken) as cloud:
        with pytest.raises(PlatformError, match=r"answered 500: .*the new endpoint was removed") as refused:
            cloud.deploy()

        assert "coldstart logs" in refused.value.fix
        assert "/srv/secret" not in refused.value.message
        assert not cloud.control.endpoints


def test_a_start_that_failed_for_good_is_told_with_its_reason(tmp_path: Path) -> None:
    broken = BALANCED.replace("time.sleep(0.3)", "raise RuntimeError('no model')")
    with (
        Cloud(tmp_path, broken) as cloud,
        pytest.raises(PlatformError, match=r"no model.*; the new endpoint was removed"),
    ):
        cloud.deploy()


def test_an_endpoint_that_never_becomes_ready_is_given_up_with_its_workers(tmp_path: Path) -> None:
    with Cloud(tmp_path, VOICE.replace('"http"}', '"http", "image": "registry.example/me/voice"}')) as cloud:
        cloud.control.workers = [{"id": "w1", "status": "INITIALIZING", "isStale": False}]

        with pytest.raises(PlatformError, match="no worker is ready within 1 s; workers: 1 initializing"):
            cloud.deploy(smoke_s=1.0)

        assert not cloud.control.endpoints


def test_a_key_that_may_not_call_is_told_so_at_once(tmp_path: Path) -> None:
    with Cloud(tmp_path, BALANCED) as cloud, Control(Jobs()) as closed:
        closed.refusals = [(401, {})]
        cloud.control.balanced = closed.address

        with pytest.raises(PlatformError, match="answered 401") as refused:
            cloud.deploy()

        assert "RUNPOD_API_KEY" in refused.value.fix


def test_an_answer_that_breaks_off_is_told_so(tmp_path: Path) -> None:
    dying = BALANCED.replace('raise ValueError("too far")', "os._exit(1)").replace(
        "@warm_model", "import os\n@warm_model", 1
    )
    with Cloud(tmp_path, dying) as cloud:
        cloud.deploy()

        with pytest.raises(PlatformError, match=r"broke off|cannot be reached") as refused:
            list(cloud.platform.invoke("voice", "count", {"upto": 5}))

        assert refused.value.fix


def test_behind_the_load_balancer_what_needs_a_file_is_deployed_once_it_is_ready(tmp_path: Path) -> None:
    needs = (
        BALANCED.partition("    @endpoint(default")[0]
        + "    @endpoint\n    def echo(self, ref: File) -> str: ...\n"
    )
    with Cloud(tmp_path, needs) as cloud:
        assert cloud.deploy()["ready_s"] > 0
