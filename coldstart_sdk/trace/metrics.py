"""The figures of a start. Where a moment was not seen its figure is None, never a guess."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from coldstart_sdk.events import Outcome, Resource
from coldstart_sdk.plan import StepKind
from coldstart_sdk.trace.model import CORES, GPU_MEMORY, Request, Span, Trace
from coldstart_sdk.trace.path import BEGINNING, before_ready


@dataclass(frozen=True, kw_only=True)
class FourTimes:
    """What operators of a cold service ask to be told."""

    cold_start_s: float | None
    warm_s: float | None
    """Median latency of the requests after the first."""
    gpu_memory_bytes: int | None
    model_load_s: float | None
    """Time in which at least one `load` ran."""


def ready_s(trace: Trace) -> float | None:
    """From the process's start to READY: what the SDK can do something about."""
    return trace.anchors.ready_s


def ready_from_container_s(trace: Trace) -> float | None:
    return _between(trace.anchors.container_s, trace.anchors.ready_s)


def cold_first_byte_s(trace: Trace) -> float | None:
    """What the first caller felt: queue, platform and start together."""
    return _between(trace.anchors.request_s, trace.anchors.first_byte_s)


def platform_s(trace: Trace) -> float | None:
    """From the request to the process's start: the platform's share."""
    return _between(trace.anchors.request_s, trace.anchors.process_s)


def attributed(trace: Trace) -> float | None:
    """The share of the time to READY in which at least one named span ran, 0 to 1."""
    until_s = trace.anchors.ready_s
    if until_s is None:
        return None
    if until_s <= 0:
        return 1.0
    spans = (
        (max(0.0, span.start_s), min(until_s, span.end_s))
        for span in trace.spans
        if span.resource is not Resource.WAIT
    )
    return min(1.0, union_s(spans) / until_s)


def lower_bound_s(
    trace: Trace, *, cores: float | None = None, link_bytes_per_s: float | None = None
) -> float | None:
    """No start with these steps, each as long as it was, is shorter than this.

    What came before the first step, and then the longest of: a path of dependencies, the CPU time over the
    cores, the bytes over the link. Cores are the machine's if it told them; the link counts only if given.
    """
    if trace.anchors.ready_s is None:
        return None
    steps = before_ready(trace)
    beginning = [step for step in steps if step.name in BEGINNING]
    rest = [step for step in steps if step not in beginning]
    bounds = [_longest_path_s(rest)]
    cores = cores or _number(trace, CORES)
    if cores:
        bounds.append(sum(step.cpu_s or 0.0 for step in rest) / cores)
    if link_bytes_per_s:
        bounds.append(
            sum(step.bytes or 0 for step in rest if step.resource is Resource.NET) / link_bytes_per_s
        )
    return sum(step.duration_s for step in beginning) + max(bounds)


def first_answer(trace: Trace) -> Request | None:
    """The request that was answered first."""
    return min(_answered(trace), key=lambda request: request.end_s, default=None)


def first_request_penalty(trace: Trace) -> float | None:
    """How many times slower the first answer was than the later ones' median, time before READY left out."""
    return penalty(trace, sorted(_answered(trace), key=lambda request: request.end_s))


def penalty(trace: Trace, answered: Sequence[Request]) -> float | None:
    """The same of some requests, in order."""
    if len(answered) <= 1:
        return None
    first, *later = answered
    warm_s = _median([request.duration_s for request in later])
    return worked_s(trace, first) / warm_s if warm_s else None


def worked_s(trace: Trace, request: Request) -> float:
    """How long a request took once both it and the worker were there."""
    return request.end_s - max(request.start_s, trace.anchors.ready_s or request.start_s)


def four_times(trace: Trace) -> FourTimes:
    first = first_answer(trace)
    later = [request.duration_s for request in _answered(trace) if request is not first]
    memory = _number(trace, GPU_MEMORY)
    loads = [step for step in trace.steps if step.name.partition(":")[0] == StepKind.LOAD.value]
    return FourTimes(
        cold_start_s=trace.anchors.ready_s,
        warm_s=_median(later) if later else None,
        gpu_memory_bytes=int(memory) if memory is not None else None,
        model_load_s=union_s((load.start_s, load.end_s) for load in loads) if loads else None,
    )


def union_s(stretches: Iterable[tuple[float, float]]) -> float:
    """How long at least one of them lasted."""
    total_s, covered_s = 0.0, float("-inf")
    for start_s, end_s in sorted(stretches):
        total_s += max(0.0, end_s - max(start_s, covered_s))
        covered_s = max(covered_s, end_s)
    return total_s


def _longest_path_s(steps: list[Span]) -> float:
    longest: dict[str, float] = {}
    for step in sorted(steps, key=lambda step: (step.end_s, step.start_s)):
        before_s = max((longest.get(name, 0.0) for name in step.after), default=0.0)
        longest[step.name] = max(longest.get(step.name, 0.0), before_s + step.duration_s)
    return max(longest.values(), default=0.0)


def _median(figures: list[float]) -> float:
    import statistics  # noqa: PLC0415 - brings fractions and decimal, which a start has no use for

    return statistics.median(figures)


def _answered(trace: Trace) -> list[Request]:
    return [request for request in trace.requests if request.outcome is Outcome.DONE]


def _number(trace: Trace, fact: str) -> float | None:
    try:
        return float(trace.machine[fact])
    except (KeyError, ValueError):
        return None


def _between(start_s: float | None, end_s: float | None) -> float | None:
    return None if start_s is None or end_s is None else end_s - start_s
