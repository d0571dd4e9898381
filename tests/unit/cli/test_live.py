"""What the verbs that look after a deployment take for their model."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from coldstart_sdk.cli import live
from coldstart_sdk.errors import UsageError
from tests.commands import a_project


@pytest.fixture(autouse=True)
def nothing_imported() -> Iterator[None]:
    """Each declaration of these tests is called app.py."""
    yield
    sys.modules.pop("app", None)


@pytest.mark.parametrize("model", ["./app.py", ".", "../project"])
def test_a_file_or_a_path_to_its_folder_is_read_for_the_name(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(a_project(tmp_path / "project").parent)

    found = live.find(model, "runpod", "status", str(tmp_path / "home"))

    assert (found.app, found.spec is not None) == ("voice", True)


def test_a_bare_word_is_a_name_whatever_folder_is_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    a_project(tmp_path / "project")
    monkeypatch.chdir(tmp_path)

    found = live.find("project", "runpod", "status", str(tmp_path / "home"))

    assert (found.app, found.spec) == ("project", None)


def test_without_a_platform_it_is_said_which_there_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    with pytest.raises(UsageError, match="no platform is named") as raised:
        live.find("voice", None, "status", str(tmp_path / "home"))

    assert "--target runpod" in str(raised.value.fix)
