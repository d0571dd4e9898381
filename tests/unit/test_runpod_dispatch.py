"""How many jobs a worker asks RunPod for."""

from __future__ import annotations

from coldstart_sdk.backends.runpod.dispatch import Dispatch


def after(seconds: float, *, places: int = 1, queue: int = 32, count: int = 20) -> Dispatch:
    dispatch = Dispatch(places, queue)
    for _ in range(count):
        dispatch.took(seconds)
    return dispatch


def test_it_begins_with_what_was_declared() -> None:
    assert Dispatch(4, 32).wanted(1) == 4


def test_short_jobs_make_it_ask_for_more_than_it_runs() -> None:
    assert after(0.1).wanted(1) == 10


def test_it_never_asks_for_more_than_it_would_let_in() -> None:
    assert after(0.001, queue=3).wanted(1) == 4


def test_long_jobs_are_left_to_other_workers() -> None:
    assert after(5.0).wanted(1) == 1


def test_a_worker_whose_jobs_become_long_asks_for_fewer_again() -> None:
    dispatch = after(0.1)
    assert dispatch.wanted(1) > 1

    for _ in range(20):
        dispatch.took(5.0)

    assert dispatch.wanted(1) == 1


def test_between_short_and_long_nothing_changes() -> None:
    dispatch = after(0.1)
    wanted = dispatch.wanted(1)

    for _ in range(20):
        dispatch.took(0.8)

    assert dispatch.wanted(1) == wanted


def test_one_job_proves_nothing() -> None:
    assert after(0.01, count=1).wanted(1) == 1
