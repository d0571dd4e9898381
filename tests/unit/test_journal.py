"""A worker's memory of what happened."""

from __future__ import annotations

from coldstart_sdk.events import Event, Outcome, RequestEnded, StepStarted
from coldstart_sdk.journal import LATEST, Journal


def a_request(number: int) -> RequestEnded:
    return RequestEnded(
        at_s=float(number),
        id=str(number),
        endpoint="speak",
        started_s=float(number),
        queued_s=0.0,
        first_s=None,
        outcome=Outcome.DONE,
    )


def test_every_reader_hears_every_event() -> None:
    first: list[Event] = []
    later: list[Event] = []
    journal = Journal(first.append)
    journal(StepStarted(at_s=1.0, step="load:load"))
    journal.also(later.append)
    journal(StepStarted(at_s=2.0, step="warmup:warm"))

    assert len(first) == 2
    assert later == [StepStarted(at_s=2.0, step="warmup:warm")]


def test_a_start_is_kept_whole_and_of_requests_the_latest() -> None:
    journal = Journal()
    journal(StepStarted(at_s=0.0, step="load:load"))
    for number in range(LATEST + 5):
        journal(a_request(number))

    assert StepStarted(at_s=0.0, step="load:load") in journal.events
    assert len(journal.events) == LATEST + 1
    assert a_request(4) not in journal.events
