"""The waterfall in a terminal: what it tells of a start, and that no start breaks it."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coldstart_sdk.events import (
    Anchor,
    AnchorSet,
    Event,
    FactsSeen,
    Noted,
    Outcome,
    RequestEnded,
    Resource,
    SpanRecorded,
    State,
    StateChanged,
    StepEnded,
    StepProgress,
    StepStarted,
    TierTried,
)
from coldstart_sdk.trace import metrics
from coldstart_sdk.trace.build import build
from coldstart_sdk.trace.chrome import to_json
from coldstart_sdk.trace.elide import columns
from coldstart_sdk.trace.model import Trace
from coldstart_sdk.trace.path import critical_path
from coldstart_sdk.trace.rows import chart
from coldstart_sdk.trace.svg import render_svg
from coldstart_sdk.trace.waterfall import render
from tests.unit.trace.starts import (
    BOOT_S,
    STARTS,
    TTS_STEPS,
    WALL_S,
    a_plan,
    began,
    failed_load,
    fetched,
    many_steps,
    ran,
    ready,
    tts,
)

COLOUR = re.compile(r"\x1b\[[0-9;]*m")


@pytest.mark.parametrize("width", range(60, 201, 7))
@pytest.mark.parametrize("name", STARTS)
def test_no_line_is_wider_than_asked(name: str, width: int) -> None:
    for unicode in (True, False):
        lines = render(STARTS[name], width=width, unicode=unicode).splitlines()

        assert max(map(columns, lines)) <= width


@pytest.mark.parametrize("name", STARTS)
def test_without_unicode_every_character_is_ascii(name: str) -> None:
    assert render(STARTS[name], unicode=False).isascii()


@pytest.mark.parametrize("name", STARTS)
def test_colour_adds_nothing_that_is_not_there_without(name: str) -> None:
    painted = render(STARTS[name], colour=True)

    assert COLOUR.search(painted)
    plain = [line.rstrip() for line in COLOUR.sub("", painted).splitlines()]
    assert plain == render(STARTS[name]).splitlines()


def test_every_step_up_to_ready_has_a_line_with_a_visible_bar() -> None:
    drawn = render(tts(), width=80, unicode=False).splitlines()

    for step in ("interpreter", "sdk", "construct", "cuda_init", "fetch:vocos"):
        (line,) = [line for line in drawn if line[2:].startswith(step)]
        assert re.search("[#-]", line[24:])


def test_the_critical_path_is_marked_without_colour() -> None:
    drawn = render(tts(), unicode=False).splitlines()

    marked = [line.split()[1] for line in drawn if line.startswith("* ")]
    assert marked == ["interpreter", "sdk", "fetch:f5", "load:load", "warmup:warm"]


def test_bytes_speed_and_tier_stand_on_the_line_of_a_fetch() -> None:
    (line,) = [
        line
        for line in render(tts(), width=120).splitlines()
        if "fetch:f5 " in line and "critical" not in line
    ]

    assert "1.35 GB 166 MB/s store" in line


def test_dozens_of_imports_are_told_in_a_few_lines() -> None:
    lines = [line for line in render(many_steps()).splitlines() if "import:" in line]

    assert [line.split()[0] for line in lines] == ["import:", "import:torch", "import:transformers"]
    assert "import: 28 more" in lines[0]


def test_long_names_stay_different_when_they_are_cut() -> None:
    lines = [line.split()[0] for line in render(many_steps()).splitlines() if line.startswith("  fetch:")]

    assert len(lines) == len(set(lines)) == 7


def test_a_failure_says_why_where_and_how_to_mend_it() -> None:
    drawn = " ".join(render(failed_load()).split())

    assert "failed after 9.42 s: load:load raised OutOfMemoryError" in drawn
    assert "at app.py:31 in F5.load" in drawn
    assert "fix Name a larger card" in drawn
    assert "never ran cuda_init, warmup:warm" in drawn


def test_a_failure_that_an_error_will_tell_is_not_told_twice() -> None:
    drawn = " ".join(render(failed_load(), reasons=False).split())

    assert "failed after 9.42 s" in drawn
    assert "OutOfMemoryError" not in drawn
    assert "app.py:31" not in drawn


def test_on_this_machine_the_container_is_no_platform() -> None:
    container = AnchorSet(at_s=BOOT_S - 7200, anchor=Anchor.CONTAINER)
    trace = build([container, *began(), *ran("load:load", 1, 2), *ready(2)], None, wall_start=None)

    assert "before the process" in render(trace)
    assert "before the process" not in render(replace(trace, backend="local"))


def test_a_skipped_step_is_said_and_not_drawn() -> None:
    skipped = StepEnded(at_s=BOOT_S + 2, step="warmup:warm", outcome=Outcome.SKIPPED, reason="COLDSTART_SKIP")

    drawn = render(build([*began(), *ran("load:load", 1, 2), skipped, *ready(2)], None, wall_start=None))

    assert "skipped    warmup:warm (COLDSTART_SKIP)" in drawn
    assert "warmup:warm" not in [row.name for row in chart(STARTS["tts"]).rows if row.duration_s == 0]


def test_a_reason_cannot_steer_the_terminal() -> None:
    reason = "\x1b[2Jgone\nsecond line\x07"
    events = [*began(), *ran("load:load", 1, 2, Outcome.FAILED, reason)]
    trace = build(
        [*events, StateChanged(at_s=BOOT_S + 2, state=State.FAILED, reason=reason)], None, wall_start=None
    )

    drawn = render(trace, colour=False)

    assert "\x1b" not in drawn
    assert "\x07" not in drawn
    assert "second line" in drawn


def test_a_step_that_nobody_ended_is_said_to_run_still() -> None:
    upload = StepStarted(at_s=BOOT_S + 2.1, step="background:upload")
    last = Noted(at_s=BOOT_S + 3, message="the run ends here")

    drawn = render(build([*began(), *ran("load:load", 1, 2), *ready(2), upload, last], None, wall_start=None))

    assert "after      background:upload 900 ms still running" in drawn.replace("\u00a0", " ")


def test_wide_characters_count_twice() -> None:
    events = [*began(), *fetched("fetch:" + "語" * 30, 1, 2, 10**9), *ready(2, degraded=("語" * 90,))]

    lines = render(build(events, None, wall_start=None), width=60).splitlines()

    assert max(map(columns, lines)) <= 60


NAMES = st.sampled_from(
    ["fetch:f5", "fetch:vocos", "import:torch", "load:load", "warmup:warm", "background:upload", "x\n语" * 9]
)
MOMENTS = st.floats(min_value=BOOT_S - 5, max_value=BOOT_S + 1000, allow_nan=False) | st.sampled_from(
    [BOOT_S, BOOT_S + 1, BOOT_S + 2]
)
REASONS = st.none() | st.text(max_size=120)
COUNTS = st.integers(min_value=0, max_value=10**13)
EVENTS: st.SearchStrategy[Event] = st.one_of(
    st.builds(AnchorSet, at_s=MOMENTS, anchor=st.sampled_from(Anchor)),
    st.builds(FactsSeen, at_s=MOMENTS, facts=st.dictionaries(st.sampled_from(["cores", "gpu"]), st.text())),
    st.builds(StepStarted, at_s=MOMENTS, step=NAMES),
    st.builds(StepProgress, at_s=MOMENTS, step=NAMES, done_bytes=COUNTS, total_bytes=st.none()),
    st.builds(
        StepEnded,
        at_s=MOMENTS,
        step=NAMES,
        outcome=st.sampled_from(Outcome),
        reason=REASONS,
        cpu_s=st.none() | st.floats(min_value=0, max_value=1e4),
    ),
    st.builds(
        SpanRecorded,
        at_s=MOMENTS,
        step=NAMES,
        name=NAMES,
        resource=st.sampled_from(Resource),
        end_s=MOMENTS,
        bytes=st.none() | COUNTS,
    ),
    st.builds(
        TierTried, at_s=MOMENTS, step=NAMES, tier=st.sampled_from(["store", "cache"]), hit=st.booleans()
    ),
    st.builds(
        StateChanged,
        at_s=MOMENTS,
        state=st.sampled_from(State),
        reason=REASONS,
        degraded=st.lists(NAMES, max_size=2).map(tuple),
    ),
    st.builds(
        RequestEnded,
        at_s=MOMENTS,
        id=st.just("1"),
        endpoint=NAMES,
        started_s=MOMENTS,
        queued_s=st.floats(min_value=0, max_value=100),
        first_s=st.none() | st.floats(min_value=0, max_value=100),
        outcome=st.sampled_from(Outcome),
    ),
    st.builds(Noted, at_s=MOMENTS, message=st.text()),
)


@settings(deadline=None)  # a busy machine is no failure
@given(
    events=st.lists(EVENTS, max_size=40),
    planned=st.booleans(),
    width=st.integers(min_value=60, max_value=200),
    unicode=st.booleans(),
)
def test_any_stream_of_events_makes_a_trace_that_can_be_drawn(
    events: list[Event],
    planned: bool,  # noqa: FBT001 - drawn by hypothesis
    width: int,
    unicode: bool,  # noqa: FBT001 - drawn by hypothesis
) -> None:
    trace = build(events, a_plan(*TTS_STEPS) if planned else None, wall_start=WALL_S)

    lines = render(trace, width=width, unicode=unicode).splitlines()
    assert max(map(columns, lines)) <= width
    assert Trace.from_json(trace.to_json()) == trace
    assert all(span.start_s <= span.end_s for span in trace.spans)
    share = metrics.attributed(trace)
    assert share is None or 0 <= share <= 1
    metrics.lower_bound_s(trace)
    metrics.four_times(trace)
    ends = [leg.end_s for leg in critical_path(trace)]
    assert ends == sorted(ends)
    render_svg(trace)
    to_json(trace)
