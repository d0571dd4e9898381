"""What `--help` says: of the command, of each verb, and in the page that is made of them."""

from __future__ import annotations

import runpy
from collections.abc import Callable
from pathlib import Path

import pytest

from coldstart_sdk.cli.program import VERBS, program

ROOT = Path(__file__).parents[2]
PAGE = runpy.run_path(str(ROOT / "tools" / "cli_page.py"))


@pytest.mark.parametrize("verb", ["coldstart", *VERBS])
def test_help_says_what_it_said(verb: str, golden: Callable[[str, str], None]) -> None:
    golden(f"help/{verb}.txt", PAGE["help_of"]("" if verb == "coldstart" else verb))


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_examples_that_begin_with_itself(verb: str) -> None:
    command = program.get_command(PAGE["context"](), verb)

    examples = getattr(command, "examples", ())
    assert examples
    assert all(line.startswith(f"coldstart {verb}") and comment for line, comment in examples)


def test_the_page_of_the_command_line_is_current() -> None:
    assert (ROOT / "docs" / "cli.md").read_text(encoding="utf-8") == PAGE["page"](), (
        "renew it: python tools/cli_page.py"
    )
