"""A start played again: unchanged it is ready when it was, changed it is ready no later."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coldstart_sdk.explain.graph import AtMost, Change, Cut, Drop, Free, Graph, Less, Move, Takes
from coldstart_sdk.plan import Lane
from coldstart_sdk.trace.model import Trace
from tests.unit.explain.slow import a_start, did
from tests.unit.trace.starts import STARTS

READY = [name for name, trace in STARTS.items() if trace.anchors.ready_s is not None]


def two_chains() -> Trace:
    """An import of 2 s beside a load of 2 s; both before a warm-up of 1 s."""
    return a_start(
        did("import:app", 1.0, 3.0),
        did("load:load", 1.0, 3.0),
        did("warmup:warm", 3.0, 4.0, "import:app", "load:load"),
    )


@pytest.mark.parametrize("name", READY)
def test_played_unchanged_it_is_ready_when_it_was(name: str) -> None:
    trace = STARTS[name]

    assert Graph.of(trace).ready_s() == pytest.approx(trace.anchors.ready_s, abs=1e-5)


def test_a_second_saved_beside_the_critical_path_is_worth_nothing() -> None:
    graph = Graph.of(two_chains())

    assert graph.saves_s([Cut(step="load:load", stretches=((1.0, 2.0),))]) == pytest.approx(0.0)


def test_two_equal_chains_are_worth_something_only_together() -> None:
    cuts = [Cut(step=name, stretches=((1.0, 2.0),)) for name in ("load:load", "import:app")]

    assert Graph.of(two_chains()).saves_s(cuts) == pytest.approx(1.0)


def test_what_is_cut_twice_is_saved_once() -> None:
    cut = Cut(step="warmup:warm", stretches=((3.0, 3.6),))
    graph = Graph.of(two_chains())

    assert graph.after([cut]).saves_s([cut]) == pytest.approx(0.0)
    assert graph.saves_s([cut, Cut(step="warmup:warm", stretches=((3.5, 3.8),))]) == pytest.approx(0.8)


def test_a_cut_outside_of_its_step_saves_nothing() -> None:
    assert Graph.of(two_chains()).saves_s([Cut(step="warmup:warm", stretches=((0.0, 3.0),))]) == 0


@pytest.mark.parametrize(
    ("change", "saves_s"),
    [
        (AtMost(step="warmup:warm", seconds=0.25), 0.75),
        (AtMost(step="warmup:warm", seconds=9.0), 0.0),
        (Less(step="warmup:warm", seconds=0.4), 0.4),
        (Less(step="warmup:warm", seconds=40.0), 1.0),
        (Takes(step="warmup:warm", seconds=2.0), -1.0),
        (Drop(step="warmup:warm"), 1.0),
        (Drop(step="warmup:other"), 0.0),
    ],
)
def test_each_change_is_worth_what_it_says(change: Change, saves_s: float) -> None:
    assert Graph.of(two_chains()).saves_s([change]) == pytest.approx(saves_s)


def test_what_waited_for_a_dropped_step_waits_for_what_that_had_waited_for() -> None:
    start = a_start(
        did("load:a", 1.0, 2.0), did("load:b", 2.0, 4.0, "load:a"), did("warmup:w", 4.0, 5.0, "load:b")
    )

    assert Graph.of(start).saves_s([Drop(step="load:b")]) == pytest.approx(2.0)


def test_a_freed_step_begins_with_what_it_had_waited_for() -> None:
    start = a_start(did("import:app", 0.1, 1.0), did("fetch:a", 1.0, 2.0, "import:app"))

    assert Graph.of(start).saves_s([Free(step="fetch:a", of="import:app")]) == pytest.approx(0.9, abs=0.06)


def test_a_moved_import_hides_behind_what_runs_meanwhile() -> None:
    start = a_start(
        did("fetch:f5", 0.1, 5.0), did("import:app", 0.1, 1.0), did("load:load", 5.0, 8.0, "fetch:f5")
    )
    move = Move(step="load:load", name="imports", stretches=((5.0, 7.0),), lane=Lane.IMPORTS)

    assert Graph.of(start).saves_s([move]) == pytest.approx(2.0)


def test_a_moved_import_queues_behind_the_imports_that_are_there() -> None:
    start = a_start(
        did("fetch:f5", 0.1, 2.0), did("import:app", 0.1, 1.9), did("load:load", 2.0, 5.0, "fetch:f5")
    )
    move = Move(step="load:load", name="imports", stretches=((2.0, 4.0),), lane=Lane.IMPORTS)

    assert Graph.of(start).saves_s([move]) == pytest.approx(0.1)


def test_no_change_is_worth_more_than_its_cpu_time_allows() -> None:
    """Two steps side by side on half a core: to order them otherwise makes no core faster."""
    start = a_start(did("load:a", 1.0, 3.0), did("load:b", 3.0, 5.0, "load:a"), cpu_quota="0.5", cores="8")

    assert Graph.of(start).ready_s() == pytest.approx(5.0)
    assert Graph.of(start).saves_s([Free(step="load:b", of="load:a")]) == pytest.approx(0.0)


@given(
    cuts=st.lists(
        st.tuples(
            st.sampled_from(list(Graph.of(STARTS["many_steps"]).nodes)),
            st.floats(0, 60, allow_nan=False),
            st.floats(0, 20, allow_nan=False),
        ),
        max_size=8,
    )
)
def test_cutting_never_makes_a_start_longer(cuts: list[tuple[str, float, float]]) -> None:
    graph = Graph.of(STARTS["many_steps"])
    before_s = graph.ready_s()

    for step, start_s, lasts_s in cuts:
        graph = graph.after([Cut(step=step, stretches=((start_s, start_s + lasts_s),))])
        assert graph.ready_s() <= before_s + 1e-9
        before_s = graph.ready_s()


def test_what_is_moved_out_of_an_import_may_be_waited_for_by_another() -> None:
    graph = Graph.of(
        a_start(
            did("import:app", 1.0, 4.0),
            did("import:torch", 4.0, 6.0, "import:app"),
            did("load:load", 6.0, 7.0, "import:torch"),
        )
    )
    own = Move(step="import:app", name="fetch", stretches=((1.0, 3.0),), lane=Lane.OWN)

    assert graph.saves_s([own]) == pytest.approx(0.0)
    assert graph.saves_s([replace(own, before=("load:load",))]) == pytest.approx(2.0)
