"""Places and a queue: first come, first served, and never one too many."""

from __future__ import annotations

import asyncio

import pytest

from coldstart_sdk.gate import FullError, Gate


def test_one_more_than_places_and_queue_hold_is_turned_away() -> None:
    gate = Gate(places=1, queue=2)
    for _ in range(3):
        gate.enter()

    with pytest.raises(FullError):
        gate.enter()
    gate.leave()
    gate.enter()


def test_who_is_turned_away_is_told_to_wait_as_long_as_those_inside_usually_take() -> None:
    gate = Gate(places=2, queue=2)
    for _ in range(4):
        gate.enter()
    for _ in range(200):
        gate.take()
        gate.free(took_s=10.0)

    with pytest.raises(FullError) as full:
        gate.check()

    assert full.value.retry_after_s == 20  # four inside, two at once, ten seconds each


def test_a_place_goes_to_who_has_waited_longest() -> None:
    async def scene() -> list[str]:
        gate, came = Gate(places=1, queue=5), []

        async def visit(name: str) -> None:
            await gate.place()
            came.append(name)

        assert gate.take()
        waiting = [asyncio.create_task(visit(name)) for name in ("first", "second", "third")]
        await asyncio.sleep(0)
        assert not gate.take()
        for done in waiting:
            gate.free(0.0)
            await done
        return came

    assert asyncio.run(scene()) == ["first", "second", "third"]


def test_a_place_whose_owner_left_as_it_came_goes_to_the_next() -> None:
    async def scene() -> bool:
        gate = Gate(places=1, queue=5)
        gate.take()
        leaver, next_one = asyncio.create_task(gate.place()), asyncio.create_task(gate.place())
        await asyncio.sleep(0)
        gate.free(0.0)
        leaver.cancel()
        await asyncio.wait([leaver, next_one])
        return leaver.cancelled() and next_one.done() and not next_one.cancelled()

    assert asyncio.run(scene())


def test_waiting_and_running_are_told_apart() -> None:
    gate = Gate(places=1, queue=5)
    gate.enter()
    gate.enter()
    gate.take()

    assert (gate.running, gate.waiting) == (1, 1)
