"""`serve` and `--watch` as a person uses them: a process, its streams and signals, a client on loopback."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.commands import PROGRAM, VOICE, a_project, coldstart, environment

SLOW = """
@warm_model
class Slow:
    @endpoint
    def wait(self, seconds: float) -> str:
        time.sleep(seconds)
        return "waited"
"""


@contextmanager
def running(*arguments: str, env: Mapping[str, str] | None = None) -> Iterator[subprocess.Popen[str]]:
    """The command, ended with the test."""
    process = subprocess.Popen(
        [str(PROGRAM), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        text=True,
        env=environment(env),
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        try:
            process.communicate(timeout=60)
        except (subprocess.TimeoutExpired, ValueError):
            process.kill()
            process.wait()


def serving(app: Path, *more: str) -> tuple[str, ...]:
    return "serve", str(app), "--port", "0", "--json", "--quiet", *more


def where(process: subprocess.Popen[str]) -> dict[str, str]:
    """What it says once it is READY."""
    assert process.stdout is not None
    said: dict[str, str] = json.loads(process.stdout.readline())
    return said


def post(url: str, path: str, body: object, token: str | None = None) -> tuple[int, object]:
    at = urlsplit(url)
    connection = http.client.HTTPConnection(at.hostname or "", at.port, timeout=60)
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
    connection.request("POST", path, json.dumps(body), headers)
    answer = connection.getresponse()
    content = json.loads(answer.read())
    connection.close()
    return answer.status, content


def test_serve_answers_where_it_says_and_ends_with_0_on_a_signal(tmp_path: Path) -> None:
    with running(*serving(a_project(tmp_path))) as process:
        told = where(process)

        assert post(told["url"], "/speak", {"text": "you"}) == (200, {"result": "hello you"})
        process.send_signal(signal.SIGTERM)

        assert process.wait(60) == 0


def test_a_token_that_was_made_is_shown_once_and_asked_of_callers(tmp_path: Path) -> None:
    with running(*serving(a_project(tmp_path), "--token", "auto")) as process:
        told = where(process)

        assert post(told["url"], "/speak", {"text": "you"})[0] == 401
        assert post(told["url"], "/speak", {"text": "you"}, told["token"])[0] == 200


def test_a_hook_does_not_find_the_token_in_its_environment(tmp_path: Path) -> None:
    body = VOICE.replace('return f"{self.greeting} {text}" * times', 'return os.environ["COLDSTART_TOKEN"]')
    with running(*serving(a_project(tmp_path, body)), env={"COLDSTART_TOKEN": "a-token-of-mine"}) as process:
        told = where(process)

        assert post(told["url"], "/speak", {"text": ""}, "a-token-of-mine") == (200, {"result": ""})


def test_a_worker_that_cannot_start_ends_serve_with_6(tmp_path: Path) -> None:
    body = VOICE.replace('self.greeting = "hello"', 'raise RuntimeError("no card")')
    with running("serve", str(a_project(tmp_path, body)), "--port", "0") as process:
        _, err = process.communicate(timeout=60)

        assert process.returncode == 6
        assert "error: load:load raised RuntimeError: no card" in err


def test_the_second_signal_does_not_wait_for_requests(tmp_path: Path) -> None:
    marker = tmp_path / "waiting"
    body = SLOW.replace(
        "        time.sleep(seconds)",
        f"        open({str(marker)!r}, 'w').close()\n        time.sleep(seconds)",
    )
    with running(*serving(a_project(tmp_path, body))) as process:
        at = urlsplit(where(process)["url"])
        connection = http.client.HTTPConnection(at.hostname or "", at.port, timeout=60)
        connection.request("POST", "/wait", '{"seconds": 1000}', {"Content-Type": "application/json"})
        wait_for(marker)
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGTERM)

        assert process.wait(20) == 128 + signal.SIGTERM
        connection.close()


def test_the_first_signal_says_at_once_what_is_waited_for(tmp_path: Path) -> None:
    marker = tmp_path / "waiting"
    body = SLOW.replace(
        "        time.sleep(seconds)",
        f"        open({str(marker)!r}, 'w').close()\n        time.sleep(seconds)",
    )
    app = a_project(tmp_path, body)
    with running("run", str(app), "-i", "seconds=1000") as process:
        wait_for(marker)
        process.send_signal(signal.SIGINT)

        assert process.stderr is not None
        stopping = next(line for line in process.stderr if line.startswith("stopping"))
        process.send_signal(signal.SIGINT)
        assert stopping == "stopping: 1 request is still running; Ctrl-C again not to wait\n"
        assert process.wait(60) == 130


def test_a_signal_before_the_port_is_open_stops_serve_as_a_drain_would(tmp_path: Path) -> None:
    body = """
    @warm_model
    class Late:
        @endpoint
        def speak(self) -> str:
            return "spoken"
    """
    head = "import os, sys, time\nfrom coldstart_sdk import endpoint, warm_model\n"
    with running("serve", str(a_project(tmp_path, body, head=head)), "--port", "0") as process:
        assert process.stderr is not None
        process.stderr.readline()  # the worker lives, and its server may not yet
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=60)

        assert process.returncode == 0
        assert err.endswith("stopped\n")


def test_an_interrupted_run_ends_with_130_and_leaves_no_worker(tmp_path: Path) -> None:
    marker = tmp_path / "pid"
    body = f"""
    @warm_model
    class Slow:
        @hook.load
        def load(self):
            with open({str(marker) + ".part"!r}, "w") as file:
                file.write(str(os.getpid()))
            os.rename({str(marker) + ".part"!r}, {str(marker)!r})
            time.sleep(1000)
        @endpoint
        def speak(self) -> str:
            return "spoken"
    """
    with running("run", str(a_project(tmp_path / "project", body))) as process:
        wait_for(marker)
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGINT)

        assert process.wait(60) == 130
        with pytest.raises(ProcessLookupError):
            os.kill(int(marker.read_text()), 0)


def test_watch_starts_again_after_a_change_and_outlives_a_mistake(tmp_path: Path) -> None:
    app = a_project(tmp_path)
    text = app.read_text()
    with running("run", str(app), "-i", "text=you", "--quiet", "--watch") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "hello you\n"

        app.write_text(text.replace('"hello"', '"good day"'))
        assert process.stdout.readline() == "good day you\n"

        app.write_text(text + "\nclass (:\n")
        assert process.stderr.readline() == "changed app.py: again\n"
        assert process.stderr.readline() == "changed app.py: again\n"
        assert process.stderr.readline().startswith("error: app.py is not Python")
        assert [process.stderr.readline() for _ in range(3)][-1] == "waiting for the next change\n"
        app.write_text(text.replace('"hello"', '"at last"'))
        assert process.stdout.readline() == "at last you\n"


def wait_for(path: Path) -> None:
    """Until the file is there; the test's own limit bounds it."""
    while not path.exists():
        time.sleep(0.01)


def test_a_module_beside_the_declaration_can_be_imported_ahead_of_it(tmp_path: Path) -> None:
    (tmp_path / "neighbour.py").write_text("WORD = 'hello'\n")
    path = a_project(
        tmp_path,
        """
        @warm_model(name="voice", imports=["neighbour"])
        class Voice:
            @endpoint
            def speak(self) -> str:
                from neighbour import WORD
                return WORD
        """,
    )

    said = coldstart("run", str(path), "--json")

    assert said.code == 0, said.err
    assert said.data["result"] == "hello"


def test_a_hook_that_lets_nothing_else_run_is_ended_at_its_timeout_all_the_same(tmp_path: Path) -> None:
    path = a_project(
        tmp_path,
        """
        @warm_model
        class Stuck:
            @hook.load(timeout=0.2)
            def load(self):
                import re
                re.match("(a+)+$", "a" * 60 + "b")  # minutes in native code, which holds the interpreter

            @endpoint
            def speak(self) -> str:
                return "never"
        """,
    )

    said = coldstart("run", str(path), "--json")

    assert said.code == 6
    assert said.data["error"]["message"] == "load:load did not end within 0.2 s, and let nothing else run"
    assert said.data["error"]["problems"][0]["where"].endswith(", in load")


def test_an_answer_that_is_late_ends_a_run_without_waiting_for_its_code(tmp_path: Path) -> None:
    """`run` itself would be killed by the test's own limit, were it to wait for the code."""
    path = a_project(
        tmp_path,
        """
        @warm_model
        class Late:
            @endpoint(timeout=0.2)
            def speak(self) -> str:
                time.sleep(1000)
                return "never"

            @hook.close
            def bye(self):
                print("closed in order")
        """,
    )

    said = coldstart("run", str(path), "--json")

    assert said.code == 6
    assert said.data["error"]["message"] == "speak did not answer in time"
    assert "closed in order" in said.err
