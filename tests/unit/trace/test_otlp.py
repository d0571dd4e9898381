"""Starts as OpenTelemetry sees them, sent to a collector that is a real server."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from coldstart_sdk.errors import PlatformError, UsageError
from coldstart_sdk.trace import otlp
from coldstart_sdk.trace.model import Trace
from tests.unit.trace.starts import STARTS


def spans(trace: Trace) -> dict[str, dict[str, Any]]:
    (resource,) = otlp.spans(trace, began_s=1e9)["resourceSpans"]
    (scope,) = resource["scopeSpans"]
    return {span["name"]: span for span in scope["spans"]}


def attributes(of: dict[str, Any]) -> dict[str, Any]:
    return {one["key"]: next(iter(one["value"].values())) for one in of["attributes"]}


@pytest.fixture
def collector() -> Iterator[tuple[str, dict[str, Any], list[str | None]]]:
    """A collector's two addresses, as the OTLP/HTTP specification has them."""
    taken: dict[str, Any] = {}
    tokens: list[str | None] = []

    class Takes(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            taken[self.path] = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            tokens.append(self.headers["x-key"])
            self.send_response(200 if self.path.startswith("/v1/") else 404)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Takes)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}", taken, tokens
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("name", STARTS)
def test_every_span_has_its_place_in_one_trace(name: str) -> None:
    (resource,) = otlp.spans(STARTS[name], began_s=1e9)["resourceSpans"]
    found = resource["scopeSpans"][0]["spans"]
    ids = [span["spanId"] for span in found]

    assert len({span["traceId"] for span in found}) == 1
    assert len(set(ids)) == len(ids)
    assert {span.get("parentSpanId", ids[0]) for span in found} <= set(ids)
    assert all(int(span["startTimeUnixNano"]) <= int(span["endTimeUnixNano"]) for span in found)
    assert all(len(span["traceId"]) == 32 and len(span["spanId"]) == 16 for span in found)


def test_the_start_and_its_first_answer_are_cold() -> None:
    found = spans(STARTS["ten_minutes"])

    assert attributes(found["cold start"])["faas.coldstart"] is True
    (resource,) = otlp.spans(STARTS["ten_minutes"], began_s=1e9)["resourceSpans"]
    answers = [span for span in resource["scopeSpans"][0]["spans"] if span["name"] == "animate"]
    assert [attributes(span)["faas.coldstart"] for span in answers] == [True, False, False]


def test_a_part_is_a_child_of_its_step_and_a_dependency_is_a_link() -> None:
    found = spans(STARTS["tts"])

    assert found["numpy"]["parentSpanId"] == found["import:torch"]["spanId"]
    assert found["fetch:f5"]["spanId"] in [link["spanId"] for link in found["load:load"]["links"]]


def test_moments_are_counted_from_when_the_process_started() -> None:
    trace = STARTS["tts"]

    assert trace.started_at == "2026-09-21T14:13:20.250Z"
    (resource,) = otlp.spans(trace)["resourceSpans"]
    assert resource["scopeSpans"][0]["spans"][0]["startTimeUnixNano"] == "1790000000250000000"


def test_a_trace_without_a_calendar_is_refused() -> None:
    with pytest.raises(UsageError, match="no place on a calendar"):
        otlp.spans(replace(STARTS["tts"], started_at=None))


def test_a_failure_is_an_error_with_its_reason() -> None:
    found = spans(STARTS["failed_load"])

    assert found["load:load"]["status"]["code"] == 2
    assert "out of memory" in found["load:load"]["status"]["message"]
    assert found["cold start"]["status"]["code"] == 2


def test_a_start_is_counted_and_its_duration_measured() -> None:
    (resource,) = otlp.measures(STARTS["tts"])["resourceMetrics"]
    found = {metric["name"]: metric for metric in resource["scopeMetrics"][0]["metrics"]}

    assert found["faas.coldstarts"]["sum"]["dataPoints"][0]["asInt"] == "1"
    assert found["faas.init_duration"]["histogram"]["dataPoints"][0]["sum"] == pytest.approx(12.31)
    assert found["faas.init_duration"]["unit"] == "s"


def test_both_go_to_a_collector_with_the_headers_it_asks_for(
    collector: tuple[str, dict[str, Any], list[str | None]],
) -> None:
    address, taken, tokens = collector

    otlp.send(STARTS["tts"], address + "/", otlp.headers_of("x-key=a%20b, other=1"))

    assert set(taken) == {"/v1/traces", "/v1/metrics"}
    assert tokens == ["a b", "a b"]
    assert taken["/v1/traces"] == otlp.spans(STARTS["tts"])


def test_a_collector_that_refuses_or_is_not_there_is_named(
    collector: tuple[str, dict[str, Any], list[str | None]],
) -> None:
    address, _, _ = collector

    with pytest.raises(PlatformError, match="answered 404"):
        otlp.send(STARTS["tts"], address + "/elsewhere", {})
    with pytest.raises(PlatformError, match="cannot be reached"):
        otlp.send(STARTS["tts"], "http://127.0.0.1:1", {})
    with pytest.raises(UsageError, match="is no collector"):
        otlp.send(STARTS["tts"], "file:///etc/passwd", {})


def test_what_opentelemetry_itself_reads_is_what_was_written() -> None:
    """Their protobuf classes parse it, ids aside: OTLP/JSON has those in hex where protobuf has base64."""
    service = pytest.importorskip(
        "opentelemetry.proto.collector.trace.v1.trace_service_pb2", reason="opentelemetry-proto is absent"
    )
    json_format = pytest.importorskip("google.protobuf.json_format")

    read = json_format.ParseDict(otlp.spans(STARTS["tts"]), service.ExportTraceServiceRequest())

    assert len(read.resource_spans[0].scope_spans[0].spans) == len(spans(STARTS["tts"]))
