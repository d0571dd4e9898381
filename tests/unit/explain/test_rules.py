"""Each rule on the smallest start that it is about, and on the nearest one that it is not about."""

from __future__ import annotations

from dataclasses import replace

import pytest

from coldstart_sdk.events import (
    Counted,
    Event,
    Outcome,
    RequestEnded,
    StepEnded,
    StepProgress,
    StepStarted,
    TierTried,
)
from coldstart_sdk.explain.evidence import Evidence
from coldstart_sdk.explain.explain import explain
from coldstart_sdk.plan import Plan
from coldstart_sdk.spec import ScaleSpec, Snapshot
from coldstart_sdk.trace.build import declared
from coldstart_sdk.trace.model import Trace
from tests.unit.explain.slow import CLEAN, Ran, a_planned, a_start, asked, did, fetch, findings, part, saved
from tests.unit.trace.starts import BOOT_S, a_step


def loading(*parts: tuple[str, float, float], sizes: int | None = None, **counts: float) -> Trace:
    """A load from 1 to 5 s with this inside."""
    return a_start(
        did("import:app", 0.1, 1.0),
        did("load:load", 1.0, 5.0, "import:app", parts=parts, sizes=sizes, counts=counts),
    )


def kept(*, asked_s: float) -> Ran:
    """A fetch that found all files here after it had asked the origin for so long."""
    step = "fetch:f5"
    events: tuple[Event, ...] = (
        StepStarted(at_s=BOOT_S + 0.1, step=step),
        TierTried(at_s=BOOT_S + 0.1 + asked_s, step=step, tier="origin", hit=False, reason="nothing newer"),
        TierTried(at_s=BOOT_S + 0.1 + asked_s, step=step, tier="disk", hit=True),
        part(step, "model.bin", 0.1 + asked_s, 0.2 + asked_s, 1000),
        StepEnded(at_s=BOOT_S + 0.2 + asked_s, step=step, outcome=Outcome.DONE),
    )
    return Ran(a_step(step), events)


def stalled() -> Ran:
    """A fetch that stood still from 1.1 to 4.1 s."""
    moments = [(0.2, 10), (1.1, 100), (2.1, 100), (4.1, 100), (4.5, 200)]
    events: tuple[Event, ...] = (
        StepStarted(at_s=BOOT_S + 0.1, step="fetch:f5"),
        TierTried(at_s=BOOT_S + 0.1, step="fetch:f5", tier="origin", hit=True),
        *(
            StepProgress(at_s=BOOT_S + at_s, step="fetch:f5", done_bytes=count, total_bytes=200)
            for at_s, count in moments
        ),
        StepEnded(at_s=BOOT_S + 4.5, step="fetch:f5", outcome=Outcome.DONE),
    )
    return Ran(a_step("fetch:f5"), events)


WASTES: dict[str, tuple[Trace, float]] = {
    "unlocked-origin": (a_start(kept(asked_s=1.5)), 1.5),
    "few-streams": (a_start(fetch("fetch:f5", 0.1, 8.1, 800_000_000, counts={"connections": 1})), 7.0),
    "mapped-weights": (loading(sizes=None, major_faults=2000), 2.0),
    "rate-limited": (a_start(stalled(), hf_token="no"), 3.0),
    "missing-bytecode": (loading(sources_compiled=900, sources_compiled_s=1.25), 1.25),
    "unused-imports": (
        a_start(
            did("import:app", 0.1, 3.1, parts=(("import:pandas", 0.5, 2.5), ("import:numpy", 0.6, 1.1))),
            imports_unused="pandas",
            imports_used="numpy",
        ),
        1.5,
    ),
    "vendor-sdk": (loading(("import:runpod", 1.0, 2.0)), 1.0),
    "installed-at-start": (loading(("run:pip", 1.0, 3.0)), 2.0),
    "hidden-download": (loading(("download:hub", 1.0, 1.9), sizes=5_000_000), 0.9),
    "random-init": (loading(random_inits=40, random_inits_s=1.2), 1.2),
    "extension-rebuilt": (loading(("run:g++", 1.5, 3.5), ("run:ninja", 1.4, 3.6)), 2.2),
    "compile-cache-missed": (loading(("compile:torch", 1.5, 3.5), compile_misses=3), 2.0),
    "compiled-per-shape": (
        loading(("compile:torch", 1.5, 2.5), ("compile:torch", 3.0, 4.2), recompiles=1),
        1.2,
    ),
    "nobody-waits": (loading(("upload:bucket", 2.0, 4.0), sizes=900), 2.0),
    "repeated-work": (loading(("read:a.bin", 1.0, 2.0), ("read:a.bin", 2.0, 3.0), sizes=9_000_000), 1.0),
    "warmup-too-big": (
        a_start(
            did("warmup:w", 0.1, 3.1, parts=(("call:f(a=1)", 0.1, 1.1), ("call:f(a=2)", 1.1, 3.1))),
        ),
        2.0,
    ),
    "serial-loads": (
        a_start(
            did("load:a", 0.1, 2.1),
            did("load:b", 2.1, 4.6, "load:a"),
            did("warmup:w", 4.6, 4.7, "load:a", "load:b"),
        ),
        2.0,
    ),
    "late-imports": (
        a_start(
            did("import:app", 0.1, 1.0),
            fetch("fetch:f5", 0.1, 4.0, 2_000_000_000, counts={"connections": 8}),
            did("load:load", 4.0, 6.0, "fetch:f5", parts=(("import:librosa", 4.0, 5.5),)),
        ),
        1.5,
    ),
    "too-many-threads": (
        a_start(
            did("load:load", 0.1, 4.1),
            threads="64",
            cpu_quota="8",
            quota_periods="100",
            quota_periods_throttled="50",
        ),
        2.0,
    ),
}


@pytest.mark.parametrize("rule", WASTES)
def test_a_rule_finds_its_waste_and_says_what_it_is_worth(rule: str) -> None:
    trace, worth_s = WASTES[rule]

    assert saved(trace)[rule] == pytest.approx(worth_s, abs=0.051)


@pytest.mark.parametrize("rule", WASTES)
def test_a_finding_says_why_shows_what_was_seen_and_names_the_change(rule: str) -> None:
    finding = findings(WASTES[rule][0])[rule]

    assert finding.why
    assert finding.fix
    assert all(finding.evidence)
    assert finding.evidence


@pytest.mark.parametrize("rule", WASTES)
def test_no_other_rule_blames_the_same_waste(rule: str) -> None:
    others = {"late-imports"} if rule == "vendor-sdk" else set()
    if rule == "compiled-per-shape":
        others = {"compile-cache-missed"}

    assert set(findings(WASTES[rule][0])) - others <= {rule}


@pytest.mark.parametrize(
    "trace",
    [
        a_start(*CLEAN),
        a_start(kept(asked_s=0.0)),
        a_start(fetch("fetch:f5", 0.1, 8.1, 800_000_000, counts={"connections": 8})),
        a_start(fetch("fetch:small", 0.1, 8.1, 3_000_000, counts={"connections": 1})),
        a_start(stalled(), hf_token="yes"),
        loading(major_faults=30),
        loading(("read:a.bin", 1.0, 2.0), ("read:b.bin", 2.0, 3.0), sizes=9_000_000),
        loading(("download:hub", 1.0, 3.0), sizes=2_000),
        a_start(did("load:load", 0.1, 4.1), threads="8", cpu_quota="8"),
        a_start(did("load:load", 0.1, 4.1), requests=asked(0.5, 0.5, 0.48, start_s=4.2)),
    ],
)
def test_what_only_resembles_a_waste_is_not_blamed(trace: Trace) -> None:
    assert findings(trace) == {}


def test_a_device_that_is_chosen_at_import_is_worth_a_note_though_no_time() -> None:
    trace = a_start(did("import:app", 0.1, 1.0, counts={"device_asked": 1}), did("load:load", 1.0, 2.0))

    assert findings(trace)["device-at-import"].is_remark


def test_a_download_in_a_request_is_what_the_first_caller_waits_for() -> None:
    trace = a_start(
        *CLEAN,
        requests=(*asked(2.0, 0.5, start_s=4.5), part("request", "download:hub", 4.6, 6.1, 70_000_000)),
    )

    assert findings(trace)["hidden-download-in-request"].first_s == pytest.approx(1.5)


def test_a_download_that_made_the_first_request_slow_is_not_blamed_on_the_warm_up_too() -> None:
    calls = [("text=2", 4.5, 6.3), ("text=2", 6.4, 6.5), ("text=2", 6.6, 6.7)]
    trace = a_start(
        did("load:load", 0.1, 4.0),
        requests=(
            *asked(1.8, 0.1, 0.1, start_s=4.5),
            part("request", "download:hub", 4.6, 6.2, 70_000_000),
            *(part("request", f"call:speak({shape})", start, end) for shape, start, end in calls),
        ),
    )

    assert {rule for rule, finding in findings(trace).items() if finding.first_s > 0.2} == {
        "hidden-download-in-request"
    }


def test_shapes_that_requests_meet_cold_are_named() -> None:
    calls = [("text=9", 5.0, 6.0), ("text=9", 6.1, 6.3), ("text=9", 6.4, 6.6), ("text=2", 6.7, 6.9)]
    trace = a_start(
        *CLEAN,
        requests=(
            *asked(1.0, 0.2, 0.2, 0.2, start_s=5.0),
            *(part("request", f"call:speak({shape})", start, end) for shape, start, end in calls),
        ),
    )
    finding = findings(trace)["first-call-per-shape"]

    assert "speak(text=9)" in finding.what
    assert finding.first_s == pytest.approx(0.8)


def test_a_cache_miss_names_the_part_of_the_key_that_changed() -> None:
    trace = a_start(
        did("load:load", 0.1, 4.1, parts=(("compile:torch", 1.0, 3.0),), counts={"compile_misses": 1}),
        cache_key="torch=2.13;path=/a",
        cache_key_before="torch=2.12;path=/a",
    )
    why = findings(trace)["compile-cache-missed"].why

    assert "torch (2.12, now 2.13)" in why
    assert "path" not in why


def test_a_variable_that_is_set_too_late_is_named_with_its_reader() -> None:
    found = findings(a_start(*CLEAN, late_env="TRITON_CACHE_DIR>torch"))["late-environment"]

    assert found.evidence == ("TRITON_CACHE_DIR set after torch was imported",)


def test_an_image_that_is_far_larger_than_what_is_read_is_told_by_its_largest_packages() -> None:
    packages = {"functorch/torch": 300_000_000, "tensorflow": 2_000_000_000, "pandas": 80_000_000}
    found = findings(a_start(*CLEAN), packages=packages)["image-too-large"]

    assert found.evidence[0] == "tensorflow: 2.00 GB, never imported"
    assert not any("torch" in seen for seen in found.evidence)


def idle(*pauses_s: float, idle_s: float = 60.0, least: int = 0) -> tuple[Trace, Plan]:
    start_s = 10.0
    requests: list[RequestEnded] = []
    for pause_s in (*pauses_s, 0.0):
        requests += asked(0.5, start_s=start_s)
        start_s += 0.5 + pause_s
    plan = a_planned(*CLEAN)
    spec = replace(plan.spec, scale=ScaleSpec(idle_s=idle_s, min=least))
    return a_start(*CLEAN, requests=tuple(requests)), replace(plan, spec=spec)


def test_pauses_just_longer_than_the_idle_time_ask_for_a_longer_one() -> None:
    trace, plan = idle(70, 80, 5, 90)

    assert 'idle="99s"' in findings(trace, plan=plan)["idle-too-short"].fix


@pytest.mark.parametrize(("pauses_s", "least"), [((5, 5, 5), 0), ((70, 80, 90), 1), ((9000, 9000, 9000), 0)])
def test_an_idle_time_that_suits_the_traffic_is_left_alone(pauses_s: tuple[float, ...], least: int) -> None:
    trace, plan = idle(*pauses_s, least=least)

    assert "idle-too-short" not in findings(trace, plan=plan)


def test_a_kept_trace_knows_the_idle_time_that_was_declared() -> None:
    trace, plan = idle(70, 80, 5, 90)

    assert "idle-too-short" not in findings(replace(trace, declared={}))
    assert 'idle="99s"' in findings(replace(trace, declared=declared(plan)))["idle-too-short"].fix


def test_what_a_fetch_asks_first_takes_as_long_over_more_connections() -> None:
    """1 s until the first byte, then 8 s over one connection."""
    step, moments = "fetch:f5", [(1.1, 0), (2.1, 100_000_000), (9.1, 800_000_000)]
    events: tuple[Event, ...] = (
        StepStarted(at_s=BOOT_S + 0.1, step=step),
        TierTried(at_s=BOOT_S + 0.1, step=step, tier="origin", hit=True),
        *(
            StepProgress(at_s=BOOT_S + at_s, step=step, done_bytes=count, total_bytes=800_000_000)
            for at_s, count in moments
        ),
        Counted(at_s=BOOT_S + 9.0, step=step, counts={"connections": 1}),
        StepEnded(at_s=BOOT_S + 9.1, step=step, outcome=Outcome.DONE),
    )

    assert saved(a_start(Ran(a_step(step), events)))["few-streams"] == pytest.approx(7.0)


def working(cpu_s: float) -> Ran:
    """A load of 4 s."""
    load = did("load:load", 0.1, 4.1)
    return replace(
        load,
        events=tuple(
            replace(event, cpu_s=cpu_s) if isinstance(event, StepEnded) else event for event in load.events
        ),
    )


def test_stops_by_the_quota_promise_no_more_than_the_work_leaves() -> None:
    def stopped(load: Ran, periods: int) -> Trace:
        quota = {"cpu_quota": "1", "quota_periods": "10", "quota_periods_throttled": str(periods)}
        return a_start(load, requests=(), threads="8", **quota)

    busy, idle_too = stopped(working(3.0), 10), stopped(working(0.5), 5)

    assert saved(busy)["too-many-threads"] == pytest.approx(1.0)
    assert saved(idle_too)["too-many-threads"] == pytest.approx(2.0)


def test_warm_ups_in_two_hooks_are_one_call_too_many() -> None:
    trace = a_start(
        did("warmup:a", 0.1, 1.1, parts=(("call:f(a=1)", 0.1, 1.1),)),
        did("warmup:b", 1.1, 3.1, "warmup:a", parts=(("call:f(a=2)", 1.1, 3.1),)),
    )

    assert saved(trace)["warmup-too-big"] == pytest.approx(2.0)


def test_one_call_of_each_endpoint_is_no_large_warm_up() -> None:
    parts = (("call:f(a=1)", 0.1, 1.1), ("call:g(a=1)", 1.1, 3.1))

    assert "warmup-too-big" not in findings(a_start(did("warmup:a", 0.1, 3.1, parts=parts)))


def test_a_hidden_download_that_nobody_waits_for_is_told_all_the_same() -> None:
    trace = a_start(
        did("import:app", 0.1, 4.0),
        did("load:load", 0.1, 2.0, parts=(("download:hub", 0.2, 1.2),), sizes=5_000_000),
    )
    explained = explain(Evidence(trace=trace))

    assert "hidden-download" in {finding.rule for finding in explained.beside}


def test_a_compiler_that_inductor_asks_about_itself_builds_no_extension() -> None:
    trace = loading(("compile:torch", 1.5, 3.5), ("run:g++", 2.0, 3.0))

    assert "extension-rebuilt" not in findings(trace)


def test_a_platform_that_keeps_snapshots_is_told_of_where_none_is_taken() -> None:
    plan = replace(a_planned(*CLEAN), backend="modal", snapshot=Snapshot.NONE)

    assert "snapshot-off" in findings(a_start(*CLEAN), plan=plan)
    assert "snapshot-off" not in findings(a_start(*CLEAN), plan=replace(plan, snapshot=Snapshot.CPU))
    assert "snapshot-off" not in findings(a_start(*CLEAN), plan=replace(plan, backend="runpod"))
