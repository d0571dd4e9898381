"""A start held to a budget and to the one before it, and signed off."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from coldstart_sdk import hold
from coldstart_sdk.errors import BudgetError, UsageError
from coldstart_sdk.hold.diff import diff, render
from coldstart_sdk.hold.receipt import Receipt
from coldstart_sdk.trace.model import Trace
from coldstart_sdk.trace.path import mark
from tests.unit.explain.slow import CLEAN, a_start, asked, did, fetch
from tests.unit.trace.starts import STARTS

START = a_start(*CLEAN, requests=asked(0.66, 0.5, 0.6, start_s=4.5), cores="4")
"""Ready after 4.4 s; the first answer is 1.2 times the median of the later ones."""


def slower() -> Trace:
    """The same, its load 2 s longer and its imports 0.5 s: those are beside the critical path."""
    return a_start(
        fetch("fetch:f5", 0.1, 3.1, 1_350_000_000),
        did("import:app", 0.1, 2.5),
        did("construct", 2.5, 2.51, "import:app"),
        did("load:load", 3.1, 6.0, "fetch:f5", "construct"),
        did("warmup:warm", 6.0, 6.4, "load:load"),
        cores="2",
    )


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("ready=4.5s", True),
        ("ready=4.3s", False),
        ("ready=4500ms", True),
        ("first=1.25x", True),
        ("first=1.1x", False),
        ("first=700ms", True),
        ("first=0.5s", False),
        ("bytes=2GB", True),
        ("bytes=1GB", False),
        ("load:load=1s", True),
        ("load:load=0.5s", False),
        ("load=1s,ready=1s", False),
        ("warm=0.6s, ready=1m", True),
    ],
)
def test_a_start_is_held_to_each_limit(text: str, *, kept: bool) -> None:
    assert hold.check(START, hold.budget(text)).kept is kept


@pytest.mark.parametrize("text", ["ttfb=20s", "load:other=3s"])
def test_what_nobody_saw_nobody_vouches_for(text: str) -> None:
    receipt = hold.check(START, hold.budget(text))

    assert not receipt.kept
    assert "was not seen" in str(receipt.verdicts[0])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "empty"),
        ("redy=3s", "did you mean ready"),
        ("ready", "names no figure"),
        ("ready=", "no amount"),
        ("ready=fast", "no amount"),
        ("ready=2x", "not counted in 'x'"),
        ("first=2GB", "not counted in 'B'"),
    ],
)
def test_a_budget_that_cannot_be_read_is_refused_with_the_form(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said) as refused:
        hold.budget(text)

    assert "ready=15s" in refused.value.fix


def test_every_mistake_of_a_budget_is_told_at_once() -> None:
    with pytest.raises(UsageError) as refused:
        hold.budget("redy=3s,first=9q,bytes=1GB")

    assert len(refused.value.problems) == 2


def test_a_start_over_its_budget_ends_with_the_exit_code_for_it() -> None:
    receipt = hold.check(START, hold.budget("ready=4s,first=1.1x"))

    with pytest.raises(BudgetError, match=r"ready was 4.40 s, the budget is 4.00 s") as over:
        hold.refuse_over(receipt)
    assert over.value.exit_code == 9
    assert len(over.value.problems) == 2
    assert over.value.where
    assert "fetch:f5" in over.value.where


def test_a_start_within_its_budget_is_let_through() -> None:
    hold.refuse_over(hold.check(START, hold.budget("ready=5s")))


def test_a_receipt_is_read_back_as_it_was_written() -> None:
    receipt = hold.check(START, hold.budget("ready=5s"))

    assert Receipt.from_json(receipt.to_json()) == receipt
    assert len(receipt.to_json()) < 3000


def test_a_receipt_that_was_edited_is_refused() -> None:
    edited = json.loads(hold.check(START).to_json())
    edited["ready_s"] = 0.1

    with pytest.raises(UsageError, match="digest does not match"):
        Receipt.from_json(json.dumps(edited))


def test_one_trace_always_gives_one_receipt() -> None:
    assert hold.check(START) == hold.check(Trace.from_json(START.to_json()))


def test_the_legs_of_a_diff_add_up_to_the_difference_of_the_starts() -> None:
    found = diff(START, slower())

    assert found.worth_s == pytest.approx(2.0)
    assert sum(change.worth_s for change in found.changes) == pytest.approx(found.worth_s)


def test_the_step_that_made_it_later_stands_first() -> None:
    worst, *rest = diff(START, slower()).changes

    assert (worst.name, round(worst.worth_s, 3)) == ("load:load", 2.0)
    assert [change.name for change in rest if change.worth_s == 0] == ["import:app"]


def test_a_start_beside_itself_shows_no_difference() -> None:
    found = diff(START, START)

    assert (found.changes, found.surroundings) == ((), ())
    assert render(found) == "4.40 s to ready, ±0 ms against 4.40 s\n"


def test_steps_that_came_or_went_are_told() -> None:
    without = mark(replace(START, spans=tuple(span for span in START.spans if span.name != "construct")))
    text = render(diff(without, slower()))

    assert "construct" in text or "import:app" in text


def test_what_differs_about_the_machines_is_told() -> None:
    assert ("cores", "4", "2") in diff(START, slower()).surroundings


def test_a_diff_as_markdown_is_a_table_that_nothing_breaks_out_of() -> None:
    hostile = replace(slower(), machine={"gpu": "<b>|"})
    text = render(diff(START, hostile), markdown=True)

    assert text.startswith("**Cold start: 6.40 s to ready, +2.00 s against 4.40 s**")
    assert "| +2.00 s | load:load | 900 ms > 2.90 s |" in text
    assert "&lt;b>\\|" in text


def test_a_start_that_was_never_ready_cannot_be_compared() -> None:
    with pytest.raises(UsageError, match="never ready"):
        diff(START, STARTS["failed_load"])
