"""What holds for the plan of any declaration, on any target."""

from __future__ import annotations

from graphlib import TopologicalSorter

from hypothesis import given
from hypothesis import strategies as st

from coldstart_sdk.backends.local import backend as local
from coldstart_sdk.backends.modal import backend as modal
from coldstart_sdk.backends.runpod import backend as runpod
from coldstart_sdk.plan import Lane, Plan, Stage, StepKind, Work
from coldstart_sdk.planner import plan
from coldstart_sdk.plugins import Backend
from coldstart_sdk.spec import HookSpec, Kind, Snapshot, Spec
from tests.builders import a_hook, a_spec, a_weight

STAGES = list(Stage)
BACKENDS: tuple[Backend, ...] = (local, runpod, modal)
UP_TO_READY = {Stage.BEFORE_SNAPSHOT, Stage.AFTER_SNAPSHOT}


@st.composite
def hooks_of(draw: st.DrawFn, kind: Kind) -> tuple[HookSpec, ...]:
    """Up to four siblings in any order of definition, each after any of those drawn before it."""
    names = [f"{kind.value}_{number}" for number in range(draw(st.integers(0, 4)))]
    drawn = [
        a_hook(
            kind,
            name,
            after=tuple(sorted(draw(st.sets(st.sampled_from(names[:place])))) if place else ()),
            is_async=draw(st.booleans()),
            required=draw(st.booleans()),
            canary=kind is Kind.WARMUP and draw(st.booleans()),
        )
        for place, name in enumerate(names)
    ]
    return tuple(draw(st.permutations(drawn)))


@st.composite
def specs(draw: st.DrawFn) -> Spec:
    hooks = [hook for kind in Kind for hook in draw(hooks_of(kind))]
    return a_spec(
        *hooks,
        gpu=draw(st.sampled_from([(), ("L4",), ("H100", "L4")])),
        weights={name: a_weight() for name in draw(st.sets(st.sampled_from(["a", "b", "fetch_0"])))},
        imports=tuple(draw(st.lists(st.sampled_from(["torch", "numpy", "voice", "validation"])))),
    )


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    spec = draw(specs())
    backend = draw(st.sampled_from(BACKENDS))
    modes = [mode for mode in Snapshot if mode is not Snapshot.GPU or spec.gpu]
    snapshot = draw(st.sampled_from(modes))
    return plan(spec, backend.name, backend.capabilities, snapshot=snapshot, sdk="1.2.3")


def before(plan: Plan) -> dict[str, set[str]]:
    """For each step all that end before it starts."""
    after = {step.name: step.after for step in plan.steps}
    ends: dict[str, set[str]] = {}
    for name in TopologicalSorter(after).static_order():
        ends[name] = set(after[name]).union(*(ends[other] for other in after[name]))
    return ends


@given(plans())
def test_every_step_can_be_reached(made: Plan) -> None:
    names = [step.name for step in made.steps]

    assert len(set(names)) == len(names)
    assert all(set(step.after) <= set(names) for step in made.steps)
    assert set(before(made)) == set(names)  # a cycle raises


@given(plans())
def test_no_step_waits_for_one_behind_a_later_cut(made: Plan) -> None:
    stage = {step.name: STAGES.index(step.stage) for step in made.steps}

    assert all(stage[name] <= stage[step.name] for step in made.steps for name in step.after)
    assert [step.stage for step in made.steps] == sorted(
        (step.stage for step in made.steps), key=STAGES.index
    )


@given(plans())
def test_ready_waits_for_every_warmup(made: Plan) -> None:
    warmups = {hook.method for hook in made.spec.hooks_of(Kind.WARMUP)}
    before_ready = {
        step.target for step in made.steps if step.stage in UP_TO_READY and step.kind is StepKind.WARMUP
    }

    assert before_ready == warmups


@given(plans())
def test_every_hook_runs_once_in_the_users_order(made: Plan) -> None:
    hooks = [step for step in made.steps if step.work is Work.HOOK and step.kind is not StepKind.CANARY]
    named = {(step.kind.value, step.target): step for step in hooks}
    ends = before(made)

    assert sorted(named) == sorted((hook.kind.value, hook.method) for hook in made.spec.hooks)
    for hook in made.spec.hooks:
        name = named[hook.kind.value, hook.method].name
        assert all(named[hook.kind.value, other].name in ends[name] for other in hook.after)


@given(plans())
def test_a_hook_needs_what_its_kind_stands_on(made: Plan) -> None:
    ends = before(made)
    for step in made.steps:
        if step.kind in {StepKind.LOAD, StepKind.RESTORED, StepKind.WARMUP, StepKind.CANARY}:
            missing = {
                other.name
                for other in made.steps
                if other.kind in {StepKind.FETCH, StepKind.CONSTRUCT}
                or (other.kind is StepKind.CUDA_INIT and other.stage is not Stage.AFTER_SNAPSHOT)
            } - ends[step.name]
            assert not missing


@given(plans())
def test_what_shares_the_model_thread_never_waits_in_vain(made: Plan) -> None:
    """Two steps of a kind on one thread are ordered anyway, so sharing it costs nothing."""
    ends = before(made)
    for kind in (StepKind.LOAD, StepKind.RESTORED, StepKind.WARMUP):
        shared = [step.name for step in made.steps if step.kind is kind and step.lane is Lane.MODEL]
        assert all(a == b or a in ends[b] or b in ends[a] for a in shared for b in shared)


@given(plans())
def test_a_plan_is_decided_and_survives_its_json(made: Plan) -> None:
    assert made.snapshot is not Snapshot.AUTO
    assert Plan.from_json(made.to_json()) == made
