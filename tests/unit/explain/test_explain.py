"""The ranking: along the critical path, one after another, so that the savings add up."""

from __future__ import annotations

import pytest

from coldstart_sdk.errors import UsageError
from coldstart_sdk.explain.evidence import Evidence
from coldstart_sdk.explain.explain import explain
from coldstart_sdk.explain.text import headline, render
from tests.unit.explain.slow import CLEAN, a_start, asked, did, fetch, saved
from tests.unit.trace.starts import STARTS


def wasteful() -> Evidence:
    """A load of 9 s: 3 s of downloads, 2 s of imports, 1 s of compiling; and a warm-up of three shapes."""
    return Evidence(
        trace=a_start(
            did("import:app", 0.1, 2.1),
            did(
                "load:load",
                2.1,
                11.1,
                "import:app",
                parts=(
                    ("import:librosa", 2.1, 4.1),
                    ("download:hub", 4.1, 7.1),
                    ("read:a.bin", 7.1, 8.1),
                    ("run:g++", 9.1, 10.1),
                ),
                sizes=50_000_000,
            ),
            did(
                "warmup:warm",
                11.1,
                14.1,
                "load:load",
                parts=(
                    ("call:speak(text=1)", 11.1, 12.1),
                    ("call:speak(text=9)", 12.1, 13.1),
                    ("call:speak(text=99)", 13.1, 14.1),
                ),
            ),
        )
    )


def test_a_clean_start_has_nothing_to_explain() -> None:
    told = explain(Evidence(trace=a_start(*CLEAN, requests=asked(0.5, 0.5, 0.5, start_s=5.0), cpu_quota="4")))

    assert (told.advice, told.beside, told.remarks) == ((), (), ())
    assert headline(told) == "4.40 s to ready; nothing to save was found"


def test_the_savings_add_up_to_what_all_changes_save_together() -> None:
    evidence = wasteful()
    told = explain(evidence)
    changes = [change for advice in told.advice for change in advice.finding.changes]

    assert told.avoidable_s == pytest.approx(evidence.graph.saves_s(changes))


def test_the_most_worth_stands_first() -> None:
    worth = [advice.saves_s for advice in explain(wasteful()).advice if advice.of_ready]

    assert len(worth) >= 4
    assert worth == sorted(worth, reverse=True)


def test_what_lies_beside_the_critical_path_is_told_as_worth_nothing() -> None:
    start = a_start(
        fetch("fetch:f5", 0.1, 9.0, 2_000_000_000, counts={"connections": 8}),
        did("import:app", 0.1, 3.0, parts=(("import:runpod", 0.5, 2.5),)),
        did("load:load", 9.0, 9.5, "fetch:f5", "import:app"),
    )
    told = explain(Evidence(trace=start))

    assert [finding.rule for finding in told.beside] == ["vendor-sdk"]
    assert told.advice == ()


def test_two_wastes_on_equal_chains_are_told_together() -> None:
    start = a_start(
        did("import:app", 0.1, 3.1, parts=(("import:runpod", 0.1, 2.1),)),
        did("load:load", 0.1, 3.1, parts=(("run:nvcc", 0.1, 2.1),)),
        did("warmup:warm", 3.1, 3.5, "import:app", "load:load"),
    )
    (advice,) = explain(Evidence(trace=start)).advice

    assert advice.together_with is not None
    assert {advice.finding.rule, advice.together_with.rule} == {"vendor-sdk", "extension-rebuilt"}
    assert advice.saves_s == pytest.approx(2.0)


def test_what_the_first_caller_waits_for_is_counted_apart_from_ready() -> None:
    start = a_start(
        did("import:app", 0.1, 1.0), did("load:load", 1.0, 2.0), requests=asked(3.0, 0.5, 0.5, start_s=2.1)
    )
    told = explain(Evidence(trace=start))

    assert told.avoidable_s == 0
    assert told.avoidable_first_s == pytest.approx(2.5)
    assert headline(told).endswith("3.00 s to the first answer; 2.50 s avoidable")


def test_a_start_that_was_never_ready_is_no_matter_for_rules() -> None:
    with pytest.raises(UsageError, match="never ready") as refused:
        explain(Evidence(trace=STARTS["failed_load"]))

    assert "Name a larger card" in refused.value.fix


def test_crumbs_are_not_told() -> None:
    assert saved(a_start(did("load:load", 0.1, 9.0, parts=(("run:g++", 1.0, 1.06),)))) == {}


@pytest.mark.parametrize("width", [60, 80, 120])
def test_the_text_keeps_to_its_columns(width: int) -> None:
    text = render(explain(wasteful()), width=width)

    assert max(map(len, text.splitlines())) <= width


def test_the_text_says_what_why_on_what_evidence_and_how() -> None:
    text = render(explain(wasteful()))

    assert text.startswith("14.1 s to ready; ")
    for label in ("why", "seen", "change", "rule"):
        assert f"\n    {label:<9}" in text
    assert "Weights.hf" in text
