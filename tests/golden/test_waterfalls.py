"""The waterfalls of starts as users meet them, in a narrow, a usual and a wide terminal."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from coldstart_sdk.trace.waterfall import render
from tests.unit.trace.starts import STARTS


@pytest.mark.parametrize("letters", ["unicode", "ascii"])
@pytest.mark.parametrize("width", [60, 80, 120])
@pytest.mark.parametrize("name", STARTS)
def test_a_start_looks_as_it_did(
    name: str, width: int, letters: str, golden: Callable[[str, str], None]
) -> None:
    drawn = render(STARTS[name], width=width, unicode=letters == "unicode")

    golden(f"waterfalls/{name}-{width}-{letters}.txt", drawn)
