"""Durations and sizes are read as people write them, and nothing else is."""

from __future__ import annotations

import pytest

from coldstart_sdk.declare import amounts


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        (30, 30.0),
        (0.5, 0.5),
        ("30s", 30.0),
        ("500ms", 0.5),
        ("1h30m", 5400.0),
        ("1.5 h", 5400.0),
        ("24h", 86400.0),
    ],
)
def test_a_duration_is_read_in_seconds(written: object, meant: float) -> None:
    assert amounts.seconds(written) == pytest.approx(meant)


@pytest.mark.parametrize("written", [0, -1, True, None, "", "10", "s", "-1s", "10 min", "25h", float("inf")])
def test_what_is_no_duration_is_none(written: object) -> None:
    assert amounts.seconds(written) is None


@pytest.mark.parametrize(
    ("written", "meant"),
    [(1, 1), ("10GB", 10**10), ("1GiB", 2**30), ("1.5 KB", 1500), ("1TiB", 2**40), ("7B", 7)],
)
def test_a_size_is_read_in_bytes(written: object, meant: int) -> None:
    assert amounts.size_bytes(written) == meant


@pytest.mark.parametrize("written", [0, -1, True, None, 1.5, "", "10", "10gb", "10 gigs", "1iB", 2**63])
def test_what_is_no_size_is_none(written: object) -> None:
    assert amounts.size_bytes(written) is None
