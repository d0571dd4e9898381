"""Golden files: what is generated equals them byte for byte. `pytest tests/golden --refresh-golden` renews.

The option exists only where this folder is named on the command line.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

HERE = Path(__file__).parent


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--refresh-golden", action="store_true", help="write the golden files anew")


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """Compare a text with the golden file of that name, or write it."""

    def compare(name: str, text: str) -> None:
        file = HERE / name
        if request.config.getoption("--refresh-golden", default=False):
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
        assert file.is_file(), f"no golden file {name}: pytest tests/golden --refresh-golden"
        assert text == file.read_text(encoding="utf-8")

    return compare
