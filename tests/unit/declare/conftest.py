"""Builds one declaration file per test, and forgets its module afterwards."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

IMPORTS = (
    "from coldstart_sdk import Audio, Container, File, Image, Scale, Video, Volume, Weights, "
    "endpoint, hook, warm_model"
)
BODY = """
@hook.load
def load(self, weights): ...
@endpoint
def speak(self, text: str) -> Audio: ...
"""


@dataclass(frozen=True)
class Project:
    """A folder with declarations."""

    folder: Path

    def write(self, options: str = "", body: str = BODY, top: str = "", *, name: str = "app.py") -> Path:
        """A file with one declared class `App`."""
        declared = f"@warm_model(\n{textwrap.indent(textwrap.dedent(options).strip(), '    ')}\n)"
        inside = textwrap.indent(textwrap.dedent(body).strip(), "    ")
        return self.write_text(
            f"{IMPORTS}\n{textwrap.dedent(top)}\n{declared}\nclass App:\n{inside}\n", name=name
        )

    def write_text(self, text: str, *, name: str = "app.py") -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text), encoding="utf-8")
        return path


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield Project(folder)
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", None)).startswith(str(folder)):
            del sys.modules[name]
