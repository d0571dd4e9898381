"""`check` names what does not survive a platform's snapshot, before anything is built or deployed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.commands import HEAD, coldstart

VOICE = """
import threading

@warm_model(name="voice"{options})
class Voice:
    @hook.load
    def load(self):
        self.thread = threading.Thread(target=print)

    @hook.restored
    def restored(self): ...

    @endpoint
    def speak(self, text: str) -> str:
        return text
"""


def a_voice(folder: Path, options: str = "") -> Path:
    path = folder / "app.py"
    path.write_text(HEAD + VOICE.format(options=options))
    return path


@pytest.mark.parametrize(
    ("options", "arguments"),
    [
        ("", ("--target", "modal")),
        ("", ("--snapshot", "cpu")),
        (', snapshot="cpu"', ()),
    ],
)
def test_a_hook_that_does_not_survive_the_snapshot_is_named_with_its_line(
    tmp_path: Path, options: str, arguments: tuple[str, ...]
) -> None:
    path = a_voice(tmp_path, options)
    line = 1 + path.read_text().splitlines().index("        self.thread = threading.Thread(target=print)")

    said = coldstart("check", str(path), *arguments)
    (warning,) = coldstart("check", str(path), *arguments, "--json").data["warnings"]

    assert said.code == 0, "it can be built"
    assert "warn:  on modal, threading.Thread may be alive at the snapshot" in said.err
    assert f"at:    app.py:{line}, in hook.load load" in said.err
    assert (warning["target"], warning["where"]) == ("modal", f"app.py:{line}, in hook.load load")
    assert "hook.restored" in warning["fix"]


def test_the_platform_may_be_named_by_the_environment_or_the_project(tmp_path: Path) -> None:
    path = a_voice(tmp_path)
    by_environment = coldstart("check", str(path), env={"COLDSTART_TARGET": "modal"})
    (tmp_path / "pyproject.toml").write_text('[tool.coldstart]\ntarget = "modal"\n')
    by_project = coldstart("check", str(path))

    for said in (by_environment, by_project):
        assert "warn:  on modal, threading.Thread may be alive at the snapshot" in said.err
        assert "--target modal" in said.err
        assert "runpod" not in said.err


@pytest.mark.parametrize(
    "arguments", [(), ("--target", "runpod"), ("--target", "modal", "--snapshot", "none")]
)
def test_where_no_snapshot_is_taken_nothing_is_foreseen(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    assert coldstart("check", str(a_voice(tmp_path)), *arguments, "--json").data["warnings"] == []


def test_a_platform_that_cannot_do_it_refuses(tmp_path: Path) -> None:
    said = coldstart("check", str(a_voice(tmp_path, ', gpu="GTX 960"')), "--target", "modal")

    assert said.code != 0
    assert "GTX 960" in said.err
