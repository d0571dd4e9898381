"""Requests on a lifecycle: each style of method, bounds in time and number, and what a caller is told."""

from __future__ import annotations

import asyncio
import base64
import logging
import re
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pytest

from coldstart_sdk.calls import Calls, UnansweredError
from coldstart_sdk.events import Event, Outcome, RequestEnded, State
from coldstart_sdk.lifecycle import Lifecycle
from coldstart_sdk.media import Audio, forms
from coldstart_sdk.steps import Site
from coldstart_sdk.wire.errors import ErrorReply, Fault
from tests.serving import TOO_LONG_S, a_project

T = TypeVar("T")

STYLES = """
@warm_model(scale=Scale(concurrency=1, queue=1))
class Styles:
    @endpoint
    def plain(self, text: str) -> str:
        return f"{text} on {threading.current_thread().name}"

    @endpoint
    async def later(self, text: str) -> str:
        await asyncio.sleep(0)
        return f"{text} on a loop"

    @endpoint
    def each(self, to: int) -> Iterator[int]:
        yield from range(to)

    @endpoint
    async def each_later(self, to: int) -> AsyncIterator[int]:
        for number in range(to):
            yield number
"""


@dataclass
class Worker:
    """A started lifecycle, its calls, and what it said."""

    life: Lifecycle
    folder: Path
    ended: list[RequestEnded] = field(default_factory=list)
    calls: Calls = field(init=False)

    def hear(self, event: Event) -> None:
        if isinstance(event, RequestEnded):
            self.ended.append(event)

    def run(self, scene: Callable[[], Awaitable[T]]) -> T:
        async def on_loop() -> T:
            return await scene()

        return self.life.lanes.run_async(on_loop()).result(TOO_LONG_S)

    async def answer(self, method: str, **arguments: Any) -> Any:  # noqa: ANN401 - whatever an endpoint returns
        return (await self.calls.answer(self.calls.endpoint(method), arguments, request="r")).value

    async def refusal(self, method: str, **arguments: Any) -> ErrorReply:  # noqa: ANN401 - JSON values
        with pytest.raises(UnansweredError) as refused:
            await self.answer(method, **arguments)
        return refused.value.reply

    async def chunks(self, method: str, **arguments: Any) -> list[Any]:  # noqa: ANN401 - JSON values
        stream = self.calls.stream(self.calls.endpoint(method), arguments, request="r")
        return [chunk.value async for chunk in stream]

    def file(self, name: str) -> Path:
        """A file that the declaration writes when something has happened."""
        path, tick = self.folder / name, threading.Event()
        for _ in range(6000):
            if path.exists():
                return path
            tick.wait(0.01)
        raise AssertionError(f"{name} was never written")


@contextmanager
def a_worker(folder: Path, source: str, *, waits: bool = True, start: bool = True) -> Iterator[Worker]:
    with a_project(folder, source) as plan:
        heard: list[Worker] = []
        emit: Callable[[Event], None] = lambda event: heard[0].hear(event) if heard else None  # noqa: E731 - the sink is there before the worker
        life = Lifecycle(plan, Site(project=folder, home=folder, emit=emit), own_loop=False)
        loop = asyncio.new_event_loop()
        running = threading.Thread(target=loop.run_forever)
        running.start()
        life.lanes.use_loop(loop)
        worker = Worker(life=life, folder=folder)
        heard.append(worker)
        worker.calls = Calls(life, emit=emit, waits=waits)
        if start:
            life.start()
            assert life.wait(TOO_LONG_S).state is State.READY, life.status
        try:
            yield worker
        finally:
            life.drain(10.0)
            loop.call_soon_threadsafe(loop.stop)
            running.join(TOO_LONG_S)
            loop.close()


def test_a_plain_method_runs_on_the_model_thread(tmp_path: Path) -> None:
    with a_worker(tmp_path, STYLES) as worker:
        assert worker.run(lambda: worker.answer("plain", text="hi")) == "hi on coldstart-model"


def test_an_async_method_runs_on_the_loop(tmp_path: Path) -> None:
    with a_worker(tmp_path, STYLES) as worker:
        assert worker.run(lambda: worker.answer("later", text="hi")) == "hi on a loop"


@pytest.mark.parametrize("method", ["each", "each_later"])
def test_a_generator_gives_its_chunks_in_order(tmp_path: Path, method: str) -> None:
    with a_worker(tmp_path, STYLES) as worker:
        assert worker.run(lambda: worker.chunks(method, to=3)) == [0, 1, 2]
        assert worker.run(lambda: worker.chunks(method, to=0)) == []


def test_each_call_ends_in_one_event(tmp_path: Path) -> None:
    with a_worker(tmp_path, STYLES) as worker:
        worker.run(lambda: worker.answer("plain", text="hi"))
        worker.run(lambda: worker.refusal("plain", text=7))

        assert [(each.endpoint, each.outcome) for each in worker.ended] == [
            ("plain", Outcome.DONE),
            ("plain", Outcome.REFUSED),
        ]
        assert worker.ended[0].first_s is not None


BAD = """
class SecretError(Exception):
    pass

@warm_model(scale=Scale(concurrency=1, queue=4))
class Bad:
    @endpoint
    def works(self) -> int:
        return 1

    @endpoint
    def raises(self) -> int:
        raise SecretError("password is hunter2")

    @endpoint
    def leaves(self) -> int:
        raise SystemExit(3)

    @endpoint
    def stops(self) -> int:
        raise StopIteration

    @endpoint
    def cancels(self) -> int:
        raise asyncio.CancelledError

    @endpoint
    async def cancels_later(self) -> int:
        raise asyncio.CancelledError

    @endpoint
    def returns_path(self) -> object:
        return HERE

    @endpoint
    def returns_nan(self) -> float:
        return float("nan")
"""


@pytest.mark.parametrize(
    ("method", "fault", "said"),
    [
        ("raises", Fault.FAILED, "raises raised SecretError"),
        ("leaves", Fault.FAILED, "leaves called sys.exit"),
        ("stops", Fault.FAILED, "stops raised RuntimeError"),
        ("cancels", Fault.CANCELLED, "cancels was cancelled"),
        ("cancels_later", Fault.CANCELLED, "cancels_later was cancelled"),
        ("returns_path", Fault.FAILED, "cannot be sent"),
        ("returns_nan", Fault.FAILED, "nan"),
    ],
)
def test_whatever_a_method_does_the_caller_gets_a_safe_word_and_the_worker_lives(
    tmp_path: Path, method: str, fault: Fault, said: str
) -> None:
    with a_worker(tmp_path, BAD) as worker:
        reply = worker.run(lambda: worker.refusal(method))

        assert reply.fault is fault
        assert said in reply.message
        assert "hunter2" not in str(reply.to_data())
        assert worker.run(lambda: worker.answer("works")) == 1


SLOW = """
GO = threading.Event()

@warm_model(scale=Scale(concurrency=1, queue=1))
class Slow:
    @endpoint(timeout="50ms")
    def hangs(self) -> int:
        (HERE / "began").touch()
        GO.wait(60)
        return 1

    @endpoint(timeout="50ms")
    async def hangs_later(self) -> int:
        await asyncio.sleep(60)
        return 1

    @endpoint(timeout="50ms")
    def hangs_between(self) -> Iterator[int]:
        yield 1
        GO.wait(60)
        yield 2

    @endpoint
    def quick(self) -> int:
        return 2

    @endpoint
    def waits(self) -> int:
        (HERE / "began").touch()
        GO.wait(60)
        return 3

    @endpoint
    async def release(self) -> int:
        GO.set()
        return 4
"""


MEDIA = """
@warm_model(scale=Scale(concurrency=1, queue=4))
class Hearing:
    @endpoint
    def rate(self, ref: Audio, others: list[Audio] = ()) -> int:
        for other in others:
            other.samples()
        return ref.samples()[1]

    @endpoint
    def own(self, ref: Audio) -> float:
        return Audio.from_bytes(b"RIFF....WAVE", "audio/wav").duration_s
"""
BROKEN_WAV = {"base64": base64.b64encode(b"RIFF\x04\0\0\0WAVE").decode(), "type": "audio/wav"}
NO_WAV = {"base64": base64.b64encode(b"hello, hello").decode(), "type": "audio/wav"}
AN_MP3 = {"base64": base64.b64encode(b"ID3 and then some").decode(), "type": "audio/wav"}
A_WAV = forms.write(Audio.silence("10ms"))


@pytest.mark.parametrize(
    ("arguments", "field", "said"),
    [
        ({"ref": BROKEN_WAV}, "ref", "this wav is broken: its header or its samples are missing"),
        ({"ref": NO_WAV}, "ref", "this wav is broken: it does not begin as a wav does"),
        ({"ref": AN_MP3}, "ref", "only wav can be read here, and this is audio/mpeg"),
        ({"ref": A_WAV, "others": [A_WAV, AN_MP3]}, "others[1]", "only wav can be read"),
    ],
)
def test_a_medium_that_cannot_be_decoded_is_its_caller_s_bad_argument(
    tmp_path: Path, arguments: dict[str, Any], field: str, said: str
) -> None:
    with a_worker(tmp_path, MEDIA) as worker:
        reply = worker.run(lambda: worker.refusal("rate", **arguments))

    assert (reply.fault, reply.fields[0].field) == (Fault.BAD_ARGUMENTS, field)
    assert said in reply.fields[0].message


def test_a_medium_of_the_endpoint_s_own_that_cannot_be_decoded_is_a_failure(tmp_path: Path) -> None:
    with a_worker(tmp_path, MEDIA) as worker:
        reply = worker.run(lambda: worker.refusal("own", ref=A_WAV))

    assert reply.fault is Fault.FAILED


BLOCKS = """
@warm_model
class Blocks:
    @endpoint
    async def sleeps(self) -> int:
        until = time.monotonic() + 60
        while not (HERE / "warned").exists() and time.monotonic() < until:
            time.sleep(0.01)
        return 1
"""


def test_an_async_method_that_holds_up_the_loop_is_named_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Warned(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            (tmp_path / "warned").write_text(record.getMessage())

    log, heard = logging.getLogger("coldstart.blocks"), Warned(logging.WARNING)
    log.addHandler(heard)
    try:
        with a_worker(tmp_path, BLOCKS) as worker:
            worker.calls.watch_loop()
            assert worker.run(lambda: worker.answer("sleeps")) == 1
    finally:
        log.removeHandler(heard)

    said = (tmp_path / "warned").read_text()
    assert said.startswith("sleeps holds up the loop on declared_")
    assert "Make it a plain def" in said
    assert len(caplog.records) == 1


def _release(worker: Worker) -> None:
    sys.modules[worker.life.plan.spec.module].GO.set()


@pytest.mark.parametrize("method", ["hangs", "hangs_later"])
def test_a_method_past_its_time_is_answered_504(tmp_path: Path, method: str) -> None:
    with a_worker(tmp_path, SLOW) as worker:
        reply = worker.run(lambda: worker.refusal(method))
        _release(worker)

        assert (reply.fault, reply.fault.status) == (Fault.TIMEOUT, 504)
        assert worker.ended[0].outcome is Outcome.TIMED_OUT


def test_code_past_its_time_is_told_with_the_line_that_it_stands_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with a_worker(tmp_path, SLOW) as worker:
        reply = worker.run(lambda: worker.refusal("hangs"))
        _release(worker)

    assert reply.where is not None
    assert re.fullmatch(r"\w+\.py:\d+, in hangs", reply.where)
    assert "where" not in str(reply.to_data())
    assert f"hangs is past its time on {reply.where}, and keeps its place" in caplog.text


def test_a_chunk_past_its_time_ends_the_stream(tmp_path: Path) -> None:
    with a_worker(tmp_path, SLOW) as worker:

        async def scene() -> tuple[list[Any], Fault]:
            got: list[Any] = []
            stream = worker.calls.stream(worker.calls.endpoint("hangs_between"), {}, request="r")

            async def read() -> None:
                async for chunk in stream:
                    got.append(chunk.value)  # noqa: PERF401 - what came before the end must be kept

            with pytest.raises(UnansweredError) as refused:
                await read()
            return got, refused.value.reply.fault

        assert worker.run(scene) == ([1], Fault.TIMEOUT)
        _release(worker)


def test_a_thread_that_is_still_busy_keeps_its_place(tmp_path: Path) -> None:
    with a_worker(tmp_path, SLOW) as worker:
        worker.run(lambda: worker.refusal("hangs"))

        assert worker.calls.gate.running == 1
        waiting = worker.life.lanes.run_async(worker.answer("quick"))
        assert not waiting.done()
        _release(worker)
        assert waiting.result(TOO_LONG_S) == 2
        assert worker.calls.gate.running == 0


def test_past_places_and_queue_a_caller_is_told_when_to_come_back(tmp_path: Path) -> None:
    with a_worker(tmp_path, SLOW) as worker:
        first = worker.life.lanes.run_async(worker.answer("waits"))
        worker.file("began")
        second = worker.life.lanes.run_async(worker.answer("quick"))

        async def third() -> ErrorReply:
            assert worker.calls.gate.waiting == 1  # what was asked first has come first
            return await worker.refusal("quick")

        reply = worker.run(third)
        _release(worker)

        assert (reply.fault.status, (reply.retry_after_s or 0) >= 1) == (429, True)
        assert (first.result(TOO_LONG_S), second.result(TOO_LONG_S)) == (3, 2)


LEFT = """
@warm_model(scale=Scale(concurrency=1, queue=4))
class Left:
    @endpoint
    def endless(self) -> Iterator[int]:
        try:
            while True:
                yield 1
        finally:
            (HERE / f"closed on {threading.current_thread().name}").touch()

    @endpoint
    def clings(self) -> Iterator[int]:
        try:
            yield 1
        finally:
            raise SystemExit

    @endpoint
    def works(self) -> str:
        return "lives"
"""


async def _take_one(worker: Worker, method: str) -> Any:  # noqa: ANN401 - a chunk
    stream = worker.calls.stream(worker.calls.endpoint(method), {}, request="r")
    try:
        return (await stream.__anext__()).value
    finally:
        await stream.aclose()


def test_a_generator_whose_caller_left_is_closed_on_its_own_thread(tmp_path: Path) -> None:
    with a_worker(tmp_path, LEFT) as worker:
        assert worker.run(lambda: _take_one(worker, "endless")) == 1

        worker.file("closed on coldstart-model")
        assert worker.ended[0].outcome is Outcome.CANCELLED
        assert worker.run(lambda: worker.answer("works")) == "lives"


def test_a_generator_that_does_not_end_well_does_not_take_its_thread_along(tmp_path: Path) -> None:
    with a_worker(tmp_path, LEFT) as worker:
        assert worker.run(lambda: _take_one(worker, "clings")) == 1

        assert worker.run(lambda: worker.answer("works")) == "lives"


COLD = """
GO = threading.Event()

@warm_model
class Cold:
    @hook.load
    def load(self) -> None:
        (HERE / "loading").touch()
        GO.wait(60)
        if (HERE / "fail").exists():
            raise ValueError("no such model")

    @endpoint
    def speak(self) -> str:
        return "here"
"""


def test_before_ready_a_request_waits(tmp_path: Path) -> None:
    with a_worker(tmp_path, COLD, start=False) as worker:
        asked = worker.life.lanes.run_async(worker.answer("speak"))
        worker.life.start()
        worker.file("loading")
        assert not asked.done()
        _release(worker)

        assert asked.result(TOO_LONG_S) == "here"


def test_before_ready_a_request_is_refused_where_that_was_chosen(tmp_path: Path) -> None:
    with a_worker(tmp_path, COLD, waits=False, start=False) as worker:
        reply = worker.run(lambda: worker.refusal("speak"))

        assert (reply.fault.status, reply.message) == (503, "this worker is still starting")


def test_a_request_that_waits_is_told_when_the_start_fails(tmp_path: Path) -> None:
    (tmp_path / "fail").touch()
    with a_worker(tmp_path, COLD, start=False) as worker:
        asked = worker.life.lanes.run_async(worker.refusal("speak"))
        worker.life.start()
        worker.file("loading")
        _release(worker)

        reply = asked.result(TOO_LONG_S)
        assert reply.fault is Fault.NOT_READY
        assert "no such model" not in reply.message


def test_a_drain_answers_what_was_accepted_and_refuses_the_rest(tmp_path: Path) -> None:
    with a_worker(tmp_path, SLOW) as worker:
        accepted = worker.life.lanes.run_async(worker.answer("waits"))
        worker.file("began")
        draining = threading.Event()
        worker.life.watch(lambda status: draining.set() if status.state is State.DRAINING else None)
        ender = threading.Thread(target=worker.life.drain, args=(20.0,))
        ender.start()
        assert draining.wait(TOO_LONG_S)

        reply = worker.run(lambda: worker.refusal("quick"))
        _release(worker)
        ender.join(TOO_LONG_S)

        assert (reply.fault.status, reply.message) == (503, "this worker is stopping")
        assert accepted.result(TOO_LONG_S) == 3


def test_an_unknown_endpoint_is_told_the_near_one(tmp_path: Path) -> None:
    with a_worker(tmp_path, STYLES) as worker, pytest.raises(UnansweredError, match="did you mean plain"):
        worker.calls.endpoint("plian")


def test_a_name_may_be_left_out_only_where_one_endpoint_is_meant(tmp_path: Path) -> None:
    with a_worker(tmp_path, COLD, start=False) as worker:
        assert worker.calls.endpoint(None).method == "speak"
    with a_worker(tmp_path, STYLES) as worker, pytest.raises(UnansweredError, match="name one"):
        worker.calls.endpoint(None)
