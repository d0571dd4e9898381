"""A worker process under its supervisor: what a hook can do to it, and what is still known afterwards."""

from __future__ import annotations

import logging
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from coldstart_sdk.backends.local.messages import Answered, Ask, Chunk, Order, Refused, Report, Waiting
from coldstart_sdk.backends.local.supervise import Worker, worker_env
from coldstart_sdk.events import Event, State, StateChanged
from coldstart_sdk.trace.build import build
from coldstart_sdk.trace.metrics import attributed
from tests.lives import HEAD, a_file, planned


class Talk:
    """One worker from its start to its end, and all that it said."""

    def __init__(self, folder: Path, body: str | Path, *, drain_s: float = 10.0) -> None:
        self.plan = planned(body if isinstance(body, Path) else a_file(folder, body))
        home = folder / "home"
        order = Order(
            plan=self.plan, project=str(folder), home=str(home), drain_s=drain_s, serve=None, socket=None
        )
        self.worker = Worker(order, env=worker_env(self.plan, home))
        self.said: list[Report] = []

    def ask(self, endpoint: str | None = None, **arguments: Any) -> None:  # noqa: ANN401 - arguments of any endpoint
        self.worker.ask(Ask(id=f"r{len(self.said)}", endpoint=endpoint, arguments=arguments))

    def hear(self, *kinds: type) -> Any:  # noqa: ANN401 - the report that a test waits for
        """Listen until it says something of these kinds, or has ended."""
        for report in self.worker.reports():
            self.said.append(report)
            if isinstance(report, kinds):
                return report
        return None

    def end(self) -> int:
        """Let it end in order."""
        self.worker.release()
        self.hear()
        return self.worker.end()

    @property
    def events(self) -> list[Event]:
        return [
            report for report in self.said if not isinstance(report, Answered | Refused | Chunk | Waiting)
        ]

    @property
    def failure(self) -> StateChanged:
        return next(e for e in self.events if isinstance(e, StateChanged) and e.state is State.FAILED)


@contextmanager
def a_worker(folder: Path, body: str | Path, *, drain_s: float = 10.0) -> Iterator[Talk]:
    talk = Talk(folder, body, drain_s=drain_s)
    try:
        yield talk
    finally:
        talk.worker.kill()
        talk.worker.end()


def test_a_worker_starts_cold_answers_and_ends(tmp_path: Path) -> None:
    with a_worker(tmp_path, "@hook.load\ndef load(self): self.k = 2") as talk:
        talk.ask(n=21)

        assert talk.hear(Answered, Refused).value == 21
        assert talk.end() == 0


def test_most_of_the_time_to_ready_has_a_name(tmp_path: Path) -> None:
    with a_worker(tmp_path, "@hook.load\ndef load(self): time.sleep(0.5)") as talk:
        talk.ask()
        talk.hear(Answered)
        trace = build(talk.events, talk.plan, wall_start=None)

    share = attributed(trace)

    assert share is not None
    assert share >= 0.95


def test_a_hook_that_raises_ends_the_worker_with_six_and_its_line(tmp_path: Path) -> None:
    with a_worker(tmp_path, "@hook.load\ndef load(self): raise ValueError('torn')") as talk:
        talk.ask()

        talk.hear()

        assert talk.worker.end() == 6
        assert talk.failure.reason == "load:load raised ValueError: torn"
        assert talk.failure.where is not None
        assert talk.failure.fix


def test_a_hook_that_hangs_is_ended_at_its_timeout(tmp_path: Path) -> None:
    with a_worker(tmp_path, "@hook.load(timeout=0.3)\ndef load(self): threading.Event().wait()") as talk:
        talk.hear()

        assert talk.worker.end() == 6
        assert talk.failure.reason == "load:load did not end within 0.3 s"


def test_a_hook_that_calls_sys_exit_is_a_failure(tmp_path: Path) -> None:
    with a_worker(tmp_path, "@hook.load\ndef load(self): sys.exit(0)") as talk:
        talk.hear()

        assert talk.worker.end() == 6
        assert talk.failure.reason == "load:load called sys.exit(0)"


def test_a_worker_that_dies_by_a_signal_leaves_what_it_said(tmp_path: Path) -> None:
    with a_worker(tmp_path, "@hook.load\ndef load(self): os.kill(os.getpid(), 11)") as talk:
        talk.hear()

        assert talk.worker.end() == -signal.SIGSEGV
        trace = build(talk.events, talk.plan, wall_start=None)
        assert "load:load" in [span.name for span in trace.steps]


def test_an_optional_hook_that_hangs_leaves_the_worker_answering(tmp_path: Path) -> None:
    body = "@hook.warmup(required=False, timeout=0.3)\ndef warm(self): threading.Event().wait()"
    with a_worker(tmp_path, body) as talk:
        talk.ask(n=3)

        assert talk.hear(Answered, Refused).value == 3
        ready = next(e for e in reversed(talk.events) if isinstance(e, StateChanged))
        assert ready.state is State.READY
        assert ready.degraded == ("warmup:warm",)


def test_a_call_that_cannot_be_answered_is_refused_with_its_reason(tmp_path: Path) -> None:
    with a_worker(tmp_path, "@endpoint\ndef boom(self) -> int: raise KeyError('secret')") as talk:
        talk.ask("boom")

        error = talk.hear(Answered, Refused).error["error"]
        assert error["type"] == "failed"
        assert error["message"] == "boom raised KeyError"


def test_a_wrong_result_is_refused_with_its_line_and_mend_and_without_a_traceback(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with a_worker(tmp_path, "@endpoint\ndef any_bytes(self) -> object: return b'x'") as talk:
        talk.ask("any_bytes")

        error = talk.hear(Answered, Refused).error["error"]
        talk.end()
    assert re.fullmatch(r"model_\w+\.py:\d+, in any_bytes", error["where"])
    assert error["fix"].startswith("Say what the bytes are")
    logged = capfd.readouterr().err
    assert "Traceback" not in logged
    assert f"{error['where']}: {error['message']}" in logged


def test_what_a_hook_logs_from_info_on_is_on_stderr_once(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    body = """
    @hook.load
    def load(self, log):
        import logging
        log.debug("too much")
        log.info("mapped %s tensors", 3)
        logging.basicConfig(format="theirs %(message)s")
        log.info("from here on it is the user's")
    """
    with a_worker(tmp_path, body) as talk:
        talk.ask()
        assert talk.hear(Answered, Refused).value == 1
        talk.end()

    logged = capfd.readouterr().err.splitlines()
    assert [line for line in logged if "tensors" in line] == ["INFO coldstart.model: mapped 3 tensors"]
    assert [line for line in logged if "user's" in line] == ["theirs from here on it is the user's"]
    assert not [line for line in logged if "too much" in line]


def test_a_secret_that_a_hook_raises_is_in_no_error_and_no_log(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VENDOR_TOKEN", "not-for-any-log-4711")
    body = "@hook.load\ndef load(self): raise ValueError('refused: ' + os.environ['VENDOR_TOKEN'])"
    with a_worker(tmp_path, body) as talk:
        talk.hear()
        talk.end()

    assert talk.failure.reason == "load:load raised ValueError: refused: ***"
    assert "not-for-any-log-4711" not in capfd.readouterr().err


def test_a_traceback_is_the_user_s_from_its_first_line_to_its_last(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Though our recorder stands between a warm-up and the endpoint that it calls."""
    body = """
    @endpoint(default=True)
    def divide(self, by: int = 0) -> float: return 1 / by
    @hook.warmup
    def warm(self): self.divide()
    """
    with a_worker(tmp_path, body) as talk:
        talk.hear()
        talk.end()

    logged = capfd.readouterr().err
    places = re.findall(r'File "(.*)", line \d+, in (\w+)', logged)
    assert [method for _, method in places] == ["warm", "divide"]


def test_a_user_s_own_level_of_our_log_is_kept(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    # Set back afterwards: the declaration is read in this process too.
    caplog.set_level(logging.NOTSET, logger="coldstart")
    head = f"{HEAD}import logging\nlogging.getLogger('coldstart').setLevel(logging.ERROR)\n"
    body = "@hook.load\ndef load(self, log): log.info('quiet')"
    with a_worker(tmp_path, a_file(tmp_path, body, head)) as talk:
        talk.ask()
        assert talk.hear(Answered, Refused).value == 1
        talk.end()

    assert "quiet" not in capfd.readouterr().err


def test_a_module_of_imports_that_is_not_here_is_told_with_its_line_and_mend(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = a_file(tmp_path, "", f"{HEAD}from coldstart_sdk import Container\n")
    image = "image=Container.python('3.11').pip('qzxv-wjk')"
    path.write_text(
        path.read_text().replace("@warm_model", f"@warm_model({image},\n    imports=['qzxv_wjk'])")
    )
    with a_worker(tmp_path, path) as talk:
        talk.hear()

        line = path.read_text().splitlines().index("    imports=['qzxv_wjk'])") + 1
        assert talk.failure.reason == "there is no module 'qzxv_wjk' here"
        assert talk.failure.where == f"{path.name}:{line}"
        assert (talk.failure.fix or "").startswith("Run `pip install qzxv_wjk`")
    assert "Traceback" not in capfd.readouterr().err


def test_a_url_into_our_own_network_is_refused_with_the_setting_that_allows_it(tmp_path: Path) -> None:
    body = "@endpoint\ndef size(self, ref: Audio) -> int: return len(ref)"
    with a_worker(tmp_path, a_file(tmp_path, body, f"{HEAD}from coldstart_sdk import Audio\n")) as talk:
        talk.ask("size", ref="http://127.0.0.1:9/a.wav")

        field = talk.hear(Answered, Refused).error["error"]["fields"][0]
    assert field["field"] == "ref"
    assert "COLDSTART_ALLOW_PRIVATE_URLS=1" in field["fix"]


def test_a_worker_that_was_killed_while_starting_cannot_be_asked_and_says_nothing_more(
    tmp_path: Path,
) -> None:
    with a_worker(tmp_path, "@hook.load\ndef load(self): threading.Event().wait()") as talk:
        talk.worker.kill()
        talk.hear()

        talk.ask()

        assert talk.worker.end() == -signal.SIGKILL


def test_a_term_signal_closes_the_worker_in_order(tmp_path: Path) -> None:
    body = "@hook.close\ndef bye(self): open('closed', 'w').close()"
    with a_worker(tmp_path, f"def __init__(self): os.chdir({str(tmp_path)!r})\n{body}") as talk:
        talk.ask()
        talk.hear(Answered)

        talk.worker.stop()
        talk.hear()

        assert talk.worker.end() == 0
        assert (tmp_path / "closed").exists()


def test_a_close_hook_that_hangs_does_not_outlive_the_deadline(tmp_path: Path) -> None:
    with a_worker(tmp_path, "@hook.close\ndef bye(self): threading.Event().wait()", drain_s=0.5) as talk:
        talk.ask()
        talk.hear(Answered)

        assert talk.end() == 0


def test_what_a_hook_prints_is_no_report(tmp_path: Path) -> None:
    with a_worker(tmp_path, '@hook.load\ndef load(self): print(\'{"is": "Answered"}\', flush=True)') as talk:
        talk.ask(n=5)

        assert talk.hear(Answered, Refused).value == 5


def test_a_build_hook_runs_once_for_each_environment_and_before_the_load(tmp_path: Path) -> None:
    path = a_file(
        tmp_path,
        """
        @hook.build
        @staticmethod
        def compile(): print("built", file=open("log", "a"))
        @hook.load
        def load(self): self.k = open("log").read().count("built")
        """,
        head=f"import os\nos.chdir({str(tmp_path)!r})\n{HEAD}",
    )
    for _ in range(2):
        with a_worker(tmp_path, path) as talk:
            talk.ask()
            talk.hear(Answered, Refused)
            assert talk.end() == 0

    assert (tmp_path / "log").read_text() == "built\n"


def test_a_build_hook_that_fails_ends_the_start_and_runs_again_the_next_time(tmp_path: Path) -> None:
    body = "@hook.build\n@staticmethod\ndef compile(): raise OSError('no compiler')"
    path = a_file(tmp_path, body)
    for _ in range(2):
        with a_worker(tmp_path, path) as talk:
            talk.hear()

            assert talk.worker.end() == 6
            assert talk.failure.reason == "build:compile raised OSError: no compiler"


def test_no_worker_outlives_a_supervisor_that_was_killed(tmp_path: Path) -> None:
    """Not even one whose hook keeps every other thread from running."""
    path = a_file(
        tmp_path,
        "@hook.load\ndef load(self): print(os.getpid(), flush=True); re.match('(a+)+$', 'a' * 60 + 'b')",
    )
    path.write_text("import re\n" + path.read_text())
    supervisor = subprocess.Popen(
        [sys.executable, "-m", "coldstart_sdk.cli", "run", str(path)],
        env={**os.environ, "COLDSTART_HOME": str(tmp_path / "home")},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    with supervisor:
        assert supervisor.stderr is not None
        worker = next(int(line) for line in supervisor.stderr if line.strip().isdigit())
        supervisor.kill()
        supervisor.stderr.close()

    for _ in range(300):
        if not Path(f"/proc/{worker}").exists() or "(zombie)" in Path(f"/proc/{worker}/status").read_text():
            return
        time.sleep(0.1)
    os.kill(worker, signal.SIGKILL)
    pytest.fail("the worker is still there")
