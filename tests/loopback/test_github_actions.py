"""The workflow that the page on starts offers: its own steps, run in a repository with a pull request.

`gh` and `pip` are programs of ours that write down what they were asked; git, the shell and `coldstart` are
real.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from coldstart_sdk.hold.receipt import Receipt
from tests.commands import PROGRAM, a_project, environment

yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")

PAGE = Path(__file__).parents[2] / "docs" / "explain.md"
VOICE = """
@warm_model(name="voice")
class Voice:
    @hook.load
    def load(self):
        time.sleep({load_s})
    @endpoint
    def speak(self, text: str) -> str:
        time.sleep(0.05)
        return text
"""
ASKED = '#!/bin/sh\necho "$0 $*" >> "$ASKED"\n'


def workflow() -> Mapping[str, Any]:
    """The only YAML of the page."""
    (text,) = re.findall(r"^```yaml\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    found: Mapping[str, Any] = yaml.safe_load(text)
    return found


class Runner:
    """A machine of GitHub's, as far as the workflow can tell."""

    def __init__(self, folder: Path) -> None:
        self.project = folder / "work" / "project"
        self.asked = folder / "asked.txt"
        (folder / "bin").mkdir()
        for name in ("gh", "pip"):
            (folder / "bin" / name).write_text(ASKED)
            (folder / "bin" / name).chmod(0o755)
        self.env = environment(
            {
                "PATH": os.pathsep.join([str(folder / "bin"), str(PROGRAM.parent), os.environ["PATH"]]),
                "ASKED": str(self.asked),
                "COLDSTART_HOME": str(folder / "home"),
                "GITHUB_BASE_REF": "main",
                "GITHUB_WORKSPACE": str(self.project),
                "GH_TOKEN": "a token",
                "PR": "7",
            }
        )

    def commit(self, load_s: float, *, branch: str) -> None:
        a_project(self.project, VOICE.format(load_s=load_s))
        self.git("checkout", "-q", "-B", branch)
        self.git("add", "-A")
        self.git("commit", "-q", "-m", branch)

    def git(self, *arguments: str) -> None:
        self.project.mkdir(parents=True, exist_ok=True)
        who = ("-c", "user.name=a", "-c", "user.email=a@b.c")
        subprocess.run(["git", *who, *arguments], cwd=self.project, check=True, capture_output=True)

    def run(self, script: str) -> int:
        """As GitHub runs a step."""
        return subprocess.run(
            ["bash", "-e", "-c", script], cwd=self.project, env=self.env, check=False
        ).returncode


@pytest.fixture
def runner(tmp_path: Path) -> Runner:
    made = Runner(tmp_path)
    made.git("init", "-q")
    made.commit(0.1, branch="main")
    made.git("update-ref", "refs/remotes/origin/main", "HEAD")
    made.commit(0.9, branch="slower")
    return made


def test_a_pull_request_gets_the_diff_as_a_comment_and_its_budget_judged(runner: Runner) -> None:
    job = workflow()["jobs"]["cold-start"]
    *before, last = [runner.run(step["run"]) for step in job["steps"] if "run" in step]

    assert set(before) == {0}
    assert last in {0, 9}  # the first answer against the later ones is this machine's business
    comment = (runner.project / "diff.md").read_text()
    assert comment.startswith("**Cold start: ")
    assert "| load:load |" in comment
    assert "gh pr comment 7 --body-file diff.md --edit-last --create-if-none" in runner.asked.read_text()
    receipt = Receipt.from_json((runner.project / "receipt.json").read_text())
    assert [verdict.limit.name for verdict in receipt.verdicts] == ["ready", "first"]


def test_the_workflow_may_write_comments_and_nothing_else() -> None:
    assert workflow()["permissions"] == {"contents": "read", "pull-requests": "write"}
