"""Endpoints over HTTP: results, streams, uploads, and what the server says of itself."""

from __future__ import annotations

import json
import re
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import pytest

from coldstart_sdk import Audio
from coldstart_sdk.events import Outcome, State
from coldstart_sdk.serve.options import Options
from coldstart_sdk.trace.model import Trace
from tests.serving import TOO_LONG_S, Served, served

SPEAKER = """
from dataclasses import dataclass

@dataclass
class Voice:
    pitch: float
    name: str = "anna"

@warm_model(name="speaker", scale=Scale(concurrency=2, queue=8))
class Speaker:
    @endpoint(default=True)
    def speak(self, text: str, voice: Voice | None = None, speed: float = 1.0) -> str:
        '''Says something.

        The rest of the story.
        '''
        return f"{text} {voice.pitch if voice else 0} {speed}"

    @endpoint
    async def later(self, text: str = "nothing") -> dict[str, str]:
        return {"said": text}

    @endpoint
    def beep(self, duration: str = "100ms") -> Audio:
        return Audio.silence(duration)

    @endpoint
    def long_beep(self) -> Audio:
        return Audio.from_bytes(bytes(3 * 2**20), "audio/wav")

    @endpoint
    def page(self) -> File:
        return File.from_bytes(b"<script>", "text/html")

    @endpoint
    def count(self, to: int, fail_at: int = -1) -> Iterator[int]:
        for number in range(to):
            if number == fail_at:
                raise ValueError("hunter2")
            yield number

    @endpoint
    async def beeps(self, many: int) -> AsyncIterator[Audio]:
        for _ in range(many):
            yield Audio.silence("10ms")

    @endpoint
    def pages(self) -> Iterator[File]:
        yield File.from_bytes(b"<p>one", "text/html")
        yield File.from_bytes(b"<p>two", "text/html")

    @endpoint
    def odd_beeps(self, odd: str) -> Iterator[Audio]:
        yield Audio.silence("10ms")
        if odd == "error":
            raise ValueError("hunter2")
        yield Audio.silence("10ms", rate=8000) if odd == "rate" else Audio.from_bytes(b"ID3 and so on")

    @endpoint
    def measure(self, ref: Audio, note: str = "", times: int = 1) -> list[object]:
        return [ref.type, len(ref), ref.name, note, times]

    @endpoint
    def gather(self, files: list[File], sizes: list[int] | None = None) -> list[object]:
        return [[len(file) for file in files], sizes]

    @endpoint
    def raises(self) -> str:
        raise ValueError("hunter2")
"""


@pytest.fixture(scope="module")
def speaker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("speaker"), SPEAKER) as running:
        yield running


def test_a_call_is_a_json_object_and_its_answer_a_result(speaker: Served) -> None:
    reply = speaker.client.post("/speak", json={"text": "hi", "voice": {"pitch": 2}, "speed": 1.5})

    assert (reply.status_code, reply.json()) == (200, {"result": "hi 2.0 1.5"})
    assert reply.headers["content-type"] == "application/json"
    assert re.fullmatch("[0-9a-f]{12}", reply.headers["x-request-id"])


def test_the_default_endpoint_needs_no_name(speaker: Served) -> None:
    assert speaker.client.post("/", json={"text": "hi"}).json() == {"result": "hi 0 1.0"}


def test_an_empty_body_is_named_as_one(speaker: Served) -> None:
    refused = speaker.client.post("/speak", content=b"", headers={"content-type": "application/json"})

    assert refused.status_code == 400
    assert refused.json()["error"]["message"] == "the body is empty; send a JSON object"


def test_an_endpoint_that_needs_nothing_may_be_sent_nothing(speaker: Served) -> None:
    assert speaker.client.post("/later").json() == {"result": {"said": "nothing"}}


def test_a_medium_comes_as_base64_and_its_type(speaker: Served) -> None:
    result = speaker.client.post("/beep", json={}).json()["result"]

    assert set(result) == {"base64", "type"}
    assert result["type"] == "audio/wav"


@pytest.mark.parametrize("accept", ["audio/wav", "audio/*", "audio/wav;q=0.9, application/json;q=0.1"])
def test_a_medium_comes_as_it_is_where_its_type_is_named(speaker: Served, accept: str) -> None:
    reply = speaker.client.post("/beep", json={}, headers={"accept": accept})

    assert reply.headers["content-type"] == "audio/wav"
    assert Audio.from_bytes(reply.content).duration_s == pytest.approx(0.1)


@pytest.mark.parametrize(
    "accept", ["*/*", "application/json", "audio/ogg", "audio/wav;q=0", "audio/wav;q=x", ""]
)
def test_otherwise_a_medium_comes_in_json(speaker: Served, accept: str) -> None:
    reply = speaker.client.post("/beep", json={}, headers={"accept": accept})

    assert reply.headers["content-type"] == "application/json"


def test_a_large_medium_comes_whole_in_both_forms(speaker: Served) -> None:
    raw = speaker.client.post("/long_beep", json={}, headers={"accept": "audio/wav"})
    inline = speaker.client.post("/long_beep", json={}).json()["result"]["base64"]

    assert len(raw.content) == 3 * 2**20
    assert len(inline) == 4 * 2**20


def test_a_result_is_never_shown_as_a_page_of_ours(speaker: Served) -> None:
    reply = speaker.client.post("/page", json={}, headers={"accept": "text/html"})

    assert reply.headers["x-content-type-options"] == "nosniff"
    assert reply.headers["content-disposition"] == "attachment"


def test_a_stream_is_one_json_object_a_line(speaker: Served) -> None:
    reply = speaker.client.post("/count", json={"to": 3})

    assert reply.headers["content-type"] == "application/x-ndjson"
    assert [json.loads(line) for line in reply.text.splitlines()] == [{"chunk": n} for n in range(3)]


def test_a_stream_is_events_where_they_are_asked_for(speaker: Served) -> None:
    reply = speaker.client.post("/count", json={"to": 2}, headers={"accept": "text/event-stream"})

    assert reply.headers["content-type"].startswith("text/event-stream")
    assert reply.text == "data: 0\n\ndata: 1\n\nevent: end\ndata: {}\n\n"


def test_an_empty_stream_ends_well(speaker: Served) -> None:
    assert speaker.client.post("/count", json={"to": 0}).text == ""


def test_an_error_within_a_stream_is_the_last_thing_said(speaker: Served) -> None:
    lines = speaker.client.post("/count", json={"to": 5, "fail_at": 1}).text.splitlines()
    events = speaker.client.post(
        "/count", json={"to": 5, "fail_at": 1}, headers={"accept": "text/event-stream"}
    ).text.split("\n\n")

    assert json.loads(lines[0]) == {"chunk": 0}
    assert json.loads(lines[-1])["error"]["type"] == "failed"
    assert events[-2].startswith("event: error\ndata: {")
    assert "hunter2" not in "".join((*lines, *events))


def test_an_error_before_the_first_chunk_has_a_status(speaker: Served) -> None:
    assert speaker.client.post("/count", json={"to": 5, "fail_at": 0}).status_code == 500
    assert speaker.client.post("/count", json={"to": "x"}).status_code == 400


def test_media_stream_as_base64(speaker: Served) -> None:
    lines = speaker.client.post("/beeps", json={"many": 2}).text.splitlines()

    assert [json.loads(line)["chunk"]["type"] for line in lines] == ["audio/wav", "audio/wav"]


def test_streamed_wav_is_one_sound_where_its_type_is_named(speaker: Served) -> None:
    reply = speaker.client.post("/beeps", json={"many": 3}, headers={"accept": "audio/wav"})

    assert reply.headers["content-type"] == "audio/wav"
    assert reply.headers["x-content-type-options"] == "nosniff"
    assert reply.content.count(b"RIFF") == 1
    assert reply.content[4:8] == reply.content[40:44] == b"\xff" * 4
    assert Audio.from_bytes(reply.content).duration_s == pytest.approx(0.03)


def test_streamed_bytes_of_one_type_follow_one_another(speaker: Served) -> None:
    reply = speaker.client.post("/pages", json={}, headers={"accept": "text/html"})

    assert (reply.headers["content-type"], reply.content) == ("text/html", b"<p>one<p>two")
    assert reply.headers["content-disposition"] == "attachment"


@pytest.mark.parametrize("odd", ["rate", "kind", "error"])
def test_a_raw_stream_that_cannot_go_on_is_cut_and_not_ended(speaker: Served, odd: str) -> None:
    accept = {"accept": "audio/*"}
    with pytest.raises(httpx.RemoteProtocolError):
        speaker.client.post("/odd_beeps", json={"odd": odd}, headers=accept)


def test_otherwise_streamed_media_come_in_json(speaker: Served) -> None:
    for named in ("*/*", "application/json", "text/event-stream, audio/wav"):
        reply = speaker.client.post("/beeps", json={"many": 1}, headers={"accept": named})

        assert b"base64" in reply.content


def test_an_upload_becomes_a_medium_and_a_field_what_its_schema_says(speaker: Served) -> None:
    wav = Audio.silence("1s").bytes
    reply = speaker.client.post(
        "/measure", files={"ref": ("my voice.wav", wav)}, data={"note": "[1]", "times": "3"}
    )

    assert reply.json() == {"result": ["audio/wav", len(wav), "my voice.wav", "[1]", 3]}


def test_a_large_upload_arrives_whole(speaker: Served) -> None:
    wav = Audio.silence("60s").bytes
    assert len(wav) > 2 * 2**20

    assert speaker.client.post("/measure", files={"ref": ("a.wav", wav)}).json()["result"][1] == len(wav)


def test_parts_of_one_name_make_a_list(speaker: Served) -> None:
    files = [("files", ("a", b"1")), ("files", ("b", b"22"))]

    assert speaker.client.post("/gather", files=files, data={"sizes": ["1", "2"]}).json() == {
        "result": [[1, 2], [1, 2]]
    }
    assert speaker.client.post("/gather", files=files[:1], data={"sizes": "[7, 8]"}).json() == {
        "result": [[1], [7, 8]]
    }


def test_a_medium_may_also_be_a_field_with_a_url(speaker: Served) -> None:
    wav = Audio.silence("10ms").bytes
    import base64

    url = "data:audio/wav;base64," + base64.b64encode(wav).decode()
    reply = speaker.client.post("/measure", files={"note": (None, "n")}, data={"ref": url})

    assert reply.json()["result"][:2] == ["audio/wav", len(wav)]


def test_what_a_method_raises_stays_in_the_log(speaker: Served, caplog: pytest.LogCaptureFixture) -> None:
    reply = speaker.client.post("/raises", json={})
    error = reply.json()["error"]

    assert (reply.status_code, error["message"]) == (500, "raises raised ValueError")
    assert "hunter2" not in reply.text
    assert error["id"] == reply.headers["x-request-id"]
    assert f"request {error['id']} failed" in caplog.text
    assert "hunter2" in caplog.text


def test_the_page_names_what_runs_and_loads_nothing(speaker: Served) -> None:
    reply = speaker.client.get("/")

    assert reply.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in reply.headers["content-security-policy"]
    for said in ("speaker", "ready", "POST /speak", "Says something."):
        assert said in reply.text


def test_health_ready_and_ping_are_good_once_it_is_ready(speaker: Served) -> None:
    assert speaker.client.get("/health").text == "ok\n"
    assert speaker.client.get("/ready").json() == {
        "state": "ready",
        "percent": 100,
        "eta_s": 0.0,
        "steps": [],
        "degraded": [],
    }
    assert speaker.client.get("/ping").status_code == 200
    head = speaker.client.head("/ready")
    assert (head.status_code, head.content) == (200, b"")


def test_the_trace_is_one_that_can_be_read_back(speaker: Served) -> None:
    trace = Trace.from_json(speaker.client.get("/trace").text)
    chrome = speaker.client.get("/trace?format=chrome").json()

    assert (trace.name, trace.state) == ("speaker", State.READY)
    assert trace.anchors.ready_s is not None
    assert chrome["traceEvents"]


def _metrics(running: Served) -> dict[str, float]:
    found = {}
    for line in running.client.get("/metrics").text.splitlines():
        if not line.startswith("#"):
            sample = re.fullmatch(r'(coldstart_\w+(?:\{(?:\w+="[^"]*",?)+\})?) (-?[0-9.e+-]+)', line)
            assert sample, line
            found[sample[1]] = float(sample[2])
    return found


def test_metrics_count_what_was_asked(speaker: Served) -> None:
    for _ in range(2):
        speaker.client.post("/later", json={})
    before = _metrics(speaker)
    speaker.client.post("/later", json={})
    speaker.client.post("/raises", json={})
    after = _metrics(speaker)

    def grew(name: str) -> float:
        return after[name] - before.get(name, 0.0)

    assert grew('coldstart_requests_total{endpoint="later",outcome="done"}') == 1
    assert grew('coldstart_requests_total{endpoint="raises",outcome="failed"}') == 1
    assert grew('coldstart_request_seconds_bucket{endpoint="later",le="+Inf"}') == 1
    assert grew('coldstart_first_byte_seconds_count{endpoint="later"}') == 1
    assert grew('coldstart_http_replies_total{route="raises",status="500"}') == 1
    assert after['coldstart_state{state="ready"}'] == 1
    assert after['coldstart_state{state="failed"}'] == 0
    assert after["coldstart_cold_start_seconds"] > 0
    assert after["coldstart_warm_request_seconds"] >= 0
    assert (after["coldstart_queue_length"], after["coldstart_requests_in_flight"]) == (0, 0)


def test_the_buckets_of_a_histogram_only_grow(speaker: Served) -> None:
    speaker.client.post("/later", json={})
    buckets = [
        value
        for name, value in _metrics(speaker).items()
        if name.startswith('coldstart_request_seconds_bucket{endpoint="later"')
    ]

    assert buckets == sorted(buckets)
    assert buckets[-1] == _metrics(speaker)['coldstart_request_seconds_count{endpoint="later"}']


def _references(part: Any) -> Iterator[str]:  # noqa: ANN401 - any part of a document
    if isinstance(part, dict):
        for key, item in part.items():
            if key == "$ref":
                yield item
            else:
                yield from _references(item)
    elif isinstance(part, list):
        for item in part:
            yield from _references(item)


def test_openapi_says_what_may_be_sent(speaker: Served) -> None:
    document = speaker.client.get("/openapi.json").json()
    speak = document["paths"]["/speak"]["post"]
    body = speak["requestBody"]["content"]["application/json"]["schema"]
    schema = {**body, "components": document["components"]}

    assert document["openapi"].startswith("3.1")
    assert (speak["summary"], speak["description"]) == ("Says something.", "The rest of the story.")
    assert set(document["paths"]["/measure"]["post"]["requestBody"]["content"]) == {
        "application/json",
        "multipart/form-data",
    }
    assert "multipart/form-data" not in speak["requestBody"]["content"]
    jsonschema.validate({"text": "hi", "voice": {"pitch": 1.0}}, schema)
    for wrong in ({}, {"text": 7}, {"text": "hi", "voice": {"name": "x"}}, {"text": "hi", "more": 1}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(wrong, schema)


def test_every_reference_in_openapi_leads_somewhere(speaker: Served) -> None:
    document = speaker.client.get("/openapi.json").json()

    names = {reference.removeprefix("#/components/schemas/") for reference in _references(document)}
    assert names <= set(document["components"]["schemas"])
    assert "Voice" in names
    for schema in document["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(schema)


def test_openapi_describes_the_errors_that_are_sent(speaker: Served) -> None:
    document = speaker.client.get("/openapi.json").json()
    error = speaker.client.post("/speak", json={"txt": 1}).json()

    jsonschema.validate(error, {"$ref": "#/components/schemas/Error", "components": document["components"]})


COLD = """
GO = threading.Event()

@warm_model(name="cold")
class Cold:
    @hook.load
    def load(self) -> None:
        (HERE / "loading").touch()
        GO.wait(60)
        if (HERE / "fail").exists():
            raise ValueError("hunter2")

    @hook.background
    def go_wrong(self) -> None:
        raise ValueError("the cache is full")

    @endpoint
    async def go(self) -> str:
        return "here"
"""


def _let_load(running: Served) -> None:
    import sys

    sys.modules[running.life.plan.spec.module].GO.set()


def test_the_port_answers_while_the_model_is_starting(tmp_path: Path) -> None:
    with served(tmp_path, COLD, wait=False) as running:
        running.wait_for_file("loading")
        ready = running.client.get("/ready")

        assert running.client.get("/health").status_code == 200
        assert running.client.get("/ping").status_code == 204
        assert running.client.get("/metrics").status_code == 200
        assert ready.status_code == 503
        assert ready.json()["state"] == "starting"
        assert ready.json().keys() == {"state", "percent", "eta_s", "steps", "degraded"}
        assert ready.json()["steps"] == ["load:load"]
        assert 0 <= ready.json()["percent"] < 100
        assert "retry-after" in ready.headers
        _let_load(running)
        assert running.client.post("/go", json={}).json() == {"result": "here"}


def test_a_request_waits_for_ready(tmp_path: Path) -> None:
    with served(tmp_path, COLD, wait=False) as running:
        running.wait_for_file("loading")
        replies: list[httpx.Response] = []
        asking = threading.Thread(target=lambda: replies.append(running.client.post("/go", json={})))
        asking.start()
        _let_load(running)
        asking.join(TOO_LONG_S)

        assert replies[0].json() == {"result": "here"}


def test_by_choice_a_request_before_ready_is_refused_with_how_far_it_is(tmp_path: Path) -> None:
    with served(tmp_path, COLD, Options(waits=False), wait=False) as running:
        running.wait_for_file("loading")
        reply = running.client.post("/go", json={})
        error = reply.json()["error"]

        assert reply.status_code == 503
        assert int(reply.headers["retry-after"]) >= 1
        assert (error["type"], error["state"], error["steps"]) == ("not_ready", "starting", ["load:load"])
        assert "eta_s" in error
        _let_load(running)


def test_a_second_start_knows_how_long_it_will_take(tmp_path: Path) -> None:
    with served(tmp_path, COLD.replace("GO.wait(60)", "pass")):
        pass
    with served(tmp_path, COLD, wait=False) as running:
        running.wait_for_file("loading")

        assert running.client.get("/ready").json()["eta_s"] is not None
        _let_load(running)


def test_a_start_that_fails_ends_the_server_and_tells_who_waits(tmp_path: Path) -> None:
    (tmp_path / "fail").touch()
    with served(tmp_path, COLD, wait=False) as running:
        running.wait_for_file("loading")
        replies: list[httpx.Response] = []
        asking = threading.Thread(target=lambda: replies.append(running.client.post("/go", json={})))
        asking.start()
        while running.life._requests == 0:  # noqa: SLF001 - the one sign that the request is inside
            asking.join(0.01)
        _let_load(running)
        asking.join(TOO_LONG_S)
        running.thread.join(TOO_LONG_S)

        assert replies[0].status_code == 503
        assert "hunter2" not in replies[0].text
        assert not running.thread.is_alive()
        assert running.life.status.state is State.FAILED


def test_a_degraded_worker_says_so(tmp_path: Path) -> None:
    with served(tmp_path, COLD.replace("GO.wait(60)", "pass")) as running:
        degraded = threading.Event()
        running.life.watch(lambda status: degraded.set() if status.degraded else None)
        if not running.life.status.degraded:
            assert degraded.wait(TOO_LONG_S)

        assert running.client.get("/ready").json()["degraded"] == ["background:go_wrong"]
        assert 'coldstart_degraded{step="background:go_wrong"} 1' in running.client.get("/metrics").text


LEFT = """
@warm_model(name="left")
class Left:
    @endpoint
    def endless(self) -> Iterator[int]:
        try:
            while True:
                yield 1
                time.sleep(0.001)
        finally:
            (HERE / "closed").touch()

    @endpoint
    async def sleeps(self) -> int:
        try:
            (HERE / "began").touch()
            await asyncio.sleep(60)
        finally:
            (HERE / "cancelled").touch()
        return 1
"""


def test_a_caller_who_leaves_a_stream_ends_its_generator(tmp_path: Path) -> None:
    with served(tmp_path, LEFT) as running:
        with running.client.stream("POST", "/endless", json={}) as reply:
            next(reply.iter_bytes())

        running.wait_for_file("closed")
        assert running.wait_for_requests(1)[0].outcome is Outcome.CANCELLED


def test_a_caller_who_leaves_cancels_what_runs_for_it(tmp_path: Path) -> None:
    with served(tmp_path, LEFT) as running:
        with (
            httpx.Client(timeout=httpx.Timeout(TOO_LONG_S, read=0.5)) as hasty,
            pytest.raises(httpx.ReadTimeout),
        ):
            hasty.post(f"{running.url}/sleeps", json={})

        running.wait_for_file("cancelled")
        assert running.wait_for_requests(1)[0].outcome is Outcome.CANCELLED


STUCK = """
GO = threading.Event()

@warm_model(name="stuck")
class Stuck:
    @endpoint(timeout=0.2)
    def hang(self) -> str:
        GO.wait(60)
        return "late"
"""


def test_a_worker_whose_every_place_is_kept_by_late_code_says_that_it_is_not_ready(tmp_path: Path) -> None:
    with served(tmp_path, STUCK) as worker:
        asked = worker.client.post("/hang", json={})
        stuck, ping = worker.client.get("/ready"), worker.client.get("/ping")
        sys.modules[worker.life.plan.spec.module].GO.set()
        until = time.monotonic() + TOO_LONG_S
        while worker.client.get("/ping").status_code != 200 and time.monotonic() < until:
            time.sleep(0.01)
        again = worker.client.get("/ready")

    assert (asked.status_code, stuck.status_code, ping.status_code) == (504, 503, 503)
    assert "past its time" in stuck.json()["reason"]
    assert (again.status_code, again.json()["state"]) == (200, "ready")
