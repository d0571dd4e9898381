"""`docs/five-systems.md` links what each author did to a line and to a test; both must be there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "five-systems.md").read_text()
LINES = re.findall(r"\[`(.+?)`\]\(\.\./([\w./-]+)#L(\d+)\)", TEXT)
TESTS = sorted(set(re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", TEXT)))
SYSTEMS = ("IndexTTS-2", "MultiTalk", "Orpheus and SNAC", "Kokoro", "F5-TTS")


@pytest.mark.parametrize(("words", "file", "number"), LINES)
def test_a_linked_line_still_says_what_the_link_says(words: str, file: str, number: str) -> None:
    line = (ROOT / file).read_text().splitlines()[int(number) - 1]

    assert words in line


@pytest.mark.parametrize(("file", "name"), TESTS)
def test_a_named_test_is_there(file: str, name: str) -> None:
    assert re.search(rf"^(async )?def {name}\(", (ROOT / file).read_text(), re.MULTILINE)


def test_each_system_has_a_row_for_everything_its_author_did() -> None:
    parts = {part.partition(":")[0]: part for part in TEXT.split("\n## ")[1:]}
    rows = {name: len(re.findall(r"^\| (?!They|---)", parts[name], re.MULTILINE)) for name in SYSTEMS}

    assert rows == {"IndexTTS-2": 10, "MultiTalk": 8, "Orpheus and SNAC": 8, "Kokoro": 9, "F5-TTS": 9}
