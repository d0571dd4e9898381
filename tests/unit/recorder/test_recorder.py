"""What is seen inside steps, and that nobody notices that it is looked at."""

from __future__ import annotations

import asyncio
import http.server
import importlib
import os
import shutil
import socket
import subprocess
import sys
import threading
import traceback
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import SimpleNamespace

import pytest

from coldstart_sdk import machine
from coldstart_sdk.events import (
    Counted,
    Event,
    FactsSeen,
    Outcome,
    RequestEnded,
    SpanRecorded,
    State,
    StateChanged,
    StepEnded,
    StepProgress,
    StepStarted,
    now,
)
from coldstart_sdk.recorder import machine_facts, programs, unused
from coldstart_sdk.recorder.endpoints import shape
from coldstart_sdk.recorder.environment import Environment
from coldstart_sdk.recorder.recorder import SWITCH, Recorder, is_on
from coldstart_sdk.spec import CallStyle
from tests.builders import a_spec, an_endpoint

PAYLOAD = bytes(300_000)


class Start:
    """A recorder over a project, and everything that it said."""

    def __init__(self, project: Path) -> None:
        self.events: list[Event] = []
        self.project = project
        self.recorder = Recorder(self.events.append, project=project, home=project / "home", name="m")

    def step(self, name: str, work: Callable[[], object]) -> None:
        """Do the work as a step does: on a thread of its own, told by its own thread."""

        def run() -> None:
            self.recorder(StepStarted(at_s=now(), step=name))
            work()

        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
        self.recorder(StepEnded(at_s=now(), step=name, outcome=Outcome.DONE))

    def becomes(self, state: State) -> None:
        self.recorder(StateChanged(at_s=now(), state=state))

    def answers(self) -> None:
        ended = RequestEnded(
            at_s=now(),
            id="1",
            endpoint="speak",
            started_s=now(),
            queued_s=0,
            first_s=0,
            outcome=Outcome.DONE,
        )
        self.recorder(ended)

    def module(self, name: str, text: str) -> None:
        (self.project / f"{name}.py").write_text(text)
        importlib.invalidate_caches()

    @property
    def spans(self) -> dict[str, SpanRecorded]:
        return {event.name: event for event in self.events if isinstance(event, SpanRecorded)}

    @property
    def counts(self) -> dict[str, dict[str, float]]:
        return {event.step: dict(event.counts) for event in self.events if isinstance(event, Counted)}

    @property
    def facts(self) -> dict[str, str]:
        seen = [event.facts for event in self.events if isinstance(event, FactsSeen)]
        return {name: fact for facts in seen for name, fact in facts.items()}


def download(what: str | urllib.request.Request) -> bytes:
    with urllib.request.urlopen(what) as answer:  # noqa: S310 - an address of this very test
        return bytes(answer.read())


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    monkeypatch.syspath_prepend(str(tmp_path))
    before = {*sys.modules}
    started = Start(tmp_path)
    yield started
    started.recorder.close()
    for name in {*sys.modules} - before:
        file = getattr(sys.modules[name], "__file__", None) or ""
        if file.startswith(str(tmp_path)):
            del sys.modules[name]


@pytest.fixture
def origin() -> Iterator[str]:
    class Answers(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(PAYLOAD)))
            self.end_headers()
            self.wfile.write(PAYLOAD)

        def do_PUT(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}/model.bin"
    server.shutdown()
    thread.join()
    server.server_close()


def test_each_package_is_a_span_with_what_it_imports_inside(start: Start) -> None:
    start.module("inner_pkg", "import time; time.sleep(0.01)")
    start.module("outer_pkg", "import inner_pkg, time; time.sleep(0.01)")

    start.step("import:app", lambda: importlib.import_module("outer_pkg"))

    outer, inner = start.spans["import:outer_pkg"], start.spans["import:inner_pkg"]
    assert outer.step == inner.step == "import:app"
    assert outer.at_s <= inner.at_s <= inner.end_s <= outer.end_s


def test_a_module_looks_as_if_nobody_had_watched_it(start: Start) -> None:
    start.module("plain_pkg", "import time; time.sleep(0.005)")

    start.step("import:app", lambda: importlib.import_module("plain_pkg"))

    loader = sys.modules["plain_pkg"].__loader__
    assert type(loader) is SourceFileLoader
    assert "exec_module" not in vars(loader)


def test_a_failing_import_shows_no_line_of_ours(start: Start) -> None:
    start.module("breaks_pkg", "raise RuntimeError('no')")
    shown: list[str] = []

    def imports() -> None:
        try:
            importlib.import_module("breaks_pkg")
        except RuntimeError:
            shown.append(traceback.format_exc())

    start.step("import:app", imports)

    assert "breaks_pkg.py" in shown[0]
    assert "recorder" not in shown[0].partition("import_module")[2]


def test_sources_without_bytecode_are_counted_and_those_with_it_are_not(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    start.module("counted_pkg", "x = 1")

    start.step("import:first", lambda: importlib.import_module("counted_pkg"))
    del sys.modules["counted_pkg"]
    start.step("import:second", lambda: importlib.import_module("counted_pkg"))

    assert start.counts["import:first"]["sources_compiled"] == 1
    assert "sources_compiled" not in start.counts.get("import:second", {})


def test_a_download_is_told_with_its_bytes_and_its_step(start: Start, origin: str) -> None:
    start.step("load:load", lambda: download(origin))

    span = start.spans["download:127.0.0.1"]
    assert span.step == "load:load"
    assert span.bytes is not None
    assert len(PAYLOAD) <= span.bytes < len(PAYLOAD) + 2000
    assert start.counts["load:load"]["connections"] == 1


def test_a_download_on_a_thread_that_a_step_starts_is_that_steps(start: Start, origin: str) -> None:
    def load() -> None:
        thread = threading.Thread(target=lambda: download(origin))
        thread.start()
        thread.join()

    start.step("load:load", load)

    assert start.spans["download:127.0.0.1"].step == "load:load"


def test_an_upload_is_no_download(start: Start, origin: str) -> None:
    put = urllib.request.Request(origin, data=PAYLOAD, method="PUT")  # noqa: S310 - as above

    start.step("load:load", lambda: download(put))

    assert [name for name in start.spans if "127.0.0.1" in name] == ["upload:127.0.0.1"]


def test_a_connection_that_stays_open_is_told_when_its_step_ends(start: Start, origin: str) -> None:
    import http.client

    kept = http.client.HTTPConnection(origin.split("/")[2])

    def load() -> None:
        kept.request("GET", "/")
        kept.getresponse().read()

    start.step("load:load", load)

    assert (start.spans["download:127.0.0.1"].bytes or 0) >= len(PAYLOAD)
    kept.close()


def test_a_fetch_that_reports_its_own_bytes_has_its_connections_counted_alone(
    start: Start, origin: str
) -> None:
    def fetch() -> None:
        start.recorder(StepProgress(at_s=now(), step="fetch:f5", done_bytes=1, total_bytes=2))
        download(origin)

    start.step("fetch:f5", fetch)

    assert start.counts["fetch:f5"] == {"connections": 1}
    assert not [name for name in start.spans if name.startswith("download")]


def test_a_compiler_is_told_from_its_start_to_its_end(start: Start, tmp_path: Path) -> None:
    compiler = tmp_path / "g++-12"
    compiler.write_text("#!/bin/sh\nsleep 0.05\n")
    compiler.chmod(0o755)

    start.step("load:load", lambda: subprocess.run([str(compiler), "-c", "x.cpp"], check=True))
    start.recorder.close()
    for thread in threading.enumerate():
        if thread.name == "coldstart-programs":
            thread.join()

    span = start.spans["run:g++"]
    assert span.step == "load:load"
    assert span.end_s - span.at_s >= 0.05


def test_another_program_is_nobodys_business(start: Start) -> None:
    start.step("load:load", lambda: subprocess.run(["true"], check=True))

    assert start.spans == {}


@pytest.mark.parametrize(
    ("command", "name"),
    [
        (["/usr/bin/g++-12", "-c", "x.cpp"], "run:g++"),
        ("CC=gcc make -j4", "run:make"),
        (["bash", "-lc", "cd /tmp && make"], "run:make"),
        ("nice python3 setup.py build_ext --inplace", "run:setup.py"),
        ([b"curl", b"-O", b"http://h/f"], "run:curl"),
        (["git", "clone", "https://h/r"], "run:git"),
        (["aws", "s3", "cp", "s3://b/k", "."], "run:aws"),
        (["python", "-m", "pip", "install", "numpy"], "run:pip"),
        ("rm -rf /tmp/cache/old/", "delete:old"),
        (["git", "rev-parse", "HEAD"], None),
        (["aws", "s3", "cp", "x", "s3://b/k"], None),
        (["pip", "list"], None),
        (["ffmpeg", "-i", "make"], None),
        (["python", "-c", "import curl"], None),
        (["sh"], None),
        ([], None),
        (7, None),
    ],
)
def test_a_program_is_told_by_what_it_does(command: object, name: str | None) -> None:
    said = programs.told(command)

    assert (said and said[0]) == name


def test_a_compiler_that_the_shell_runs_is_told(start: Start) -> None:
    start.step("load:load", lambda: os.system("true && CC=cc make --version > /dev/null; true"))  # noqa: S605 - as users do

    assert start.spans["run:make"].step == "load:load"


def test_calls_of_an_async_stream_are_told_by_shape(start: Start) -> None:
    class Model:
        async def speak(self, text: str) -> AsyncIterator[str]:
            yield text

    async def warm() -> list[str]:
        return [chunk async for chunk in model.speak("hello")]

    model = Model()
    endpoint = an_endpoint("speak", style=CallStyle.ASYNC_GENERATOR)
    start.recorder.follow(SimpleNamespace(instance=model), a_spec(endpoint))
    start.recorder(StepStarted(at_s=now(), step="warmup:warm"))

    assert asyncio.run(warm()) == ["hello"]
    assert start.spans["call:speak(text=5)"].step == "warmup:warm"


def test_files_that_are_deleted_one_after_another_are_one_stretch(start: Start, tmp_path: Path) -> None:
    def clean() -> None:
        for number in range(600):
            (tmp_path / str(number)).touch()
        for number in range(0, 600, 2):
            (tmp_path / str(number)).unlink()
            os.remove(tmp_path / str(number + 1))  # noqa: PTH107 - the other spelling

    start.step("load:load", clean)

    # A busy machine may pause between two of them, which ends a stretch.
    told = [int(name.removeprefix("delete:").removesuffix(" files")) for name in start.spans]
    assert 100 < max(told) <= sum(told) <= 600


@pytest.mark.usefixtures("start")
def test_a_folder_is_deleted_as_safely_as_ever() -> None:
    """Shutil looks at these functions when it is imported."""
    before = shutil.rmtree.avoids_symlink_attacks

    assert ({os.open, os.stat, os.unlink, os.rmdir} <= os.supports_dir_fd) == before
    assert os.remove in os.supports_dir_fd


def test_parameters_that_are_drawn_are_counted_once_and_none_on_meta(start: Start) -> None:
    torch = pytest.importorskip("torch")
    start.recorder._watch_tensors(torch)  # noqa: SLF001 - as when it is imported

    def load() -> None:
        torch.nn.init.normal_(torch.empty(3))
        torch.empty(3).uniform_()
        torch.nn.init.normal_(torch.empty(3, device="meta"))

    start.step("load:load", load)

    assert start.counts["load:load"]["random_inits"] == 2


def test_calls_of_endpoints_in_a_warm_up_are_told_by_shape(start: Start) -> None:
    class Model:
        def speak(self, text: str) -> str:
            return text

    made = SimpleNamespace(instance=Model())
    spec = SimpleNamespace(endpoints=(an_endpoint("speak"),))
    start.recorder.follow(made, spec)  # type: ignore[arg-type] # of a spec it reads the endpoints alone

    start.step("warmup:warm", lambda: made.instance.speak("hello"))
    start.recorder.close()

    assert start.spans["call:speak(text=5)"].step == "warmup:warm"
    assert "speak" not in vars(made.instance)


@pytest.mark.parametrize(
    ("value", "said"),
    [("secret", "text=6"), (3, "text=3"), (None, "text=None"), ([1, 2], "text=2"), (object(), "text=object")],
)
def test_a_shape_tells_how_much_and_never_what(value: object, said: str) -> None:
    assert shape(an_endpoint("speak"), (value,), {}) == f"speak({said})"


def test_a_download_after_ready_is_a_requests(start: Start, origin: str) -> None:
    start.becomes(State.READY)
    download(origin)
    start.answers()

    assert start.spans["download:127.0.0.1"].step == "request"


def test_every_hook_is_out_again_when_it_is_closed(tmp_path: Path) -> None:
    def places() -> list[object]:
        return [
            socket.socket.connect,
            subprocess.Popen.__init__,
            os.system,
            os.unlink,
            os.remove,
            shutil.rmtree,
            set(os.supports_dir_fd),
            threading.Thread.start,
            SourceFileLoader.source_to_code,
            list(sys.meta_path),
        ]

    before = places()
    start = Start(tmp_path)
    during = places()
    start.recorder.close()

    assert all(place != was for place, was in zip(during, before, strict=True))
    assert places() == before


def test_a_draining_worker_is_watched_no_more(start: Start) -> None:
    start.becomes(State.READY)
    start.becomes(State.DRAINING)

    start.module("late_pkg", "import time; time.sleep(0.01)")
    start.step("close:close", lambda: importlib.import_module("late_pkg"))

    assert "import:late_pkg" not in start.spans


def test_what_a_project_imports_and_never_names_is_told_once_it_answers(start: Start) -> None:
    start.module("idle_pkg", "")
    start.module("busy_pkg", "x = 1")
    for name in ("idle_pkg", "busy_pkg"):
        folder = start.project.parent / f"elsewhere-{start.project.name}"
        folder.mkdir(exist_ok=True)
        (start.project / f"{name}.py").rename(folder / f"{name}.py")
    sys.path.insert(0, str(folder))
    start.module("my_app", "import idle_pkg\nimport busy_pkg\nprint_later = lambda: busy_pkg.x\n")
    try:
        start.step("import:app", lambda: importlib.import_module("my_app"))
        start.becomes(State.READY)
        start.becomes(State.DRAINING)
    finally:
        sys.path.remove(str(folder))
        for name in ("idle_pkg", "busy_pkg"):
            sys.modules.pop(name, None)

    assert start.facts["imports_unused"] == "idle_pkg"
    assert start.facts["imports_used"] == "busy_pkg"


@pytest.mark.parametrize(
    "text",
    [
        "import json\njson.dumps(1)",
        "import json as j\nx: 'j.JSONDecoder'",
        "try:\n    import json\nexcept ImportError:\n    pass",
        "from json import *",
        "from __future__ import annotations",
    ],
)
def test_an_import_that_may_be_needed_is_not_called_unused(start: Start, text: str) -> None:
    start.module("careful_app", text)
    importlib.import_module("careful_app")

    idle, _ = unused.packages(start.project)

    assert idle == set()


def test_a_variable_that_is_set_after_its_reader_is_told(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    start.module("vllm", "")
    monkeypatch.delenv("VLLM_CACHE_ROOT", raising=False)
    start.step("import:app", lambda: importlib.import_module("vllm"))
    monkeypatch.setenv("VLLM_CACHE_ROOT", "/models")
    start.becomes(State.READY)

    assert start.facts["late_env"] == "VLLM_CACHE_ROOT>vllm"


def test_what_a_library_fills_in_by_itself_is_not_late(monkeypatch: pytest.MonkeyPatch) -> None:
    environment = Environment()
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
    monkeypatch.delenv("TRITON_CACHE_DIR", raising=False)
    environment.importing("torch")
    monkeypatch.setenv("TRITON_CACHE_DIR", "/tmp/torchinductor_root/triton")  # noqa: S108 - torch's own choice
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "/models/cache")

    assert environment.late() == {"late_env": "TORCHINDUCTOR_CACHE_DIR>torch"}


def test_a_switch_turns_it_off(monkeypatch: pytest.MonkeyPatch) -> None:
    assert is_on()
    monkeypatch.setenv(SWITCH, "0")
    assert not is_on()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "nr_periods 10\nnr_throttled 4\nthrottled_usec 2500000\n",
            {"quota_periods": 10, "quota_periods_throttled": 4, "throttled_s": 2.5},
        ),
        (
            "usage_usec 1\n",
            {"quota_periods": 900, "quota_periods_throttled": 900, "throttled_s": 0},
        ),
    ],
)
def test_how_often_the_quota_stopped_us_is_told_by_our_control_group_or_one_above(
    tmp_path: Path, text: str, told: dict[str, float]
) -> None:
    (tmp_path / "sys/fs/cgroup/pods/ours").mkdir(parents=True)
    (tmp_path / "sys/fs/cgroup/cpu.stat").write_text("nr_periods 900\nnr_throttled 900\n")
    (tmp_path / "sys/fs/cgroup/pods/ours/cpu.stat").write_text(text)
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text("0::/pods/ours\n")

    facts = machine_facts.Throttling(tmp_path)
    assert {name: float(figure) for name, figure in facts.seen().items()} == dict.fromkeys(told, 0)
    facts._before = {}  # noqa: SLF001 - as if it had been made with the group
    assert {name: float(figure) for name, figure in facts.seen().items()} == told


def test_the_file_system_of_a_path_is_that_of_its_nearest_mount(tmp_path: Path) -> None:
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/mountinfo").write_text(
        "21 1 8:1 / / rw - ext4 /dev/vda1 rw\n22 21 0:40 / /runpod-volume rw - nfs4 host:/v rw\n"
    )

    assert machine.file_system(Path("/runpod-volume/models"), tmp_path) == "nfs4"
    assert machine.file_system(Path("/runpod-volumes"), tmp_path) == "ext4"


def test_page_faults_of_a_thread_that_is_gone_are_unknown() -> None:
    assert machine_facts.major_faults(2**22 + os.getpid()) is None
    assert machine_facts.major_faults(threading.get_native_id()) is not None


def test_a_folder_that_is_deleted_is_told_and_is_gone(start: Start, tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()

    start.step("load:load", lambda: shutil.rmtree(tmp_path / "old"))

    assert start.spans["delete:old"].step == "load:load"
    assert not (tmp_path / "old").exists()
    assert isinstance(shutil.rmtree.avoids_symlink_attacks, bool)
