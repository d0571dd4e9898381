"""The log of a worker, in sentences; what is not ours, or is cut, stays as it is."""

from __future__ import annotations

import json

from coldstart_sdk.backends.modal import log


def said(**event: object) -> list[str]:
    return list(log.read([log.MARK + json.dumps(event)]))


def test_a_step_is_told_with_why_it_failed() -> None:
    assert said(**{"is": "StepEnded", "step": "load:load", "outcome": "timed_out", "reason": "too slow"}) == [
        "load:load          timed out: too slow"
    ]


def test_a_worker_that_failed_is_told_in_three_lines() -> None:
    state, *why = said(
        **{"is": "StateChanged", "state": "failed", "reason": "torn", "where": "a.py:3", "fix": "f"}
    )

    assert state.split() == ["worker", "failed"]
    assert [line.split() for line in why] == [["error:", "torn"], ["at:", "a.py:3"], ["fix:", "f"]]


def test_what_only_programs_read_is_left_out() -> None:
    assert said(**{"is": "FactsSeen", "facts": {}}) == []


def test_what_is_not_ours_stays_as_it_is() -> None:
    lines = ["loading the voice", 'coldstart {"is": "StepEn', "coldstart {}", "coldstart started"]

    assert list(log.read(lines)) == lines
