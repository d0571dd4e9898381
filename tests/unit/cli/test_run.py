"""`coldstart run`: what is on stdout, what is on stderr, and what is in files."""

from __future__ import annotations

import json
import subprocess
import wave
from pathlib import Path

import pytest

from tests.commands import PROGRAM, a_project, coldstart, environment


@pytest.fixture
def app(tmp_path: Path) -> Path:
    return a_project(tmp_path / "project")


def test_the_result_is_all_of_stdout_and_the_story_is_on_stderr(app: Path) -> None:
    said = coldstart("run", str(app), "-i", "text=you")

    assert (said.code, said.out) == (0, "hello you\n")
    assert "load:load" in said.err
    assert "READY" in said.err


def test_quiet_says_the_result_alone(app: Path) -> None:
    said = coldstart("run", str(app), "-i", "text=you", "--quiet")

    assert (said.out, said.err) == ("hello you\n", "")


def test_json_is_one_object_with_its_figures_and_the_path_of_the_trace(app: Path) -> None:
    said = coldstart("run", str(app), "-i", "text=you", "-i", "times=2", "--json")

    assert said.out.count("\n") == 1
    assert list(said.data) == ["result", "ready_s", "first_ms", "trace"]
    assert said.data["result"] == "hello youhello you"
    assert said.data["ready_s"] > 0
    assert said.data["first_ms"] >= 0
    assert json.loads(Path(said.data["trace"]).read_text())["state"] == "stopped"


def test_a_stream_is_one_chunk_a_line_before_the_object(app: Path) -> None:
    said = coldstart("run", str(app), "count", "-i", "upto=2", "--json")

    lines = [json.loads(line) for line in said.out.splitlines()]
    assert lines[:2] == [{"chunk": {"n": 0}}, {"chunk": {"n": 1}}]
    assert lines[2]["result"] is None


def test_text_is_taken_literally_even_where_it_looks_like_json_or_a_file(app: Path) -> None:
    for text in ("3", "null", "@app.py", '"quoted"', "a=b", ""):
        said = coldstart("run", str(app), "-i", f"text={text}", "-q")

        assert said.out == f"hello {text}\n"


def test_media_without_o_are_written_beside_and_their_path_is_the_result(app: Path, tmp_path: Path) -> None:
    said = coldstart("run", str(app), "tone", "-q", cwd=tmp_path)

    assert said.out == "./tone.wav\n"
    with wave.open(str(tmp_path / "tone.wav")) as sound:
        assert sound.getnframes() > 0


def test_media_go_in_and_out_unchanged(app: Path, tmp_path: Path) -> None:
    coldstart("run", str(app), "tone", "-o", "a.wav", "-q", cwd=tmp_path)

    said = coldstart("run", str(app), "echo", "-i", "ref=@a.wav", "-o", "b.wav", "-q", cwd=tmp_path)

    assert said.out == "b.wav\n"
    assert (tmp_path / "a.wav").read_bytes() == (tmp_path / "b.wav").read_bytes()


SAYING = """
@warm_model
class Saying:
    @endpoint
    def say(self, rates: list) -> Iterator[Audio]:
        for rate in rates:
            yield Audio.from_samples([0.1] * rate, rate)
"""


@pytest.fixture
def saying(tmp_path: Path) -> Path:
    head = "from collections.abc import Iterator\nfrom coldstart_sdk import Audio, endpoint, warm_model\n"
    return a_project(tmp_path / "saying", SAYING, head=head)


def test_a_stream_of_sound_is_one_sound_that_says_its_length(saying: Path, tmp_path: Path) -> None:
    said = coldstart("run", str(saying), "-i", "rates=[8000,8000]", "-o", "all.wav", "-q", cwd=tmp_path)

    assert said.out == "all.wav\n"
    with wave.open(str(tmp_path / "all.wav")) as sound:
        assert (sound.getframerate(), sound.getnframes()) == (8000, 16000)


def test_a_chunk_that_cannot_follow_is_a_file_of_its_own(saying: Path, tmp_path: Path) -> None:
    said = coldstart("run", str(saying), "-i", "rates=[8000,16000]", "-q", cwd=tmp_path)

    assert said.out == "./say.wav\n./say-2.wav\n"
    with wave.open(str(tmp_path / "say-2.wav")) as sound:
        assert sound.getframerate() == 16000


def test_a_stream_of_sound_goes_to_stdout_as_nothing_but_sound(saying: Path, tmp_path: Path) -> None:
    coldstart("run", str(saying), "-i", "rates=[8000,8000]", "-o", "all.wav", "-q", cwd=tmp_path)
    piped = subprocess.run(
        [str(PROGRAM), "run", str(saying), "-i", "rates=[8000,8000]", "-o", "-", "-q"],
        check=True,
        capture_output=True,
        env=environment(),
    )

    assert piped.stdout[44:] == (tmp_path / "all.wav").read_bytes()[44:]


def test_what_the_declaration_and_its_hooks_print_is_no_result(tmp_path: Path) -> None:
    app = a_project(
        tmp_path,
        """
        print("imported")
        @warm_model
        class Voice:
            @hook.load
            def load(self):
                print("loaded")
            @endpoint
            def speak(self) -> str:
                print("speaking")
                return "spoken"
        """,
        head="from coldstart_sdk import endpoint, hook, warm_model\n" + "import textwrap\n",
    )

    said = coldstart("run", str(app), "--json")

    assert said.out.count("\n") == 1
    assert said.data["result"] == "spoken"


@pytest.mark.parametrize(
    ("name", "begins"), [("t.json", '{\n "format"'), ("t.chrome.json", '{"traceEvents"'), ("t.svg", "<svg")]
)
def test_the_trace_takes_the_form_of_its_name(app: Path, tmp_path: Path, name: str, begins: str) -> None:
    coldstart("run", str(app), "-i", "text=x", "-q", "--trace", name, cwd=tmp_path)

    assert (tmp_path / name).read_text().startswith(begins)


def test_a_step_is_left_out_for_one_start_alone(app: Path) -> None:
    said = coldstart("run", str(app), "count", "-i", "upto=1", "--skip", "load")

    assert said.code == 0
    assert "load:load          was skipped" in said.err


HOW = """
@warm_model
class Bad:
    @hook.load(timeout="1s")
    def load(self):
        how = os.environ["HOW"]
        if how == "raise":
            raise ValueError("no such layer")
        if how == "hang":
            time.sleep(1000)
        if how == "exit":
            sys.exit(3)
        if how == "leave":
            os._exit(4)
        if how == "leave with 0":
            os._exit(0)
        if how == "segv":
            __import__("ctypes").string_at(0)
        if how == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(1000)

    @endpoint
    def speak(self, n: int = 0) -> str:
        if os.environ["HOW"] == "answer":
            raise KeyError("sk-a-secret-of-a-user")
        if os.environ["HOW"] == "kill in answer":
            os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(1000)
        return "spoken"
"""


@pytest.mark.parametrize(
    ("how", "message", "at"),
    [
        ("raise", "load:load raised ValueError: no such layer", "app.py:10, in load"),
        ("hang", "load:load did not end within 1 s", "app.py:12, in load"),
        ("exit", "load:load called sys.exit(3)", "app.py:14, in load"),
        ("leave", "the worker ended with exit code 4 during", "load:load"),
        ("leave with 0", "the worker ended with exit code 0 during", "load:load"),
        ("kill in answer", "the worker was killed by SIGKILL during speak", "speak"),
        ("segv", "the worker was killed by SIGSEGV during", "load:load"),
        ("kill", "the worker was killed by SIGKILL during", "load:load"),
        ("answer", "speak raised KeyError", "speak"),
    ],
)
def test_a_worker_that_fails_ends_with_6_the_three_lines_and_a_trace(
    tmp_path: Path, how: str, message: str, at: str
) -> None:
    app = a_project(tmp_path, HOW)

    said = coldstart("run", str(app), "--trace", "t.json", "--json", cwd=tmp_path, env={"HOW": how})

    assert said.code == 6
    error = said.data["error"]
    assert error["exit_code"] == 6
    assert error["message"].startswith(message)
    assert at in error["problems"][0]["where"]
    assert error["problems"][0]["fix"]
    assert "a-secret" not in said.out
    trace = json.loads((tmp_path / "t.json").read_text())
    assert (
        any(span["name"] == "load:load" for span in trace["spans"]) or "load:load" in trace["never_started"]
    )


def test_arguments_that_the_worker_refuses_end_with_2(app: Path) -> None:
    said = coldstart("run", str(app), "-i", "text=x", "-i", 'times="many"', "-q")

    assert said.code == 2
    assert said.problems[0]["error"].startswith("times:")


def test_a_limit_ends_a_worker_that_does_not_answer(tmp_path: Path) -> None:
    app = a_project(tmp_path, HOW.replace('timeout="1s"', 'timeout="60s"'))

    said = coldstart("run", str(app), "-q", "--timeout", "1s", env={"HOW": "hang"})

    assert said.code == 6
    assert said.problems[0]["error"] == "there was no answer within 1 s"


def test_an_answer_outlives_a_trace_that_cannot_be_written(app: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "traces").write_text("no folder")

    said = coldstart("run", str(app), "-i", "text=you", "--home", str(home))

    assert (said.code, said.out) == (0, "hello you\n")
    assert "READY" in said.err
    assert "warning: the trace was not written: " in said.err


def test_a_trace_that_was_asked_for_by_name_and_cannot_be_written_is_an_error(app: Path) -> None:
    said = coldstart("run", str(app), "-i", "text=you", "--trace", "/dev/full")

    assert (said.code, said.out) == (5, "hello you\n")
    assert "READY" in said.err
    assert said.problems[0]["error"] == "the trace was not written: No space left on device"


SLOW = """
@warm_model
class Slow:
    @hook.close(timeout="1h")
    def close(self):
        if os.environ["HOW"] == "close":
            time.sleep(1000)

    @endpoint
    def speak(self) -> str:
        if os.environ["HOW"] == "answer":
            time.sleep(20)
        return "spoken"

    @endpoint(timeout="1s")
    def hurry(self) -> str:
        time.sleep(1.5)
        return "late"
"""


def test_the_limit_bounds_the_request_too(tmp_path: Path) -> None:
    app = a_project(tmp_path, SLOW)

    said = coldstart("run", str(app), "speak", "--timeout", "2s", env={"HOW": "answer"})

    assert (said.code, said.out) == (6, "")
    assert said.problems[0]["error"] == "there was no answer within 2 s"
    assert "--timeout" in said.problems[0]["fix"]


def test_a_limit_of_the_declaration_is_mended_in_the_declaration(tmp_path: Path) -> None:
    app = a_project(tmp_path, SLOW)

    said = coldstart("run", str(app), "hurry", "-q", "--timeout", "10m", env={"HOW": ""})

    assert said.code == 6
    assert "timeout= of @endpoint, which says 1 s" in said.problems[0]["fix"]


def test_a_result_does_not_wait_for_close_and_a_close_that_fails_is_told(tmp_path: Path) -> None:
    app = a_project(tmp_path, SLOW.replace("time.sleep(1000)", 'raise OSError("no lease")'))

    said = coldstart("run", str(app), "speak", "-q", env={"HOW": "close"})

    assert (said.code, said.out) == (0, "spoken\n")
    assert said.err.splitlines()[-1].startswith("close:close        failed: close:close raised OSError: no l")


def test_what_stdout_does_not_take_is_told_in_three_lines(app: Path) -> None:
    for arguments in (("run", str(app), "-i", "text=you"), ("check", str(app), "--json"), ("--help",)):
        with Path("/dev/full").open("wb") as full:
            ended = subprocess.run(
                [str(PROGRAM), *arguments, *([] if "--help" in arguments else ["--quiet"])],
                stdout=full,
                stderr=subprocess.PIPE,
                env=environment(),
                check=False,
            )

        assert ended.returncode == 5
        assert ended.stderr.decode().splitlines() == [
            "error: stdout cannot be written: No space left on device",
            "at:    stdout",
            "fix:   Make room there, or send the result elsewhere.",
        ]


def test_the_bar_of_a_killed_step_runs_to_the_moment_of_its_death(tmp_path: Path) -> None:
    app = a_project(tmp_path, HOW.replace("os.kill(", "time.sleep(0.8) or os.kill("))

    said = coldstart("run", str(app), "--trace", "t.json", cwd=tmp_path, env={"HOW": "kill"})

    trace = json.loads((tmp_path / "t.json").read_text())
    load = next(span for span in trace["spans"] if span["name"] == "load:load")
    assert load["end_s"] == trace["end_s"]
    assert load["end_s"] - load["start_s"] >= 0.8
    assert trace["reason"] == "the worker was killed by SIGKILL during load:load"
    assert said.problems[0]["error"] == trace["reason"]


@pytest.mark.parametrize(
    ("flags", "env", "named"),
    [
        (("--skip", "lod"), {}, "--skip names 'lod'"),
        ((), {"COLDSTART_SKIP": "lod"}, "COLDSTART_SKIP names 'lod'"),
        (("--defer", "lod"), {"COLDSTART_DEFER": "load"}, "--defer names 'lod'"),
    ],
)
def test_a_wrong_step_is_told_under_the_name_that_was_used(
    app: Path, flags: tuple[str, ...], env: dict[str, str], named: str
) -> None:
    said = coldstart("run", str(app), "-i", "text=x", *flags, env=env)

    assert said.problems[0]["error"].startswith(named)


def test_a_skipped_load_says_by_what_and_what_endpoints_will_miss(app: Path) -> None:
    said = coldstart("run", str(app), "count", "-i", "upto=1", "--skip", "load")

    assert "load:load (by --skip)" in said.err
    assert "load:load          endpoints will miss what it would have made" in said.err
