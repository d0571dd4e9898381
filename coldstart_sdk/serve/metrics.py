"""A worker's figures, counted as its events come in, in the text that Prometheus reads."""

from __future__ import annotations

import bisect
import collections
import itertools
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from coldstart_sdk.events import Event, Outcome, RequestEnded, SpanRecorded, State, StepEnded, StepStarted

CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"
BOUNDS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)


@dataclass
class Histogram:
    """How many took how long."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS_S) + 1))
    total_s: float = 0.0

    def add(self, took_s: float) -> None:
        self.counts[bisect.bisect_left(BOUNDS_S, took_s)] += 1
        self.total_s += took_s


@dataclass(frozen=True, kw_only=True)
class Gauges:
    """What is read at the moment that somebody asks; None: nobody knows."""

    state: State
    degraded: tuple[str, ...]
    queued: int
    running: int
    cold_start_s: float | None
    model_load_s: float | None
    warm_request_s: float | None
    gpu_memory_bytes: int | None


class Metrics:
    """A sink that counts."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests: collections.Counter[tuple[str, Outcome]] = collections.Counter()
        self._replies: collections.Counter[tuple[str, int]] = collections.Counter()
        self._took: dict[str, Histogram] = collections.defaultdict(Histogram)
        self._first: dict[str, Histogram] = collections.defaultdict(Histogram)
        self._queued: dict[str, Histogram] = collections.defaultdict(Histogram)
        self._fetched: collections.Counter[tuple[str, str]] = collections.Counter()
        self._started: dict[str, float] = {}
        self._steps: dict[str, float] = {}

    def __call__(self, event: Event) -> None:
        with self._lock:
            match event:
                case RequestEnded():
                    self._count_request(event)
                case SpanRecorded() if event.bytes and event.tier:
                    self._fetched[event.step, event.tier] += event.bytes
                case StepStarted():
                    self._started[event.step] = event.at_s
                case StepEnded() if event.step in self._started:
                    self._steps[event.step] = event.at_s - self._started.pop(event.step)
                case _:
                    pass

    def replied(self, route: str, status: int) -> None:
        """Count an HTTP reply."""
        self._replies[route, status] += 1

    def render(self, gauges: Gauges) -> str:
        """The whole page."""
        with self._lock:
            return "".join(f"{line}\n" for line in self._lines(gauges))

    def _count_request(self, event: RequestEnded) -> None:
        self._requests[event.endpoint, event.outcome] += 1
        if event.first_s is not None:
            self._first[event.endpoint].add(event.first_s)
        if event.outcome is Outcome.DONE:
            self._took[event.endpoint].add(event.at_s - event.started_s)
            self._queued[event.endpoint].add(event.queued_s)

    def _lines(self, gauges: Gauges) -> Iterator[str]:
        yield from _gauge("cold_start_seconds", "Process start to READY.", gauges.cold_start_s)
        yield from _gauge("model_load_seconds", "Time in which a load hook ran.", gauges.model_load_s)
        yield from _gauge(
            "warm_request_seconds", "Median of the latest requests after the first.", gauges.warm_request_s
        )
        yield from _gauge("gpu_memory_bytes", "In use on the device.", gauges.gpu_memory_bytes)
        yield from _labelled(
            "state", "1 for the state that the worker is in.", "gauge", _states(gauges.state)
        )
        yield from _labelled(
            "degraded",
            "Optional steps that did not end well.",
            "gauge",
            [({"step": step}, 1) for step in gauges.degraded],
        )
        yield from _labelled(
            "step_seconds",
            "How long each step of the start took.",
            "gauge",
            [({"step": step}, took_s) for step, took_s in self._steps.items()],
        )
        yield from _labelled(
            "fetched_bytes_total",
            "Bytes of weights, by the tier that served them.",
            "counter",
            [({"step": step, "tier": tier}, count) for (step, tier), count in self._fetched.items()],
        )
        yield from _gauge("queue_length", "Requests that wait for a place.", gauges.queued)
        yield from _gauge("requests_in_flight", "Requests that have a place.", gauges.running)
        yield from _labelled(
            "requests_total",
            "Calls of endpoints, by how they ended.",
            "counter",
            [({"endpoint": name, "outcome": how.value}, n) for (name, how), n in self._requests.items()],
        )
        yield from _labelled(
            "http_replies_total",
            "Replies, by route and status.",
            "counter",
            [({"route": route, "status": str(code)}, n) for (route, code), n in self._replies.items()],
        )
        yield from _histogram("request_seconds", "Acceptance to the end of the answer.", self._took)
        yield from _histogram("first_byte_seconds", "Acceptance to the answer's first byte.", self._first)
        yield from _histogram("queue_seconds", "Acceptance to a place.", self._queued)


def _states(now_in: State) -> list[tuple[Mapping[str, str], float]]:
    return [({"state": state.value}, int(state is now_in)) for state in State]


def _gauge(name: str, about: str, value: float | None) -> Iterator[str]:
    if value is not None:
        yield from _labelled(name, about, "gauge", [({}, value)])


def _labelled(
    name: str, about: str, kind: str, samples: Iterable[tuple[Mapping[str, str], float]]
) -> Iterator[str]:
    yield from _head(name, about, kind)
    for labels, value in samples:
        yield _sample(name, labels, value)


def _histogram(name: str, about: str, endpoints: Mapping[str, Histogram]) -> Iterator[str]:
    yield from _head(name, about, "histogram")
    for endpoint, seen in endpoints.items():
        bounds = (*map(str, BOUNDS_S), "+Inf")
        for bound, count in zip(bounds, itertools.accumulate(seen.counts), strict=True):
            yield _sample(f"{name}_bucket", {"endpoint": endpoint, "le": bound}, count)
        yield _sample(f"{name}_sum", {"endpoint": endpoint}, seen.total_s)
        yield _sample(f"{name}_count", {"endpoint": endpoint}, sum(seen.counts))


def _head(name: str, about: str, kind: str) -> tuple[str, str]:
    return f"# HELP coldstart_{name} {about}", f"# TYPE coldstart_{name} {kind}"


def _sample(name: str, labels: Mapping[str, str], value: float) -> str:
    said = ",".join(f'{label}="{_escape(text)}"' for label, text in labels.items())
    number = str(value) if isinstance(value, int) else f"{value:.6f}"
    return f"coldstart_{name}{{{said}}} {number}" if said else f"coldstart_{name} {number}"


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
