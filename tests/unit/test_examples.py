"""Each example is whole: it checks clean, says what it stands on, and has a beginning to be held against."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from coldstart_sdk.cli import rig
from tests.commands import coldstart

EXAMPLES = Path(__file__).parents[2] / "examples"
NAMES = sorted(folder.name for folder in EXAMPLES.iterdir() if (folder / "weights.py").is_file())
README_SAYS = ("## The problem", "## Two commands", "## What was run, and what was not")
LONGEST = 160
"""Lines of a declaration that is read in two minutes."""


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("which", ["app.py", "before/app.py"])
def test_a_declaration_checks_clean_without_its_libraries(name: str, which: str) -> None:
    said = coldstart("check", str(EXAMPLES / name / which), "--json")

    assert said.code == 0, said.err
    assert said.problems == []


@pytest.mark.parametrize("name", NAMES)
def test_a_declaration_is_read_in_two_minutes(name: str) -> None:
    assert len((EXAMPLES / name / "app.py").read_text().splitlines()) <= LONGEST


@pytest.mark.parametrize("name", NAMES)
def test_a_readme_has_its_parts_and_no_dead_link(name: str) -> None:
    text = (EXAMPLES / name / "README.md").read_text()

    assert [head for head in README_SAYS if head not in text] == []
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", text)
    assert [link for link in links if "://" not in link and not (EXAMPLES / name / link).exists()] == []


@pytest.mark.parametrize("name", NAMES)
def test_what_real_weights_are_is_said_and_marked_as_unverified(name: str) -> None:
    import tomli

    said = tomli.loads((EXAMPLES / name / "expected.toml").read_text())
    planned = coldstart("plan", str(EXAMPLES / name), "--target", "local", "--json")
    spec = json.loads(planned.out)["spec"]

    assert set(said["weights"]) == set(spec["weights"])
    for weight, facts in said["weights"].items():
        assert facts["source"] == spec["weights"][weight]["source"]
        assert facts["verified"] is False
        assert facts["known_from"]


def test_one_setting_holds_for_all_examples() -> None:
    settings = [rig.setting_above(EXAMPLES / name) for name in NAMES]

    assert [path for name in NAMES for path in (EXAMPLES / name).rglob(rig.SETTING)] == []
    assert len({setting.weights_bytes for setting in settings}) == 1
    assert (settings[0].hub_bytes_s, settings[0].store_bytes_s) == (30e6, 300e6)
