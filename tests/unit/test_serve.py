"""Parts of the HTTP side that need no socket."""

from __future__ import annotations

from typing import Any

import pytest

from coldstart_sdk.events import Outcome, RequestEnded, Resource, SpanRecorded, State
from coldstart_sdk.serve import accept, openapi
from coldstart_sdk.serve.asgi import Message, Request
from coldstart_sdk.serve.bodies import Room
from coldstart_sdk.serve.metrics import Gauges, Metrics
from coldstart_sdk.spec import Parameter
from coldstart_sdk.wire.errors import CallError
from tests.builders import a_spec, an_endpoint


async def _nothing(*_: Message) -> Message:
    return {}


def _a_request(**scope: Any) -> Request:  # noqa: ANN401 - fields of a scope
    given = {"method": "GET", "path": "/x", "query_string": b"", "headers": [], **scope}
    return Request(given, _nothing, _nothing)  # type: ignore[arg-type] # it neither sends nor receives


@pytest.mark.parametrize(
    ("root", "path", "below"),
    [
        ("", "/speak", "/speak"),
        ("/app", "/app/speak", "/speak"),
        ("/app", "/app", "/"),
        ("/app", "/speak", "/speak"),
    ],
)
def test_a_path_counts_from_where_the_app_is_mounted(root: str, path: str, below: str) -> None:
    assert _a_request(root_path=root, path=path).path == below


def test_all_bodies_together_have_a_bound_and_give_their_room_back() -> None:
    room, first, second = Room(100), _a_request(), _a_request()
    room.take(first, 60)

    with pytest.raises(CallError) as busy:
        room.take(second, 60)
    room.give_back(first)
    room.take(second, 60)

    assert busy.value.fault.status == 429


@pytest.mark.parametrize(
    ("header", "raw"),
    [
        ("", False),
        ("*/*", False),
        ("audio/*;q=0.5, */*", True),
        ("application/json, audio/wav", False),
        ("application/json;q=0.5, audio/wav", True),
        ("AUDIO/WAV", True),
        ("audio/wavx", False),
    ],
)
def test_raw_bytes_are_sent_only_to_who_prefers_their_type(header: str, raw: bool) -> None:  # noqa: FBT001 - a table's column
    assert accept.wants_raw(header, "audio/wav") is raw


def _with_definition(name: str, kind: str) -> dict[str, Any]:
    return {"$ref": f"#/$defs/{name}", "$defs": {name: {"type": kind}}}


def _parameter(schema: dict[str, Any]) -> Parameter:
    return Parameter(name="p", required=True, default=None, schema=schema, text=False, medium=None)


def test_two_types_of_one_name_stay_apart_in_openapi() -> None:
    spec = a_spec(
        an_endpoint("one", parameters=(_parameter(_with_definition("Voice", "string")),)),
        an_endpoint("two", parameters=(_parameter(_with_definition("Voice", "integer")),)),
        an_endpoint("three", parameters=(_parameter(_with_definition("Voice", "string")),)),
        an_endpoint("four", parameters=(_parameter(_with_definition("Error", "string")),)),
    )
    document = openapi.describe(spec, version="1", needs_token=False)
    schemas = document["components"]["schemas"]

    def kind_of(endpoint: str) -> str:
        body = document["paths"][f"/{endpoint}"]["post"]["requestBody"]["content"]["application/json"]
        reference = body["schema"]["properties"]["p"]["$ref"]
        return str(schemas[reference.rpartition("/")[2]]["type"])

    assert [kind_of(name) for name in ("one", "two", "three", "four")] == [
        "string",
        "integer",
        "string",
        "string",
    ]
    assert schemas["Error"]["required"] == ["error"]


NOTHING = Gauges(
    state=State.STARTING,
    degraded=(),
    queued=0,
    running=0,
    cold_start_s=None,
    model_load_s=None,
    warm_request_s=None,
    gpu_memory_bytes=None,
)


def test_what_nobody_knows_is_left_out_of_the_metrics() -> None:
    page = Metrics().render(NOTHING)

    assert "coldstart_cold_start_seconds" not in page
    assert "coldstart_gpu_memory_bytes" not in page
    assert 'coldstart_state{state="starting"} 1' in page


def test_bytes_are_counted_by_the_tier_that_served_them() -> None:
    metrics = Metrics()
    for count in (3, 4):
        metrics(
            SpanRecorded(
                at_s=0.0,
                end_s=1.0,
                step='fetch:"x"\n',
                name="a",
                resource=Resource.NET,
                bytes=count,
                tier="store",
            )
        )

    assert 'coldstart_fetched_bytes_total{step="fetch:\\"x\\"\\n",tier="store"} 7' in metrics.render(NOTHING)


def test_only_answers_count_towards_the_time_of_answers() -> None:
    metrics = Metrics()
    for outcome in (Outcome.DONE, Outcome.FAILED, Outcome.REFUSED):
        metrics(
            RequestEnded(
                at_s=2.0, id="r", endpoint="speak", started_s=1.0, queued_s=0.0, first_s=None, outcome=outcome
            )
        )
    page = metrics.render(NOTHING)

    assert 'coldstart_request_seconds_count{endpoint="speak"} 1' in page
    assert 'coldstart_requests_total{endpoint="speak",outcome="failed"} 1' in page
