"""Figures read the same in every picture."""

from __future__ import annotations

import pytest

from coldstart_sdk.trace import figures
from coldstart_sdk.trace.elide import columns, elide, elide_all, plain
from coldstart_sdk.trace.rows import ticks


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 ms"),
        (0.00001, "<0.1 ms"),
        (0.0003, "0.3 ms"),
        (0.00996, "10 ms"),
        (0.52, "520 ms"),
        (0.9996, "1.00 s"),
        (9.996, "10.0 s"),
        (99.96, "100 s"),
        (119.6, "2m00s"),
        (604, "10m04s"),
        (3599.9, "1h00m"),
        (7500, "2h05m"),
        (-4.2, "-4.20 s"),
    ],
)
def test_a_duration_has_three_digits_and_one_unit(seconds: float, words: str) -> None:
    assert figures.duration(seconds) == words


@pytest.mark.parametrize(
    ("count", "words"),
    [
        (0, "0 B"),
        (812, "812 B"),
        (999.6, "1.00 kB"),
        (54e6, "54.0 MB"),
        (1.35e9, "1.35 GB"),
        (2e16, "20000 TB"),
    ],
)
def test_a_size_is_in_powers_of_a_thousand(count: float, words: str) -> None:
    assert figures.size(count) == words


def test_a_speed_is_in_megabytes_unless_that_is_nothing() -> None:
    assert figures.speed(1.35e9, 8.11) == "166 MB/s"
    assert figures.speed(3000, 10) == "300 B/s"


def test_a_share_is_never_rounded_up_to_all_of_it() -> None:
    assert figures.percent(0.9999) == "99 %"
    assert figures.percent(1.0) == "100 %"


@pytest.mark.parametrize(
    ("end_s", "last"),
    [
        (0.025, "25 ms"),
        (0.9, "0.8 s"),
        (0.6, "0.6 s"),
        (12.3, "12 s"),
        (60, "60 s"),
        (640, "10 min"),
        (9000, "150 min"),
        (40_000, "10 h"),
        (864_000, "240 h"),
    ],
)
def test_ticks_are_round_moments_in_a_unit_that_fits(end_s: float, last: str) -> None:
    drawn = ticks(end_s, 7)

    assert len(drawn) <= 8
    assert drawn[0] == (0, "0")
    assert drawn[-1][1] == last


@pytest.mark.parametrize("end_s", [0, -1])
def test_an_axis_of_no_length_has_its_beginning(end_s: float) -> None:
    assert ticks(end_s, 7) == ((0, "0"),)


def test_a_cut_name_keeps_both_its_ends() -> None:
    assert elide("fetch:a-very-long-name", 11, "…") == "fetch…-name"


def test_names_are_cut_where_they_are_alike() -> None:
    cut = elide_all(["import:aaaaaaaaaaaa1", "import:aaaaaaaaaaaa2"], 10, "..")

    assert len(set(cut)) == 2


def test_a_cut_through_wide_characters_stays_within_its_columns() -> None:
    assert columns(elide("語" * 20, 9, "…")) <= 9


def test_a_plain_text_is_one_line_without_control_characters() -> None:
    assert plain("a\n\tb\x1b[2J\u202e") == "a b?[2J?"
