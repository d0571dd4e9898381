"""Events become a trace, whatever became of the run."""

from __future__ import annotations

from dataclasses import replace

import pytest

from coldstart_sdk.errors import UsageError
from coldstart_sdk.events import (
    Anchor,
    AnchorSet,
    Event,
    Noted,
    Outcome,
    Resource,
    State,
    StateChanged,
    StepEnded,
    StepProgress,
    StepStarted,
)
from coldstart_sdk.plan import Work
from coldstart_sdk.trace import metrics
from coldstart_sdk.trace.build import build
from coldstart_sdk.trace.model import STILL_RUNNING, Span, Trace, Tried
from tests.unit.trace.starts import (
    BOOT_S,
    STARTS,
    TTS_STEPS,
    WALL_S,
    a_plan,
    a_step,
    answered,
    began,
    died_fetching,
    facts,
    failed,
    failed_load,
    fetched,
    many_steps,
    ran,
    ready,
    tts,
)


def span(trace: Trace, name: str) -> Span:
    (only,) = [span for span in trace.spans if span.name == name]
    return only


def test_moments_count_from_the_start_of_the_process() -> None:
    trace = tts()

    assert trace.anchors.process_s == 0
    assert trace.anchors.ready_s == pytest.approx(12.31)
    assert span(trace, "fetch:f5").start_s == pytest.approx(0.11)
    assert trace.anchors.first_byte_s == pytest.approx(12.53)


def test_a_plan_names_the_start_and_the_wall_clock_dates_it() -> None:
    trace = tts()

    assert (trace.name, trace.backend, trace.sdk) == ("f5-tts", "local", "0.1.0")
    assert trace.started_at == "2026-09-21T14:13:20.250Z"


def test_the_time_before_the_first_step_has_names() -> None:
    trace = tts()

    interpreter, sdk = span(trace, "interpreter"), span(trace, "sdk")
    assert [interpreter.start_s, interpreter.end_s] == pytest.approx([0, 0.05])
    assert [sdk.start_s, sdk.end_s] == pytest.approx([0.05, 0.11])


def test_nearly_all_of_the_time_to_ready_is_attributed() -> None:
    share = metrics.attributed(tts())

    assert share is not None
    assert 0.95 <= share <= 1


def test_time_in_which_nothing_ran_is_not_attributed() -> None:
    trace = build(
        [*began(sdk_s=1), *ran("load:load", 2, 4), *ready(8)], a_plan(a_step("load:load")), wall_start=None
    )

    assert metrics.attributed(trace) == pytest.approx(0.5)


def test_an_unread_process_start_is_said_and_not_guessed() -> None:
    events = [AnchorSet(at_s=BOOT_S + 1, anchor=Anchor.SDK), *ran("load:load", 2, 4), *ready(4)]

    trace = build(events, None, wall_start=None)

    assert trace.anchors.process_s is None
    assert trace.anchors.ready_s == pytest.approx(3)
    assert [span.name for span in trace.spans] == ["sdk", "load:load"]
    assert "could not be read" in trace.notes[-1].text


def test_a_fetch_tells_its_bytes_its_tier_and_the_misses_before() -> None:
    vocos = span(tts(), "fetch:vocos")

    assert (vocos.bytes, vocos.tier, vocos.resource) == (54_000_000, "origin", Resource.NET)
    assert vocos.tried == (
        Tried(tier="cache", hit=False),
        Tried(tier="store", hit=False),
        Tried(tier="origin", hit=True),
    )


def test_bytes_from_a_disk_of_this_machine_are_no_network() -> None:
    events = [*began(), *fetched("fetch:f5", 0.1, 0.2, 10_000, "cache"), *ready(0.2)]

    assert span(build(events, None, wall_start=None), "fetch:f5").resource is Resource.DISK


def test_progress_is_thinned_to_what_can_be_read_and_keeps_its_ends() -> None:
    counts = [
        StepProgress(at_s=BOOT_S + 1 + i / 1000, step="fetch:f5", done_bytes=i, total_bytes=None)
        for i in range(5000)
    ]
    started, ended = ran("fetch:f5", 1, 7)

    fetch = span(build([*began(), started, *counts, ended], None, wall_start=None), "fetch:f5")

    assert len(fetch.progress) <= 64
    assert (fetch.progress[0][1], fetch.progress[-1][1], fetch.bytes) == (0, 4999, 4999)


def test_work_on_the_device_is_told_from_work_on_the_processor() -> None:
    trace = tts()

    assert span(trace, "load:load").resource is Resource.GPU
    assert span(trace, "import:torch").resource is Resource.CPU


def test_a_dependency_that_left_no_event_is_replaced_by_what_it_waited_for() -> None:
    plan = a_plan(
        a_step("fetch:f5"), a_step("load:load", "fetch:f5"), a_step("warmup:warm", "load:load", "fetch:f5")
    )
    events = [*began(), *ran("fetch:f5", 1, 2), *ran("warmup:warm", 2, 3), *ready(3)]

    assert span(build(events, plan, wall_start=None), "warmup:warm").after == ("fetch:f5",)


def test_parts_of_a_step_are_kept_under_it() -> None:
    part = span(tts(), "numpy")

    assert (part.parent, part.resource) == ("import:torch", Resource.CPU)
    assert part not in tts().steps


def test_a_step_whose_end_nobody_saw_ends_at_the_last_event() -> None:
    trace = died_fetching()

    fetch = span(trace, "fetch:f5")
    assert fetch.end_s == pytest.approx(8.3)
    assert (fetch.outcome, fetch.reason) == (Outcome.FAILED, STILL_RUNNING)
    assert trace.state is State.FAILED
    assert "load:load" in trace.never_started


def test_an_open_step_is_not_blamed_for_the_failure_of_another() -> None:
    events = [
        *began(),
        StepStarted(at_s=BOOT_S + 1, step="fetch:f5"),
        *ran("load:load", 1, 2, Outcome.FAILED, "boom"),
        *failed(2, "boom"),
    ]

    assert span(build(events, None, wall_start=None), "fetch:f5").outcome is Outcome.CANCELLED


def test_a_start_still_under_way_has_open_steps_and_no_failure() -> None:
    trace = build(
        [*began(), StepStarted(at_s=BOOT_S + 1, step="load:load")], a_plan(*TTS_STEPS), wall_start=None
    )

    assert span(trace, "load:load").outcome is Outcome.CANCELLED
    assert (trace.state, trace.reason, trace.anchors.ready_s) == (State.STARTING, None, None)


def test_a_failure_carries_its_reason_place_and_mend() -> None:
    trace = failed_load()

    assert trace.reason is not None
    assert "out of memory" in trace.reason
    assert (trace.where, trace.fix is not None) == ("app.py:31 in F5.load", True)


def test_optional_steps_that_ended_badly_are_named() -> None:
    assert many_steps().degraded == ("warmup:long",)


def test_a_step_that_was_skipped_takes_no_time() -> None:
    skipped = StepEnded(at_s=BOOT_S + 2, step="warmup:warm", outcome=Outcome.SKIPPED, reason="COLDSTART_SKIP")

    trace = build([*began(), *ran("load:load", 1, 2), skipped, *ready(2)], None, wall_start=None)

    warm = span(trace, "warmup:warm")
    assert (warm.duration_s, warm.outcome, warm.reason) == (0, Outcome.SKIPPED, "COLDSTART_SKIP")


def test_a_step_that_ran_twice_is_there_twice() -> None:
    trace = build([*began(), *ran("restored:move", 1, 2), *ran("restored:move", 5, 6)], None, wall_start=None)

    assert [span.start_s for span in trace.steps if span.name == "restored:move"] == [1, 5]


def test_notes_come_from_the_plan_and_the_run() -> None:
    trace = build([*began(), Noted(at_s=BOOT_S + 1, message="slow disk")], a_plan(), wall_start=None)

    assert [(note.about, note.text) for note in trace.notes] == [("run", "slow disk")]


def test_no_events_make_a_trace_of_nothing() -> None:
    trace = build([], None, wall_start=None)

    assert (trace.state, trace.end_s, trace.spans) == (State.STARTING, 0, ())


@pytest.mark.parametrize("name", STARTS)
def test_json_brings_back_the_same_trace(name: str) -> None:
    trace = STARTS[name]

    assert Trace.from_json(trace.to_json()) == trace


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("not json", "not JSON"),
        ("[]", "no format"),
        ('{"traceEvents": []}', "no format"),
        ('{"format": 99, "spans": []}', "format 99"),
        ('{"format": 1, "spans": []}', "missing"),
    ],
)
def test_a_file_that_is_no_trace_of_ours_is_refused_with_the_mend(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said) as refused:
        Trace.from_json(text, where="some.json")

    assert refused.value.fix
    assert refused.value.where == "some.json"


def test_the_four_times_are_figures_of_the_trace() -> None:
    events: list[Event] = [
        *began(),
        *facts(gpu_memory_used_bytes="3000000000"),
        *ran("load:a", 1, 3),
        *ran("load:b", 2, 4),
        *ready(5),
        *answered("speak", 5, 7),
        *answered("speak", 8, 8.5),
        *answered("speak", 9, 9.7),
    ]

    four = metrics.four_times(build(events, None, wall_start=None))

    assert (four.cold_start_s, four.model_load_s, four.gpu_memory_bytes) == (5, 3, 3_000_000_000)
    assert four.warm_s == pytest.approx(0.6)


def test_what_nobody_saw_has_no_figure() -> None:
    four = metrics.four_times(build([], None, wall_start=None))

    assert four == metrics.FourTimes(cold_start_s=None, warm_s=None, gpu_memory_bytes=None, model_load_s=None)


def test_the_first_request_is_held_against_the_later_ones_from_ready_on() -> None:
    events = [*began(), *ready(5), *answered("speak", 1, 7), *answered("speak", 8, 9)]

    assert metrics.first_request_penalty(build(events, None, wall_start=None)) == pytest.approx(2)


def test_the_platforms_share_stands_apart() -> None:
    trace = STARTS["ten_minutes"]

    assert metrics.platform_s(trace) == pytest.approx(31)
    assert metrics.ready_from_container_s(trace) == pytest.approx(644.4)
    assert metrics.cold_first_byte_s(trace) == pytest.approx(733)


def test_the_lower_bound_is_the_longest_path_after_the_beginning() -> None:
    assert metrics.lower_bound_s(tts()) == pytest.approx(0.11 + 8.11 + 2.68 + 1.4)


def test_the_lower_bound_knows_cores_and_the_link() -> None:
    events = [*began(sdk_s=1), *fetched("fetch:a", 1, 5, 100), *ran("load:load", 1, 5), *ready(5)]
    trace = build(events, None, wall_start=None)

    assert metrics.lower_bound_s(trace) == pytest.approx(5)
    assert metrics.lower_bound_s(trace, cores=0.5) == pytest.approx(1 + 4 / 0.5)
    assert metrics.lower_bound_s(trace, link_bytes_per_s=10) == pytest.approx(11)


def test_an_earlier_ready_wins_over_a_later_one() -> None:
    events = [*began(), *ready(5), StateChanged(at_s=BOOT_S + 9, state=State.READY)]

    assert build(events, None, wall_start=WALL_S).anchors.ready_s == 5


def test_a_fetch_hook_arranges_what_is_here_and_is_not_drawn_as_net() -> None:
    unpack = replace(a_step("fetch:unpack"), work=Work.HOOK)
    events = (
        StepStarted(at_s=1.0, step="fetch:unpack"),
        StepEnded(at_s=2.0, step="fetch:unpack", outcome=Outcome.DONE),
    )

    spans = build(events, a_plan(unpack), wall_start=None).spans

    assert next(span.resource for span in spans if span.name == "fetch:unpack") is Resource.DISK
