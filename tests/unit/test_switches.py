"""Steps switched off or put off by name, for one start."""

from __future__ import annotations

import pytest

from coldstart_sdk.errors import UsageError
from coldstart_sdk.plan import Stage
from coldstart_sdk.spec import Kind
from coldstart_sdk.switches import Switches, switch
from tests.builders import LOAD, a_hook, a_plan, a_weight

WARM = a_hook(Kind.WARMUP, "warm")
LONG = a_hook(Kind.WARMUP, "long")
PLAN = a_plan(LOAD, WARM, LONG, weights={"voice": a_weight()})


def test_a_name_is_one_step_and_a_kind_is_all_of_its_steps() -> None:
    assert [step.name for step in switch(PLAN, Switches(skip=("warmup:warm",)))[1]] == ["warmup:warm"]
    assert [step.name for step in switch(PLAN, Switches(skip=("warmup",)))[1]] == [
        "warmup:warm",
        "warmup:long",
    ]


def test_what_waited_for_a_skipped_step_waits_for_what_that_one_waited_for() -> None:
    plan, _ = switch(PLAN, Switches(skip=("load",)))

    load = next(step for step in PLAN.steps if step.name == "load:load")
    warm = next(step for step in plan.steps if step.name == "warmup:warm")
    assert set(load.after) <= set(warm.after)
    assert "load:load" not in warm.after


def test_a_deferred_step_runs_in_the_background_and_is_required_no_more() -> None:
    plan, skipped = switch(PLAN, Switches(defer=("warmup:long",)))

    long = next(step for step in plan.steps if step.name == "warmup:long")
    assert (long.stage, long.required) == (Stage.BACKGROUND, False)
    assert skipped == ()


def test_a_step_that_is_skipped_and_deferred_is_skipped() -> None:
    plan, skipped = switch(PLAN, Switches(skip=("warmup",), defer=("warmup",)))

    assert [step.name for step in skipped] == ["warmup:warm", "warmup:long"]
    assert not [step for step in plan.steps if step.kind.value == "warmup"]


def test_a_name_that_no_step_has_is_refused_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="COLDSTART_SKIP names 'warm_up'") as caught:
        switch(PLAN, Switches(skip=("warm_up",)))

    assert "Did you mean 'warmup'?" in caught.value.fix


@pytest.mark.parametrize("name", ["construct:Voice", "import:voice", "import:validation"])
def test_what_every_start_needs_cannot_be_switched_off(name: str) -> None:
    with pytest.raises(UsageError, match="which every start needs"):
        switch(PLAN, Switches(skip=(name,)))


def test_skipping_all_imports_keeps_those_that_every_start_needs() -> None:
    plan = a_plan(LOAD, imports=("json",))

    assert [step.name for step in switch(plan, Switches(skip=("import",)))[1]] == ["import:json"]


def test_switches_are_read_from_the_environment() -> None:
    read = Switches.of({"COLDSTART_SKIP": "warmup, load:load,", "COLDSTART_DEFER": ""})

    assert read == Switches(skip=("warmup", "load:load"), defer=())
