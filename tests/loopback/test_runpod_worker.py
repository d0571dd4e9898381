"""RunPod's own worker, unmodified and in each version, under our handler, against its job API on loopback."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from coldstart_sdk.rehearsal.runpod.jobs import KEY, Jobs
from coldstart_sdk.rehearsal.runpod.process import Process, bare_environment
from tests.runpods import TOO_LONG_S, VERSIONS, Platform


@pytest.fixture(params=VERSIONS)
def platform(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Platform]:
    with ExitStack() as stack:
        jobs = stack.enter_context(Jobs(hold_s=0.5))
        yield Platform(tmp_path / "project", request.param, jobs, stack)


def said(job: Any) -> Any:  # noqa: ANN401 - a job of the double, and plain JSON
    """What the caller of a failed job is told."""
    assert job.status == "FAILED", job
    return json.loads(job.error)


SPEAK = """
@warm_model(name="voice")
class Voice:
    @hook.load
    def load(self): self.greeting = "hello"
    @endpoint(default=True)
    def speak(self, text: str) -> str: return f"{self.greeting} {text}"
    @endpoint
    async def later(self, text: str) -> str:
        await asyncio.sleep(0.01)
        return text
    @endpoint
    def refuse(self) -> str: raise ValueError("a path of ours: /srv/secret")
    @endpoint
    def leave(self) -> str: sys.exit(3)
    @endpoint
    def odd(self, which: str) -> dict:
        return {"empty": {}, "error": {"error": "mine"}, "nothing": {"error": "", "a": 1}}[which]
    @endpoint
    def strange(self):
        return object()
    @endpoint
    def nan(self) -> float: return float("nan")
    @endpoint
    def large(self) -> str: return "x" * 11_000_000
"""


def test_a_job_is_answered(platform: Platform) -> None:
    platform.worker(SPEAK)

    plain = platform.jobs.result(platform.jobs.submit({"text": "you"}))
    named = platform.jobs.result(platform.jobs.submit({"endpoint": "later", "text": "on"}))

    assert (plain.status, plain.output, plain.is_stream) == ("COMPLETED", "hello you", False)
    assert (named.status, named.output) == ("COMPLETED", "on")


def test_an_error_is_told_safely_and_its_traceback_stays_in_the_log(platform: Platform) -> None:
    worker = platform.worker(SPEAK)

    told = said(platform.jobs.result(platform.jobs.submit({"endpoint": "refuse"}, job="j-7")))

    assert told == {"type": "failed", "message": "refuse raised ValueError", "id": "j-7"}
    assert worker.wait_for(lambda: "a path of ours" in worker.text)
    assert "request j-7 failed" in worker.text


def test_what_the_vendors_worker_would_lose_or_mistake_arrives(platform: Platform) -> None:
    platform.worker(SPEAK)
    jobs = [
        platform.jobs.submit({"endpoint": "odd", "which": which}) for which in ("empty", "error", "nothing")
    ]

    outputs = [platform.jobs.result(job).output for job in jobs]

    assert [job.status for job in jobs] == ["COMPLETED"] * 3
    assert outputs == [{"result": {}}, {"result": {"error": "mine"}}, {"result": {"error": "", "a": 1}}]


@pytest.mark.parametrize(
    ("asked", "kind", "word"),
    [
        ({"endpoint": "strange"}, "failed", "object"),
        ({"endpoint": "nan"}, "failed", "nan"),
        ({"endpoint": "leave"}, "failed", "sys.exit"),
        ({"endpoint": "large"}, "too_large", "10000000"),
        ({"endpoint": "none"}, "unknown_endpoint", "none"),
        ({"text": 5}, "bad_arguments", "text"),
        ("just text", "bad_request", "object of arguments"),
        ({}, "bad_arguments", "text"),
    ],
    ids=[
        "not-json",
        "not-a-number",
        "sys-exit",
        "too-large",
        "no-such-endpoint",
        "wrong-type",
        "no-object",
        "empty",
    ],
)
def test_every_job_that_cannot_be_answered_is_told_why(
    platform: Platform, asked: object, kind: str, word: str
) -> None:
    platform.worker(SPEAK)

    told = said(platform.jobs.result(platform.jobs.submit(asked)))

    assert told["type"] == kind
    assert word in told["message"]


STREAM = """
@warm_model(name="voice")
class Voice:
    @endpoint
    def words(self, count: int, bad: int = -1):
        for number in range(count):
            if number == bad: raise ValueError("no")
            yield {"n": number}
    @endpoint
    async def text(self, size: int):
        yield "x" * size
    @endpoint
    def chunk(self, size: int):
        yield {"x": "y" * size}
    @endpoint
    def plain(self) -> int: return 5
"""


def test_a_generator_streams_and_its_chunks_are_also_the_output(platform: Platform) -> None:
    platform.worker(STREAM)

    job = platform.jobs.result(platform.jobs.submit({"endpoint": "words", "count": 3}))

    assert job.chunks == [{"n": 0}, {"n": 1}, {"n": 2}] == job.output
    assert job.is_stream


def test_a_generator_that_fails_midway_keeps_its_chunks_and_tells_why(platform: Platform) -> None:
    platform.worker(STREAM)

    job = platform.jobs.result(platform.jobs.submit({"endpoint": "words", "count": 3, "bad": 2}))

    assert job.chunks == [{"n": 0}, {"n": 1}]
    assert said(job)["message"] == "words raised ValueError"


def test_no_chunk_is_larger_than_the_platform_carries(platform: Platform) -> None:
    platform.worker(STREAM)

    job = platform.jobs.result(platform.jobs.submit({"endpoint": "text", "size": 2_500_000}))

    posted = [len(seen.body) for seen in platform.jobs.seen_on("job-stream")]
    assert len(posted) > 2
    assert max(posted) <= 1_000_000
    assert sum(len(chunk) for chunk in job.chunks) == 2_500_000


def test_a_chunk_that_cannot_be_cut_and_has_nowhere_to_go_is_an_error(platform: Platform) -> None:
    platform.worker(STREAM)

    told = said(platform.jobs.result(platform.jobs.submit({"endpoint": "chunk", "size": 1_500_000})))

    assert told["type"] == "too_large"
    assert "results=" in told["message"]


def test_a_stream_that_does_not_fit_into_one_output_ends_with_an_error_and_not_in_silence(
    platform: Platform,
) -> None:
    platform.worker(STREAM)

    job = platform.jobs.result(platform.jobs.submit({"endpoint": "text", "size": 10_500_000}))

    assert len(job.chunks) > 5
    assert said(job)["type"] == "too_large"


def test_beside_a_generator_a_plain_endpoint_gives_one_chunk(platform: Platform) -> None:
    platform.worker(STREAM)

    job = platform.jobs.result(platform.jobs.submit({"endpoint": "plain"}))

    assert (job.status, job.output) == ("COMPLETED", [5])


def test_who_calls_while_it_starts_waits_and_is_told_how_far_it_is(platform: Platform) -> None:
    platform.worker(
        """
        @warm_model(name="voice")
        class Voice:
            @hook.load
            def load(self):
                while not (HERE / "go").exists(): time.sleep(0.02)
            @endpoint
            def speak(self) -> str: return "ready"
        """
    )
    job = platform.jobs.submit({})

    assert platform.jobs.wait(lambda: job.progress, TOO_LONG_S)
    platform.file("go").touch()

    assert platform.jobs.result(job).output == "ready"
    assert job.progress[0]["state"] == "starting"
    assert "load:load" in job.progress[0]["steps"]
    assert not job.after_result


FOUR = """
@warm_model(name="voice", scale=Scale(concurrency=4))
class Voice:
    together = threading.Barrier(4)
    @endpoint
    def meet(self) -> str:
        self.together.wait(30)
        return "met"
"""


def test_as_many_jobs_run_at_once_as_declared(platform: Platform) -> None:
    jobs = [platform.jobs.submit({}) for _ in range(4)]
    platform.worker(FOUR)

    assert [platform.jobs.result(job).output for job in jobs] == ["met"] * 4


LONG = """
@warm_model(name="voice", scale=Scale(concurrency={concurrency}))
class Voice:
    @endpoint
    async def wait(self) -> str:
        (HERE / "waits").touch()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            (HERE / "cancelled").touch()
            raise
        return "never"
    @endpoint
    async def stream(self):
        try:
            yield 1
            await asyncio.sleep(60)
        finally:
            (HERE / "closed").touch()
    @endpoint
    def speak(self) -> str: return "spoken"
"""


def appears(path: Path) -> bool:
    """Whether the worker writes it, sooner or later."""
    tick = threading.Event()
    return any(path.exists() or tick.wait(0.02) for _ in range(int(TOO_LONG_S / 0.02)))


@pytest.mark.parametrize(("endpoint", "trace"), [("wait", "cancelled"), ("stream", "closed")])
def test_a_job_that_runpod_stops_ends_in_its_code_and_alone(
    platform: Platform, endpoint: str, trace: str
) -> None:
    platform.worker(LONG.format(concurrency=2))
    stopped = platform.jobs.submit({"endpoint": endpoint})
    if endpoint == "wait":
        assert appears(platform.file("waits"))
    else:
        assert platform.jobs.wait(lambda: stopped.chunks, TOO_LONG_S)

    platform.jobs.cancel(stopped)

    assert appears(platform.file(trace))
    after = platform.jobs.result(platform.jobs.submit({"endpoint": "speak"}))
    assert after.output == ["spoken"]
    assert not [seen for seen in platform.jobs.seen_on("job-done") if seen.route.endswith(stopped.id)]


def test_a_stream_that_is_stopped_while_a_chunk_is_on_its_way_is_closed_too(platform: Platform) -> None:
    platform.worker(LONG.format(concurrency=2))
    platform.jobs.chunks_pass.clear()
    stopped = platform.jobs.submit({"endpoint": "stream"})
    assert platform.jobs.wait(lambda: stopped.chunks, TOO_LONG_S)

    platform.jobs.cancel(stopped)

    assert appears(platform.file("closed"))


BROKEN = """
@warm_model(name="voice")
class Voice:
    @hook.load
    def load(self):
        with (HERE / "tries").open("a") as tries: tries.write("x")
        raise RuntimeError("no such file: key hf_abcdefghijklmnopqrstuvwxyz")
    @endpoint
    def speak(self) -> str: return "never"
"""


def test_a_failed_start_tells_who_waits_the_reason_and_the_mend(platform: Platform) -> None:
    platform.worker(BROKEN)

    told = said(platform.jobs.result(platform.jobs.submit({})))

    assert told["type"] == "not_ready"
    assert "load:load raised RuntimeError: no such file" in told["message"]
    assert told["fix"]
    assert "hf_abc" not in json.dumps(told)


def test_after_three_strikes_it_stays_and_only_tells(platform: Platform) -> None:
    worker = platform.worker(BROKEN)

    assert worker.wait_for(lambda: len(worker.reports) == 3, TOO_LONG_S), worker.text
    taken = len(platform.jobs.seen_on("job-take"))
    assert platform.jobs.wait(lambda: len(platform.jobs.seen_on("job-take")) > taken + 2, TOO_LONG_S)

    assert platform.file("tries").read_text() == "xxx"
    assert [report["strike"] for report in worker.reports] == [1, 2, 3]
    assert said(platform.jobs.result(platform.jobs.submit({})))["type"] == "not_ready"
    assert worker.code is None


def test_a_start_that_fails_once_is_tried_again(platform: Platform) -> None:
    worker = platform.worker(
        """
        @warm_model(name="voice")
        class Voice:
            @hook.load
            def load(self):
                first = not (HERE / "seen").exists()
                (HERE / "seen").touch()
                if first: raise RuntimeError("the network was away")
            @endpoint
            def speak(self) -> str: return "here"
        """
    )

    assert worker.wait_for(lambda: [r["state"] for r in worker.reports] == ["failed", "ready"], TOO_LONG_S)
    assert platform.jobs.result(platform.jobs.submit({})).output == "here"


SLOW_START = """
@warm_model(name="voice")
class Voice:
    @hook.load
    def load(self):
        (HERE / "loads").touch()
        time.sleep(5)
    @hook.close
    def close(self): (HERE / "closed").touch()
    @endpoint
    def speak(self) -> str: return "spoken"
"""
READY = SLOW_START.replace("time.sleep(5)", "pass")
BUSY = READY.replace('return "spoken"', '(HERE / "runs").touch(); time.sleep(1.0); return "spoken"')


def test_while_it_starts_it_ends_when_it_is_told_to(platform: Platform) -> None:
    worker = platform.worker(SLOW_START)
    assert appears(platform.file("loads"))

    worker.terminate()

    assert worker.wait(TOO_LONG_S) == 0


def test_from_ready_on_it_closes_and_ends_when_it_is_told_to(platform: Platform) -> None:
    worker = platform.worker(READY)
    assert worker.wait_for(lambda: worker.reports, TOO_LONG_S)

    worker.terminate()

    assert worker.wait(TOO_LONG_S) == 0
    assert platform.file("closed").exists()


def test_a_job_that_runs_is_answered_before_it_ends(platform: Platform) -> None:
    worker = platform.worker(BUSY)
    job = platform.jobs.submit({})
    assert appears(platform.file("runs"))

    worker.terminate()

    assert worker.wait(TOO_LONG_S) == 0
    assert (job.status, job.output) == ("COMPLETED", "spoken")


def test_a_failed_worker_ends_when_it_is_told_to(platform: Platform) -> None:
    worker = platform.worker(BROKEN, also={"COLDSTART_STRIKES": "2"})
    assert worker.wait_for(lambda: worker.reports, TOO_LONG_S)
    assert platform.jobs.wait(lambda: platform.jobs.seen_on("job-take"), TOO_LONG_S)

    worker.terminate()

    assert worker.wait(TOO_LONG_S) == 0


def test_a_worker_that_is_told_to_end_between_two_tries_does_not_try_again(platform: Platform) -> None:
    worker = platform.worker(BROKEN)
    job = platform.jobs.result(platform.jobs.submit({}))
    assert said(job)["type"] == "not_ready"

    worker.terminate()

    assert worker.wait(TOO_LONG_S) == 0
    assert platform.file("tries").read_text() == "x"


def test_a_result_survives_two_refusals_of_the_platform(platform: Platform) -> None:
    platform.jobs.refuse_results(500, 500)
    platform.worker(SPEAK)

    assert platform.jobs.result(platform.jobs.submit({"text": "you"})).output == "hello you"


def test_it_is_the_promised_version_that_runs(platform: Platform) -> None:
    platform.worker(SPEAK)

    platform.jobs.result(platform.jobs.submit({"text": "you"}))
    assert platform.jobs.wait(lambda: platform.jobs.seen_on("ping"), TOO_LONG_S)

    assert platform.jobs.seen_on("ping")[0].query["runpod_version"] == platform.runpod.version


def test_how_it_started_can_be_asked_for(platform: Platform) -> None:
    platform.worker(SPEAK)

    trace = platform.jobs.result(platform.jobs.submit({"endpoint": "trace"})).output
    ready = platform.jobs.result(platform.jobs.submit({"endpoint": "ready"})).output

    assert {"load:load", "import:runpod"} <= {span["name"] for span in trace["spans"]}
    assert ready["state"] == "ready"


def test_what_goes_on_inside_its_steps_is_in_the_trace(platform: Platform) -> None:
    platform.worker(
        """
        @warm_model(name="voice")
        class Voice:
            @hook.load
            def load(self):
                import email.mime.multipart, shutil
                (HERE / "left" / "over").mkdir(parents=True)
                shutil.rmtree(HERE / "left")
            @endpoint
            def speak(self) -> str: return "spoken"
        """
    )

    trace = platform.jobs.result(platform.jobs.submit({"endpoint": "trace"})).output

    inside = {(span["name"], span["parent"]) for span in trace["spans"] if span["parent"]}
    assert any(parent == "load:load" for _, parent in inside), inside
    assert any(parent == "import:runpod" for _, parent in inside), inside
    assert trace["machine"]["cores"]


def test_heartbeats_name_the_job_that_runs_and_the_key_goes_to_our_server_alone(platform: Platform) -> None:
    platform.worker(BUSY.replace("time.sleep(1.0)", "time.sleep(2.5)"))

    platform.jobs.result(platform.jobs.submit({}, job="j-1"))

    assert "j-1" in [seen.query.get("job_id") for seen in platform.jobs.seen_on("ping")]
    assert {seen.authorization for seen in platform.jobs.seen} == {KEY}


def test_without_a_platform_it_tries_its_test_input_streams_too(platform: Platform) -> None:
    source = STREAM.replace(
        "@endpoint\n    def words(self, count: int,",
        "@endpoint(default=True)\n    def words(self, count: int,",
    )
    worker = platform.worker(source, also={"RUNPOD_WEBHOOK_GET_JOB": ""})

    assert worker.wait(TOO_LONG_S) == 0
    assert '{"n": 0}' in worker.text


NEEDS_A_FILE = """
@warm_model(name="voice")
class Voice:
    @hook.load
    def load(self): time.sleep(0.5)
    @endpoint
    def echo(self, ref: File) -> str: return "spoken"
"""


def test_where_only_a_user_has_a_request_the_try_out_says_that_it_is_ready(platform: Platform) -> None:
    worker = platform.worker(NEEDS_A_FILE, also={"RUNPOD_WEBHOOK_GET_JOB": ""})

    assert worker.wait(TOO_LONG_S) == 0
    assert '"ready"' in worker.text


def test_who_asks_whether_it_is_ready_is_told_once_it_is(platform: Platform) -> None:
    platform.worker(NEEDS_A_FILE)

    told = platform.jobs.result(platform.jobs.submit({"endpoint": "ready", "wait": True}))

    assert told.output["state"] == "ready"


def test_who_asks_whether_it_is_ready_is_told_why_it_never_will_be(platform: Platform) -> None:
    platform.worker(BROKEN)

    job = platform.jobs.result(platform.jobs.submit({"endpoint": "ready", "wait": True}))

    assert said(job)["type"] == "not_ready"
    assert "no such file" in said(job)["message"]


def test_a_bundle_of_another_version_tells_its_callers_so_and_stays(platform: Platform) -> None:
    platform.worker(SPEAK).kill()
    path = platform.folder / "bundle" / "plan.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "sdk": "0.0.1"}))
    env = bare_environment(platform.folder / "nobody") | platform.jobs.environment() | platform.runpod.env

    with Process([sys.executable, "handler.py"], path.parent, env) as again:
        told = said(platform.jobs.result(platform.jobs.submit({"text": "you"})))

        assert told["type"] == "not_ready"
        assert "0.0.1" in told["message"]
        assert "Build it again" in told["fix"]
        assert again.code is None
