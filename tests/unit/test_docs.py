"""What the README and the pages say runs: their code is checked, their commands and settings exist."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path

import click
import pytest

from coldstart_sdk.cli import settings
from coldstart_sdk.cli.program import VERBS, program
from coldstart_sdk.declare.options import KNOWN
from coldstart_sdk.spec import Kind

ROOT = Path(__file__).parents[2]
PAGES = tuple(sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")]))
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"`((?:[A-Z_]+=\S* )*coldstart [^`]+)`")
_LINK = re.compile(r"\]\(([^)#\s]+)\)")
_SETTING = re.compile(r"\bCOLDSTART_[A-Z_]*[A-Z]\b")


@dataclass(frozen=True, kw_only=True)
class Block:
    page: str
    number: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}-{self.number}"


def _blocks(language: str) -> Iterator[Block]:
    for path in PAGES:
        found = _FENCE.finditer(path.read_text(encoding="utf-8"))
        for number, match in enumerate(found, 1):
            if match[1] == language:
                yield Block(page=path.stem, number=number, language=match[1], text=match[2])


def _commands() -> Iterator[str]:
    """Every `coldstart …` that a reader may copy; a doc's page of help texts has none."""
    lines = [line for block in _blocks("sh") for line in block.text.replace("\\\n", "").splitlines()]
    inline = [found for path in PAGES for found in _INLINE.findall(path.read_text(encoding="utf-8"))]
    for line in (*lines, *inline):
        words = shlex.split(line, comments=True)
        while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
            del words[0]
        if words[:1] in (["coldstart"], [".venv/bin/coldstart"]):
            yield shlex.join(words[: words.index("|")] if "|" in words else words)


def _all_python() -> list[Block]:
    return list(_blocks("python"))


@pytest.mark.parametrize("block", [each for each in _all_python() if "@warm_model" in each.text], ids=str)
def test_each_declaration_on_a_page_is_sound(block: Block, tmp_path: Path) -> None:
    file = tmp_path / "app.py"
    file.write_text(block.text, encoding="utf-8")
    (tmp_path / "weights").mkdir()  # what a page's Weights.local names

    checked = subprocess.run(
        [sys.executable, "-m", "coldstart_sdk.cli", "check", str(file)],
        capture_output=True,
        text=True,
        check=False,
    )

    assert checked.returncode == 0, checked.stderr


@pytest.mark.parametrize("block", [each for each in _all_python() if "@warm_model" not in each.text], ids=str)
def test_each_other_piece_of_python_on_a_page_runs(block: Block) -> None:
    exec(compile(block.text, f"{block}.py", "exec"), {})  # noqa: S102 - our own pages


@pytest.mark.parametrize("command", sorted(set(_commands())))
def test_each_command_on_a_page_has_a_verb_and_its_options(command: str) -> None:
    _, verb, *words = shlex.split(command)
    if verb.startswith("-") or verb.isupper():
        return
    assert verb in VERBS

    found = program.get_command(click.Context(program), verb)
    assert found is not None
    known = {"--help", "-h"}.union(*(option.opts for option in found.params))
    unknown = [word for word in words if re.match(r"--?[a-z]", word) and word.partition("=")[0] not in known]
    assert not unknown


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_each_link_on_a_page_leads_somewhere(path: Path) -> None:
    targets = [target for target in _LINK.findall(path.read_text(encoding="utf-8")) if "://" not in target]

    assert [target for target in targets if not (path.parent / target).exists()] == []


def test_each_setting_on_a_page_is_one_that_is_read() -> None:
    read = {f"COLDSTART_{field.name.upper()}" for field in fields(settings.Settings)}
    for folder in ("coldstart_sdk", "tests"):
        for file in (ROOT / folder).rglob("*.py"):
            read.update(_SETTING.findall(file.read_text(encoding="utf-8")))

    told = {name for path in PAGES for name in _SETTING.findall(path.read_text(encoding="utf-8"))}

    assert told <= read


def test_the_page_on_settings_tells_of_every_setting() -> None:
    page = (ROOT / "docs/settings.md").read_text(encoding="utf-8")

    assert [field.name for field in fields(settings.Settings) if f"`{field.name}`" not in page] == []


def test_the_page_on_declarations_tells_of_every_option_and_hook() -> None:
    page = (ROOT / "docs/declare.md").read_text(encoding="utf-8")

    assert [name for name in KNOWN if f"`{name}=" not in page] == []
    assert [kind.value for kind in Kind if f"`@hook.{kind.value}`" not in page] == []


@pytest.mark.parametrize("block", list(_blocks("toml")), ids=str)
def test_each_pyproject_on_a_page_is_understood(block: Block, tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(block.text, encoding="utf-8")

    assert settings.of_project(tmp_path) != settings.Settings()
