"""What runs on which side of which cut, on which lane, and what a platform's facts make of a declaration."""

from __future__ import annotations

import pytest

from coldstart_sdk.backends.local import backend as local
from coldstart_sdk.backends.modal import backend as modal
from coldstart_sdk.backends.runpod import backend as runpod
from coldstart_sdk.errors import PlanError
from coldstart_sdk.plan import Lane, Plan, Stage, Step, Work
from coldstart_sdk.planner import plan
from coldstart_sdk.plugins import Backend
from coldstart_sdk.spec import (
    CallStyle,
    ContainerSpec,
    Kind,
    Medium,
    Origin,
    Place,
    Snapshot,
    Spec,
    VolumeSpec,
    WeightSpec,
)
from tests.builders import (
    BACKGROUND,
    BUILD,
    CANARY,
    CUDA_INIT,
    EVERY_HOOK,
    FETCH,
    LOAD,
    RESTORED,
    WARMUP,
    a_hook,
    a_spec,
    a_weight,
    an_endpoint,
)

ON_GPU = {"gpu": ("L4",)}


def planned(
    spec: Spec, backend: Backend = local, *, store: str | None = None, snapshot: Snapshot | None = None
) -> Plan:
    return plan(spec, backend.name, backend.capabilities, store=store, snapshot=snapshot, sdk="1.2.3")


def step(plan: Plan, name: str) -> Step:
    return next(step for step in plan.steps if step.name == name)


def stages(plan: Plan) -> dict[str, str]:
    return {step.name: step.stage.value for step in plan.steps}


def notes(plan: Plan) -> str:
    return "\n".join(f"{note.about}: {note.text}" for note in plan.notes)


# ---------------------------------------------------------------- the graph


def test_imports_share_one_lane_and_wait_for_one_another() -> None:
    made = planned(a_spec(imports=("torch", "numpy", "torch")))

    names = ["import:torch", "import:numpy", "import:voice", "import:validation"]
    assert [step.name for step in made.steps if step.lane is Lane.IMPORTS] == names
    assert [step(made, name).after for name in names] == [
        (),
        ("import:torch",),
        ("import:numpy",),
        ("import:voice",),
    ]


def test_a_declaration_that_imports_itself_is_imported_once() -> None:
    made = planned(a_spec(imports=("voice",)))

    assert [step.work for step in made.steps if step.name == "import:voice"] == [Work.DECLARATION]


def test_a_weight_waits_for_nothing_and_a_fetch_hook_for_every_weight() -> None:
    made = planned(a_spec(FETCH, weights={"a": a_weight(), "b": a_weight()}))

    assert step(made, "fetch:a").after == step(made, "fetch:b").after == ()
    assert step(made, "fetch:fetch").after == ("fetch:a", "fetch:b", "construct:Voice")


def test_a_fetch_hook_called_like_a_weight_keeps_a_name_of_its_own() -> None:
    made = planned(a_spec(a_hook(Kind.FETCH, "links"), weights={"links": a_weight()}))

    assert step(made, "fetch:links").work is Work.WEIGHT
    assert step(made, "fetch:Voice.links").target == "links"


def test_a_file_called_validation_keeps_a_name_of_its_own() -> None:
    made = planned(a_spec(module="validation"))

    assert step(made, "import:validation").work is Work.DECLARATION
    assert step(made, "import:Voice.validation").work is Work.VALIDATION


def test_load_waits_for_bytes_code_and_device_but_not_for_validation() -> None:
    made = planned(a_spec(LOAD, weights={"a": a_weight()}, **ON_GPU))

    assert set(step(made, "load:load").after) == {
        "fetch:a",
        "construct:Voice",
        "cuda_init:driver",
        "cuda_init:kernel",
    }
    assert step(made, "import:validation").required


def test_the_driver_opens_at_the_first_moment_and_the_kernel_waits_for_the_imports() -> None:
    made = planned(a_spec(imports=("torch",), **ON_GPU))

    assert made.steps[0].name == "cuda_init:driver"
    assert made.steps[0].after == ()
    assert step(made, "cuda_init:kernel").after == ("cuda_init:driver", "import:voice")


def test_a_cuda_init_hook_takes_the_place_of_ours() -> None:
    made = planned(a_spec(CUDA_INIT, **ON_GPU))

    assert [step.name for step in made.steps if step.kind.value == "cuda_init"] == ["cuda_init:cuda_init"]
    assert step(made, "cuda_init:cuda_init").after == ("construct:Voice",)


def test_without_a_gpu_no_device_is_opened() -> None:
    assert not [step for step in planned(a_spec(LOAD)).steps if step.kind.value == "cuda_init"]


def test_a_card_may_be_missing_here_but_not_where_it_was_asked_for() -> None:
    spec = a_spec(**ON_GPU)

    assert not step(planned(spec, local), "cuda_init:driver").required
    assert step(planned(spec, runpod), "cuda_init:driver").required


def test_after_orders_siblings() -> None:
    made = planned(a_spec(a_hook(Kind.WARMUP, "long", after=("short",)), a_hook(Kind.WARMUP, "short")))

    assert "warmup:short" in step(made, "warmup:long").after
    assert "warmup:long" not in step(made, "warmup:short").after


def test_required_and_timeout_are_the_users() -> None:
    made = planned(a_spec(a_hook(Kind.WARMUP, required=False, timeout_s=30.0)))

    assert (step(made, "warmup:warmup").required, step(made, "warmup:warmup").timeout_s) == (False, 30.0)


def test_a_store_is_filled_after_ready_and_before_hooks_that_may_never_end() -> None:
    made = planned(a_spec(BACKGROUND, weights={"a": a_weight()}), store="s3://bucket/models")

    background = [step for step in made.steps if step.stage is Stage.BACKGROUND]
    assert [(step.name, step.work) for step in background] == [
        ("background:upload", Work.UPLOAD),
        ("background:background", Work.HOOK),
    ]
    assert not background[0].required


@pytest.mark.parametrize(
    ("weight", "store"),
    [
        (a_weight(), None),
        (a_weight(place=Place.IMAGE), "s3://bucket/models"),
        (a_weight("/models", origin=Origin.LOCAL), "s3://bucket/models"),
    ],
    ids=["no store", "put into the image", "of this machine alone"],
)
def test_what_is_not_put_into_a_store_is_not_uploaded(weight: WeightSpec, store: str | None) -> None:
    made = planned(a_spec(weights={"a": weight}), runpod, store=store)

    assert Work.UPLOAD not in {step.work for step in made.steps}


def test_a_hook_called_upload_keeps_its_name() -> None:
    spec = a_spec(a_hook(Kind.BACKGROUND, "upload"), weights={"a": a_weight()})
    made = planned(spec, store="s3://bucket/models")

    assert step(made, "background:upload").work is Work.HOOK
    assert step(made, "background:Voice.upload").work is Work.UPLOAD


# ---------------------------------------------------------------- lanes


def lanes(*hooks: tuple[str, tuple[str, ...], bool]) -> dict[str, Lane]:
    spec = a_spec(
        *(a_hook(Kind.LOAD, name, after=after, is_async=is_async) for name, after, is_async in hooks)
    )
    return {step.target: step.lane for step in planned(spec).steps if step.kind.value == "load"}


def test_the_first_hook_of_a_kind_shares_the_model_thread_and_siblings_get_their_own() -> None:
    assert lanes(("a", (), False), ("b", (), False)) == {"a": Lane.MODEL, "b": Lane.OWN}


def test_hooks_in_a_row_share_the_model_thread() -> None:
    assert lanes(("a", (), False), ("b", ("a",), False), ("c", ("b",), False)) == {
        "a": Lane.MODEL,
        "b": Lane.MODEL,
        "c": Lane.MODEL,
    }


def test_two_that_follow_the_same_hook_still_run_side_by_side() -> None:
    assert lanes(("a", (), False), ("b", ("a",), False), ("c", ("a",), False)) == {
        "a": Lane.MODEL,
        "b": Lane.MODEL,
        "c": Lane.OWN,
    }


def test_the_first_defined_hook_keeps_the_model_thread_when_it_runs_last() -> None:
    assert lanes(("a", ("b",), False), ("other", (), False), ("b", (), False)) == {
        "a": Lane.MODEL,
        "b": Lane.MODEL,
        "other": Lane.OWN,
    }


def test_an_async_hook_runs_on_the_loop() -> None:
    assert lanes(("a", (), True), ("b", (), False)) == {"a": Lane.LOOP, "b": Lane.MODEL}


def test_a_class_without_a_load_hook_is_constructed_when_its_weights_are_here() -> None:
    """It may load in `__init__`, by name, what a lock has observed."""
    weights = {"a": a_weight()}

    assert "fetch:a" in step(planned(a_spec(weights=weights)), "construct:Voice").after
    assert "fetch:a" not in step(planned(a_spec(LOAD, weights=weights)), "construct:Voice").after


def test_the_class_is_constructed_on_the_model_thread() -> None:
    assert step(planned(a_spec()), "construct:Voice").lane is Lane.MODEL


# ---------------------------------------------------------------- cuts

HERE = {
    "build:build": "build",
    "fetch:w": "after_snapshot",
    "fetch:fetch": "after_snapshot",
    "import:voice": "after_snapshot",
    "import:validation": "after_snapshot",
    "construct:Voice": "after_snapshot",
    "cuda_init:driver": "after_snapshot",
    "cuda_init:kernel": "after_snapshot",
    "load:load": "after_snapshot",
    "restored:restored": "after_snapshot",
    "warmup:warmup": "after_snapshot",
    "background:background": "background",
    "close:close": "close",
}
BEFORE = "before_snapshot"
CPU = HERE | {
    "fetch:w": BEFORE,
    "fetch:fetch": BEFORE,
    "import:voice": BEFORE,
    "import:validation": BEFORE,
    "construct:Voice": BEFORE,
    "load:load": BEFORE,
}
GPU = CPU | {"cuda_init:driver": BEFORE, "cuda_init:kernel": BEFORE, "warmup:warmup": BEFORE}


@pytest.mark.parametrize(
    ("backend", "snapshot", "expected"),
    [
        (local, Snapshot.NONE, HERE),
        (local, Snapshot.GPU, HERE),
        (runpod, Snapshot.NONE, HERE),
        (runpod, Snapshot.CPU, HERE),
        (modal, Snapshot.NONE, HERE),
        (modal, Snapshot.CPU, CPU),
        (modal, Snapshot.GPU, GPU),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_each_hook_lands_on_its_side_of_the_cut(
    backend: Backend, snapshot: Snapshot, expected: dict[str, str]
) -> None:
    made = planned(a_spec(*EVERY_HOOK, weights={"w": a_weight()}, **ON_GPU), backend, snapshot=snapshot)

    assert stages(made) == expected


def test_a_gpu_snapshot_warms_before_the_cut_and_proves_it_after() -> None:
    made = planned(a_spec(LOAD, RESTORED, CANARY, **ON_GPU), modal, snapshot=Snapshot.GPU)

    assert step(made, "warmup:warmup").after == ("load:load",)
    assert step(made, "restored:restored").after == ("warmup:warmup",)
    assert step(made, "canary:warmup").after == ("restored:restored",)
    assert step(made, "canary:warmup").stage is Stage.AFTER_SNAPSHOT


def test_a_canary_sings_only_after_a_gpu_snapshot() -> None:
    made = planned(a_spec(LOAD, RESTORED, CANARY, **ON_GPU), modal, snapshot=Snapshot.CPU)

    assert not [step for step in made.steps if step.kind.value == "canary"]


def test_a_restored_process_reseeds_unless_the_user_says_what_it_redoes() -> None:
    ours = planned(a_spec(LOAD), modal, snapshot=Snapshot.CPU)
    theirs = planned(a_spec(LOAD, RESTORED), modal, snapshot=Snapshot.CPU)
    uncut = planned(a_spec(LOAD), modal, snapshot=Snapshot.NONE)

    assert step(ours, "restored:reseed").work is Work.RESEED
    assert "restored:reseed" not in stages(theirs)
    assert "restored:reseed" not in stages(uncut)


def test_under_a_cpu_snapshot_load_gets_the_cpu_and_restored_the_device() -> None:
    made = planned(a_spec(LOAD, RESTORED, WARMUP, **ON_GPU), modal, snapshot=Snapshot.CPU)

    assert [step(made, name).device for name in ("load:load", "restored:restored", "warmup:warmup")] == [
        "cpu",
        "cuda",
        "cuda",
    ]


def test_without_a_cut_every_hook_but_build_gets_the_declared_device() -> None:
    made = planned(a_spec(BUILD, LOAD, **ON_GPU))

    assert (step(made, "load:load").device, step(made, "build:build").device) == ("cuda", "cpu")
    assert step(planned(a_spec(LOAD)), "load:load").device == "cpu"


# ---------------------------------------------------------------- snapshot


@pytest.mark.parametrize(
    ("spec", "backend", "expected"),
    [
        (a_spec(LOAD, RESTORED, **ON_GPU), modal, Snapshot.CPU),
        (a_spec(LOAD, **ON_GPU), modal, Snapshot.NONE),
        (a_spec(LOAD), modal, Snapshot.CPU),
        (a_spec(LOAD, RESTORED, **ON_GPU), runpod, Snapshot.NONE),
        (a_spec(LOAD, RESTORED, **ON_GPU), local, Snapshot.NONE),
    ],
    ids=["modal-restored", "modal-no-restored", "modal-no-gpu", "runpod", "local"],
)
def test_auto_snapshots_only_what_can_be_moved_back(spec: Spec, backend: Backend, expected: Snapshot) -> None:
    made = planned(spec, backend)

    assert made.snapshot is expected
    assert "snapshot: " in notes(made)


def test_a_snapshot_that_a_platform_cannot_take_is_a_note_not_an_error() -> None:
    made = planned(a_spec(LOAD, snapshot=Snapshot.GPU, **ON_GPU), runpod)

    assert made.snapshot is Snapshot.NONE
    assert "snapshot: RunPod has no memory snapshot: load runs on each cold start" in notes(made)


def test_no_snapshot_wished_no_word_about_it() -> None:
    assert "snapshot" not in notes(planned(a_spec(LOAD, snapshot=Snapshot.NONE), runpod))


def test_a_cpu_snapshot_that_nothing_moves_to_the_gpu_is_noted() -> None:
    made = planned(a_spec(LOAD, snapshot=Snapshot.CPU, **ON_GPU), modal)

    assert "there is no hook.restored to move the model" in notes(made)


@pytest.mark.parametrize("gpu", [(), ("H100:2",)])
def test_a_gpu_snapshot_needs_exactly_one_gpu(gpu: tuple[str, ...]) -> None:
    with pytest.raises(PlanError, match="exactly one GPU") as raised:
        planned(a_spec(LOAD, snapshot=Snapshot.GPU, gpu=gpu), modal)

    assert 'snapshot="cpu"' in raised.value.fix


# ---------------------------------------------------------------- GPUs


def test_cards_get_the_platforms_own_words_in_the_users_order() -> None:
    spec = a_spec(gpu=("RTX 4090", "L4", "A10G"))

    assert planned(spec, runpod).gpu == ("NVIDIA GeForce RTX 4090", "NVIDIA L4")
    assert planned(spec, modal).gpu == ("L4", "A10")
    assert planned(spec, local).gpu == spec.gpu


def test_a_weight_of_this_machine_that_does_not_go_along_is_noted_before_a_build_refuses_it() -> None:
    mine = {"w": a_weight("w/v.bin", origin=Origin.LOCAL)}
    along = ContainerSpec(files=(("w", "w"),))

    left = notes(planned(a_spec(LOAD, weights=mine), runpod))

    assert "weights['w']: w/v.bin lies on this machine only" in left
    assert ".copy('w/v.bin', 'w/v.bin')" in left
    assert "this machine only" not in notes(planned(a_spec(LOAD, weights=mine, image=along), runpod))
    assert "this machine only" not in notes(planned(a_spec(LOAD, weights=mine), local))


def test_a_store_in_a_folder_of_this_machine_is_noted_for_another() -> None:
    assert "store: ./kept is a folder of each worker's own" in notes(planned(a_spec(), modal, store="./kept"))
    assert "store:" not in notes(planned(a_spec(), runpod, store="/runpod-volume/kept"))
    assert "store:" not in notes(planned(a_spec(), modal, store="s3://bucket/kept"))
    assert "store:" not in notes(planned(a_spec(), local, store="./kept"))


def test_a_card_has_its_price_for_an_hour_and_for_a_minute_of_a_cold_start() -> None:
    said = notes(planned(a_spec(LOAD, gpu=("L4",)), runpod))

    assert "0.68 USD for each hour of a running worker, 0.0114 USD for each minute of a cold start" in said
    assert "as published on 2026-08-20" in said


@pytest.mark.parametrize(("wish", "card"), [("H100!", "H100"), ("B200+:2", "B200:2")])
def test_a_wish_in_modals_words_is_the_card_itself_elsewhere(wish: str, card: str) -> None:
    assert planned(a_spec(gpu=(wish,)), runpod).gpu == planned(a_spec(gpu=(card,)), runpod).gpu
    assert planned(a_spec(gpu=(wish,)), modal).gpu == (wish,)


def test_a_card_that_is_not_sold_is_noted_with_what_remains() -> None:
    made = planned(a_spec(gpu=("A10G", "L4")), runpod)

    assert "gpu: RunPod does not sell A10G; what remains: NVIDIA L4" in notes(made)


def test_no_card_left_is_an_error_that_names_what_is_sold() -> None:
    with pytest.raises(PlanError, match="sells none of the declared GPUs: RTX 4090, RTX 3090") as raised:
        planned(a_spec(gpu=("RTX 4090", "RTX 3090")), modal)

    assert "L40S" in raised.value.fix
    assert raised.value.where == "voice.py:Voice"


def test_a_price_says_when_it_was_published() -> None:
    assert "NVIDIA L4 (pool AMPERE_24): 0.68 USD" in notes(planned(a_spec(gpu=("L4",)), runpod))
    assert "published on 2026-08-20" in notes(planned(a_spec(gpu=("L4",)), runpod))


def test_two_of_a_card_are_two_in_the_platforms_words_and_cost_twice() -> None:
    made = planned(a_spec(gpu=("L4:2",)), runpod)

    assert made.gpu == ("NVIDIA L4:2",)
    assert "1.37 USD" in notes(made)


def test_a_card_without_a_published_price_has_no_price() -> None:
    assert "USD" not in notes(planned(a_spec(gpu=("RTX 5090",)), runpod))


# ---------------------------------------------------------------- places and tiers

HUB = {"weights": {"w": a_weight()}}


@pytest.mark.parametrize(
    ("backend", "store", "place", "tiers"),
    [
        (local, None, Place.ORIGIN, ("disk", "origin")),
        (local, "s3://b/m", Place.STORE, ("disk", "store", "origin")),
        (runpod, None, Place.ORIGIN, ("platform cache", "origin")),
        (runpod, "s3://b/m", Place.STORE, ("platform cache", "store", "origin")),
        (modal, None, Place.VOLUME, ("volume", "origin")),
        (modal, "s3://b/m", Place.STORE, ("store", "origin")),
    ],
)
def test_weights_go_to_the_store_or_where_the_platform_keeps_them_best(
    backend: Backend, store: str | None, place: Place, tiers: tuple[str, ...]
) -> None:
    made = planned(a_spec(LOAD, **HUB, **ON_GPU), backend, store=store)

    assert (made.place, made.places, made.tiers) == (place, {"w": place}, tiers)


def test_every_tier_is_read_in_the_fixed_order() -> None:
    spec = a_spec(place=Place.IMAGE, volume=VolumeSpec(name="models"), store="s3://b/m", **HUB, **ON_GPU)

    assert planned(spec, runpod).tiers == ("image", "platform cache", "volume", "store", "origin")


def test_a_store_given_beside_the_declaration_wins() -> None:
    assert planned(a_spec(store="s3://declared"), store="s3://given").store == "s3://given"


def test_one_weight_may_be_put_elsewhere() -> None:
    spec = a_spec(weights={"big": a_weight(place=Place.IMAGE), "small": a_weight()}, store="s3://b/m")

    assert planned(spec, modal).places == {"big": Place.IMAGE, "small": Place.STORE}


def test_a_volume_is_made_where_weights_go_to_one_by_default() -> None:
    made = planned(a_spec(**HUB), modal)

    assert made.volume == VolumeSpec(name="voice-weights")
    assert "'voice-weights'" in notes(made)


@pytest.mark.parametrize(
    ("place", "backend", "why"),
    [
        (Place.VOLUME, runpod, "no volume= is declared, so each machine"),
        (Place.STORE, runpod, "no store is known, so each machine"),
        (Place.STORE, modal, "no store is known, so weights go to the volume"),
        (Place.IMAGE, local, "This machine has none, so each machine"),
    ],
)
def test_a_place_that_is_not_there_is_noted_with_what_happens_instead(
    place: Place, backend: Backend, why: str
) -> None:
    made = planned(a_spec(place=place, **HUB), backend)

    assert f'place: place="{place.value}": {why}' in notes(made)


def test_a_volume_here_is_noted_and_not_mounted() -> None:
    made = planned(a_spec(volume=VolumeSpec(name="models")), local)

    assert made.volume is None
    assert "volume: here is no volume" in notes(made)


def test_media_that_may_not_fit_an_answer_are_noted() -> None:
    spoken = a_spec(an_endpoint(medium=Medium.AUDIO))
    streamed = a_spec(an_endpoint(medium=Medium.AUDIO, style=CallStyle.GENERATOR))

    assert "an answer of at most 10 MB" in notes(planned(spoken, runpod))
    assert "a chunk of at most 1 MB" in notes(planned(streamed, runpod))
    assert "results" not in notes(planned(spoken, runpod, store="s3://b/m"))
    assert "results" not in notes(planned(spoken, modal))


# ---------------------------------------------------------------- the rest


def test_the_declarations_environment_wins_over_the_images() -> None:
    made = planned(
        a_spec(image=ContainerSpec(env={"A": "image", "B": "image"}), env={"A": "env"}, secrets=("TOKEN",))
    )

    assert made.env == {"A": "env", "B": "image"}


def test_an_unknown_override_is_an_error_with_the_nearest_key() -> None:
    with pytest.raises(PlanError, match="has no key 'regoin'") as raised:
        planned(a_spec(overrides={"modal": {"regoin": "eu"}}), modal)

    assert "Did you mean 'region'?" in raised.value.fix


def test_overrides_of_another_platform_do_not_matter() -> None:
    planned(a_spec(overrides={"modal": {"region": "eu"}, "runpod": {"regoin": "eu"}}), modal)


def test_every_reason_against_a_plan_is_told_at_once() -> None:
    with pytest.raises(PlanError) as raised:
        planned(a_spec(gpu=("RTX 4090",), overrides={"modal": {"x": 1, "y": 2}}), modal)

    assert len(raised.value.problems) == 3


def test_a_plan_survives_its_json() -> None:
    made = planned(a_spec(*EVERY_HOOK, weights={"w": a_weight()}, **ON_GPU), modal, snapshot=Snapshot.CPU)

    assert Plan.from_json(made.to_json()) == made
    assert (made.sdk, made.spec_digest) == ("1.2.3", made.spec.digest())
