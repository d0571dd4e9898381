"""Spell a start as OpenTelemetry's own JSON (OTLP), and send it to a collector.

One span a step, its parts as children, dependencies as links; `faas.coldstart` and its kin as the semantic
conventions name them. OTLP/JSON is a stable format that every collector takes over HTTP, so no SDK is needed.
"""

from __future__ import annotations

import calendar
import hashlib
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, TypeAlias

from coldstart_sdk.errors import PlatformError, UsageError
from coldstart_sdk.events import Outcome
from coldstart_sdk.trace import metrics
from coldstart_sdk.trace.model import Request, Span, Trace

_Json: TypeAlias = dict[str, Any]

_INTERNAL, _SERVER = 1, 2
"""Kinds of span."""
_OK, _ERROR = 1, 2
_DELTA = 1
"""Temporality: this start's own counts, not a running total."""
_TIMEOUT_S = 10.0
_FAILED = frozenset({Outcome.FAILED, Outcome.TIMED_OUT})


def spans(trace: Trace, *, began_s: float | None = None) -> _Json:
    """The body of a request to `/v1/traces`; `began_s` is when the process started, seconds since 1970."""
    clock = _Clock(trace, began_s)
    return {
        "resourceSpans": [
            {
                "resource": {"attributes": _resource(trace)},
                "scopeSpans": [{"scope": _scope(trace), "spans": list(_spans(trace, clock))}],
            }
        ]
    }


def measures(trace: Trace, *, began_s: float | None = None) -> _Json:
    """The body of a request to `/v1/metrics`: how many cold starts, and how long they took."""
    clock = _Clock(trace, began_s)
    ready_s = trace.anchors.ready_s
    told: list[_Json] = [
        _sum("faas.coldstarts", "{coldstart}", 1, trace, clock),
        _sum("faas.errors", "{error}", int(ready_s is None), trace, clock),
    ]
    if ready_s is not None:
        told.append(_histogram("faas.init_duration", "s", [ready_s], trace, clock))
    done = [request.duration_s for request in trace.requests if request.outcome is Outcome.DONE]
    if done:
        told.append(_histogram("faas.invoke_duration", "s", done, trace, clock))
    return {
        "resourceMetrics": [
            {
                "resource": {"attributes": _resource(trace)},
                "scopeMetrics": [{"scope": _scope(trace), "metrics": told}],
            }
        ]
    }


def send(trace: Trace, endpoint: str, headers: Mapping[str, str]) -> None:
    """Both, to the collector at that address, such as http://localhost:4318."""
    _post(f"{endpoint.rstrip('/')}/v1/traces", spans(trace), headers)
    _post(f"{endpoint.rstrip('/')}/v1/metrics", measures(trace), headers)


def headers_of(text: str) -> dict[str, str]:
    """OTEL_EXPORTER_OTLP_HEADERS: `name=value,name=value`, values percent-encoded."""
    from urllib.parse import unquote  # noqa: PLC0415 - only where there are headers

    pairs = [part.partition("=") for part in text.split(",") if part.strip()]
    return {name.strip(): unquote(value.strip()) for name, _, value in pairs}


class _Clock:
    """From seconds after the process's start to nanoseconds since 1970."""

    def __init__(self, trace: Trace, began_s: float | None) -> None:
        began = _began_ns(trace) if began_s is None else round(began_s * 1e9)
        if began is None:
            raise UsageError(
                "this trace does not say when its process started, so it has no place on a calendar",
                fix="Record it again: the time is told by whoever starts the worker.",
            )
        self._began_ns = began

    def ns(self, at_s: float) -> str:
        return str(self._began_ns + round(at_s * 1e9))


def _began_ns(trace: Trace) -> int | None:
    with suppress(ValueError):
        whole, _, rest = (trace.started_at or "").removesuffix("Z").partition(".")
        seconds = calendar.timegm(time.strptime(whole, "%Y-%m-%dT%H:%M:%S"))
        return seconds * 10**9 + int((rest or "0").ljust(9, "0")[:9])
    return None


def _spans(trace: Trace, clock: _Clock) -> Iterator[_Json]:
    root = _id(trace, "start")
    steps = {step.name: step for step in trace.steps}
    yield {
        **_head(trace, "cold start", "start", None, _SERVER),
        **_times(min(0.0, trace.anchors.request_s or 0.0), trace.anchors.ready_s or trace.end_s, clock),
        "attributes": _attributes(
            {
                "faas.coldstart": True,
                "coldstart.state": trace.state.value,
                "coldstart.ready_s": trace.anchors.ready_s,
                "coldstart.lower_bound_s": metrics.lower_bound_s(trace),
                "coldstart.degraded": list(trace.degraded) or None,
            }
        ),
        "events": [
            {"timeUnixNano": clock.ns(at_s), "name": name.removesuffix("_s")}
            for name, at_s in vars(trace.anchors).items()
            if at_s is not None
        ],
        "status": _status(failed=trace.anchors.ready_s is None, reason=trace.reason),
    }
    for index, span in enumerate(trace.spans):
        owner = steps.get(span.parent or "")
        key = span.name if span.parent is None else f"{span.parent}/{index}"
        parent = _id(trace, owner.name) if owner else root
        yield {
            **_head(trace, span.name, key, parent, _INTERNAL),
            **_times(span.start_s, span.end_s, clock),
            "attributes": _of_span(span),
            "links": [_link(trace, name) for name in span.after if name in steps],
            "status": _status(failed=span.outcome in _FAILED, reason=span.reason),
        }
    for request in trace.requests:
        yield _of_request(trace, request, clock)


def _of_request(trace: Trace, request: Request, clock: _Clock) -> _Json:
    is_first = request is metrics.first_answer(trace)
    return {
        **_head(trace, request.endpoint, f"request {request.id}", None, _SERVER),
        **_times(request.start_s, request.end_s, clock),
        "attributes": _attributes(
            {
                "faas.coldstart": is_first,
                "faas.invocation_id": request.id,
                "coldstart.queued_s": request.queued_s,
                "coldstart.first_byte_s": request.first_s,
            }
        ),
        "links": [_link(trace, "start")] if is_first else [],
        "status": _status(failed=request.outcome is not Outcome.DONE, reason=request.reason),
    }


def _of_span(span: Span) -> list[_Json]:
    return _attributes(
        {
            "coldstart.resource": span.resource.value,
            "coldstart.critical": span.critical,
            "coldstart.outcome": span.outcome.value,
            "coldstart.stage": span.stage.value if span.stage else None,
            "coldstart.bytes": span.bytes,
            "coldstart.tier": span.tier,
            "coldstart.cpu_s": span.cpu_s,
            **{f"coldstart.{name}": count for name, count in span.counts.items()},
        }
    )


def _resource(trace: Trace) -> list[_Json]:
    return _attributes(
        {
            "service.name": trace.name or "coldstart",
            "service.version": trace.spec_digest,
            "faas.name": trace.name,
            "faas.version": trace.spec_digest,
            "cloud.platform": trace.backend,
            "telemetry.sdk.name": "coldstart",
            "telemetry.sdk.language": "python",
            "telemetry.sdk.version": trace.sdk,
            **{f"coldstart.machine.{name}": fact for name, fact in trace.machine.items()},
        }
    )


def _scope(trace: Trace) -> _Json:
    return {"name": "coldstart_sdk", "version": trace.sdk or ""}


def _head(trace: Trace, name: str, key: str, parent: str | None, kind: int) -> _Json:
    return {
        "traceId": _trace_id(trace),
        "spanId": _id(trace, key),
        **({"parentSpanId": parent} if parent else {}),
        "name": name,
        "kind": kind,
    }


def _times(start_s: float, end_s: float, clock: _Clock) -> _Json:
    return {"startTimeUnixNano": clock.ns(start_s), "endTimeUnixNano": clock.ns(max(start_s, end_s))}


def _link(trace: Trace, key: str) -> _Json:
    return {"traceId": _trace_id(trace), "spanId": _id(trace, key)}


def _status(*, failed: bool, reason: str | None) -> _Json:
    return {"code": _ERROR, **({"message": reason} if reason else {})} if failed else {"code": _OK}


def _trace_id(trace: Trace) -> str:
    """The same for the same start, so that sending it twice does not make two of it."""
    start = f"{trace.name} {trace.spec_digest} {trace.started_at} {trace.end_s}"
    return hashlib.sha256(start.encode()).hexdigest()[:32]


def _id(trace: Trace, key: str) -> str:
    return hashlib.sha256(f"{_trace_id(trace)} {key}".encode()).hexdigest()[:16]


def _sum(name: str, unit: str, count: int, trace: Trace, clock: _Clock) -> _Json:
    point = {**_window(trace, clock), "asInt": str(count)}
    return {
        "name": name,
        "unit": unit,
        "sum": {"aggregationTemporality": _DELTA, "isMonotonic": True, "dataPoints": [point]},
    }


def _histogram(name: str, unit: str, figures: Sequence[float], trace: Trace, clock: _Clock) -> _Json:
    point = {
        **_window(trace, clock),
        "count": str(len(figures)),
        "sum": sum(figures),
        "min": min(figures),
        "max": max(figures),
    }
    return {
        "name": name,
        "unit": unit,
        "histogram": {"aggregationTemporality": _DELTA, "dataPoints": [point]},
    }


def _window(trace: Trace, clock: _Clock) -> _Json:
    return {"startTimeUnixNano": clock.ns(0.0), "timeUnixNano": clock.ns(max(0.0, trace.end_s))}


def _attributes(known: Mapping[str, object]) -> list[_Json]:
    return [{"key": key, "value": _value(value)} for key, value in known.items() if value is not None]


def _value(value: object) -> _Json:
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        return {"intValue": str(value)}
    if isinstance(value, float):
        return {"doubleValue": value}
    if isinstance(value, list):
        return {"arrayValue": {"values": [_value(item) for item in value]}}
    return {"stringValue": str(value)}


def _post(address: str, body: _Json, headers: Mapping[str, str]) -> None:
    import urllib.error  # noqa: PLC0415 - only where something is sent
    import urllib.request  # noqa: PLC0415 - as above

    if not address.startswith(("http://", "https://")):
        raise UsageError(f"{address[:60]!r} is no collector", fix="Give its address: http://localhost:4318.")
    request = urllib.request.Request(  # noqa: S310 - checked just above
        address,
        data=json.dumps(body).encode(),
        headers={"Content-Type": "application/json", **headers},
    )
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:  # noqa: S310 - as above
            answer.read()
    except urllib.error.HTTPError as refused:
        raise PlatformError(
            f"the collector answered {refused.code}", where=address, fix="Look at the collector's own log."
        ) from refused
    except OSError as failed:
        raise PlatformError(
            f"the collector cannot be reached: {failed}",
            where=address,
            fix="Set OTEL_EXPORTER_OTLP_ENDPOINT to its HTTP port, usually 4318.",
        ) from failed
