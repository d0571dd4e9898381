"""The real `coldstart`, in a process of its own: what it wrote on each stream, and how it ended."""

from __future__ import annotations

import json
import os
import subprocess
import sysconfig
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PROGRAM = Path(sysconfig.get_path("scripts")) / "coldstart"
HEAD = """\
import os, signal, sys, time
from coldstart_sdk import Audio, File, Scale, Weights, endpoint, hook, warm_model
"""
VOICE = """
@warm_model(name="voice")
class Voice:
    @hook.load
    def load(self):
        self.greeting = "hello"

    @endpoint(default=True)
    def speak(self, text: str, times: int = 1) -> str:
        return f"{self.greeting} {text}" * times

    @endpoint
    def count(self, upto: int):
        for number in range(upto):
            yield {"n": number}

    @endpoint
    def tone(self, seconds: float = 0.1) -> Audio:
        return Audio.silence(f"{seconds}s")

    @endpoint
    def echo(self, ref: Audio) -> Audio:
        return ref
"""


@dataclass(frozen=True, kw_only=True)
class Said:
    """One command's end."""

    code: int
    out: str
    err: str

    @property
    def data(self) -> Any:  # noqa: ANN401 - plain JSON has no closer type
        """The last line of stdout as JSON."""
        return json.loads(self.out.splitlines()[-1])

    @property
    def problems(self) -> list[dict[str, str]]:
        """The three lines of each problem on stderr, by their labels."""
        found: list[dict[str, str]] = []
        for line in self.err.splitlines():
            label, colon, text = line.partition(":")
            if colon and label == "error":
                found.append({})
            if colon and label in {"error", "at", "fix"} and found:
                found[-1].setdefault(label, text.strip())
        return found


def coldstart(
    *arguments: str, cwd: Path | None = None, env: Mapping[str, str] | None = None, within_s: float = 100
) -> Said:
    """Run it to its end, without a terminal."""
    ended = subprocess.run(
        [str(PROGRAM), *arguments],
        capture_output=True,
        cwd=cwd,
        env=environment(env),
        stdin=subprocess.DEVNULL,
        timeout=within_s,
        check=False,
    )
    return Said(code=ended.returncode, out=ended.stdout.decode(), err=ended.stderr.decode())


def environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of the tests, without what makes a terminal's width or colour differ."""
    bare = {name: value for name, value in os.environ.items() if name not in {"COLUMNS", "NO_COLOR"}}
    return {**bare, "COLUMNS": "100", **(more or {})}


def a_project(folder: Path, body: str = VOICE, *, name: str = "app.py", head: str = HEAD) -> Path:
    """A declaration file in the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(head + textwrap.dedent(body), encoding="utf-8")
    return path
