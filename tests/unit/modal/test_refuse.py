"""What Modal's client or service would refuse is refused here, with the mend, before anything is written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from coldstart_sdk.backends.modal import backend
from coldstart_sdk.backends.modal.compile import module
from coldstart_sdk.errors import BundleError
from coldstart_sdk.planner import plan
from coldstart_sdk.spec import ContainerSpec, Origin, Place, ScaleSpec
from tests.builders import LOAD, a_spec, a_weight

WEIGHTS = {"w": a_weight(place=Place.IMAGE), "v": a_weight("org/other", place=Place.VOLUME)}


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"name": "two words"}, "cannot be the name of a Modal app"),
        ({"qualname": "V" * 38}, "cannot stand in a Modal release's tag"),
        ({"qualname": "worker"}, "a name that modal_app.py uses itself"),
        ({"scale": ScaleSpec(idle_s=1.0)}, "2 to 1200 s, not 1 s"),
        ({"scale": ScaleSpec(idle_s=1300.0)}, "2 to 1200 s, not 1300 s"),
        ({"gpu": ("A10G:5",)}, "at most 4 cards of A10, not 5"),
        ({"gpu": ("H100:9",)}, "at most 8 cards of H100, not 9"),
        ({"weights": WEIGHTS}, "some weights go into the image"),
        (
            {"weights": {"w": a_weight("w.bin", origin=Origin.LOCAL)}},
            "the weight 'w' lies on this machine only",
        ),
        ({"overrides": {"modal": {"secrets": ["A"]}}}, "does not say which Modal secret"),
        ({"overrides": {"modal": {"secrets": {"A": "b"}}}}, "names 'A', which secrets= does not"),
    ],
)
def test_what_modal_would_refuse_is_told_with_its_mend(
    tmp_path: Path, fields: dict[str, Any], said: str
) -> None:
    made = plan(a_spec(LOAD, **fields), "modal", backend.capabilities, sdk="0")

    with pytest.raises(BundleError) as told:
        backend.compile(made, tmp_path)

    (problem,) = told.value.problems
    assert said in problem.message
    assert problem.fix
    assert problem.where


@pytest.mark.parametrize(
    ("source", "mend"),
    [
        ("w.bin", '.copy("w.bin", "w.bin")'),
        ("models/voice", '.copy("models/voice", "models/voice")'),
        ("./models/voice/", '.copy("models/voice", "models/voice")'),
        ("/data/w.bin", "Move it into the project's folder"),
        ("../w.bin", "Move it into the project's folder"),
        ("~/w.bin", "Move it into the project's folder"),
    ],
)
def test_a_weight_of_this_machine_is_copied_along_with_its_folders(
    tmp_path: Path, source: str, mend: str
) -> None:
    spec = a_spec(LOAD, weights={"w": a_weight(source, origin=Origin.LOCAL)})

    with pytest.raises(BundleError) as told:
        backend.compile(plan(spec, "modal", backend.capabilities, sdk="0"), tmp_path)

    assert mend in told.value.problems[0].fix


def test_every_refusal_is_told_at_once(tmp_path: Path) -> None:
    spec = a_spec(LOAD, name="two words", scale=ScaleSpec(idle_s=1.0), gpu=("H100:9",))

    with pytest.raises(BundleError) as told:
        backend.compile(plan(spec, "modal", backend.capabilities, sdk="0"), tmp_path)

    assert len(told.value.problems) == 3


@pytest.mark.parametrize(
    ("declared", "sold"),
    [
        (("H100!",), ("H100!",)),
        (("H100!:2",), ("H100!:2",)),
        (("B200+", "H200"), ("B200+", "H200")),
        (("A100-40GB:8", "A10G:4"), ("A100-40GB:8", "A10:4")),
    ],
)
def test_modal_gets_the_cards_in_its_own_words(declared: tuple[str, ...], sold: tuple[str, ...]) -> None:
    made = plan(a_spec(LOAD, gpu=declared), "modal", backend.capabilities, sdk="0")

    assert made.gpu == sold
    assert all(f'"{card}"' in module(made) for card in sold)


@pytest.mark.parametrize(("python", "count"), [("3.10", 1), ("3.11", 0), (None, 0)])
def test_a_python_that_modal_is_about_to_refuse_is_noted(
    tmp_path: Path, python: str | None, count: int
) -> None:
    made = plan(a_spec(LOAD, image=ContainerSpec(python=python)), "modal", backend.capabilities, sdk="0")

    assert len(backend.notes(made, tmp_path)) == count


@pytest.mark.parametrize("gpu", ["H100!:9", "B200+:9"])
def test_a_marked_card_has_its_limit_too(tmp_path: Path, gpu: str) -> None:
    with pytest.raises(BundleError, match="at most 8 cards"):
        backend.compile(plan(a_spec(LOAD, gpu=(gpu,)), "modal", backend.capabilities, sdk="0"), tmp_path)
