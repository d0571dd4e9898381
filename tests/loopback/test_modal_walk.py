"""A new user's way to Modal, command by command: from `init` to `delete`, against a plane on loopback."""

from __future__ import annotations

import wave
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytest.importorskip("modal")

from coldstart_sdk.rehearsal.modal.plane import Plane
from tests.commands import Said, coldstart

Types = Callable[..., Said]


@pytest.fixture
def types(tmp_path: Path) -> Iterator[Types]:
    """What the user types in the project's folder; nothing of it may fail."""
    with Plane() as plane:
        assert coldstart("init", "voice", "--template", "tts", cwd=tmp_path).code == 0

        def typed(*arguments: str) -> Said:
            said = coldstart(
                *arguments, cwd=tmp_path / "voice", env={**plane.env, "COLDSTART_TARGET": "modal"}
            )
            assert said.code == 0, said.err
            return said

        yield typed
        assert plane.world.unimplemented == set()


@pytest.mark.timeout(400)  # some twenty commands, most of which start Modal's client
def test_from_a_template_to_modal_and_back(types: Types, tmp_path: Path) -> None:
    app = tmp_path / "voice/app.py"

    assert "Voice, named voice" in types("check", "app.py").out
    assert "Before the snapshot" in types("plan", "app.py").out
    rehearsed = types("rehearse", "app.py", "--json").data
    assert rehearsed["restores"] == "2 of 2 forks of the snapshot became ready"
    types("build", "app.py")
    assert "modal.App" in (tmp_path / "voice/build/modal/modal_app.py").read_text()

    assert "release: none -> Voice." in types("deploy", "app.py", "--dry-run").err
    first = types("deploy", "app.py", "--yes", "--json").data
    assert (first["did"], first["answer"], first["state"]) == ("created", "yes", "ready")
    assert types("deploy", "app.py", "--yes", "--json").data["did"] == "nothing to change"

    types("invoke", "app.py", "-i", "text=hello", "-o", "hello.wav")
    with wave.open(str(tmp_path / "voice/hello.wav")) as sound:
        assert sound.getnframes() > 0
    assert "worker             ready" in types("logs", "app.py").out
    assert types("status", "app.py", "--json").data["workers"] == 1

    app.write_text(app.read_text().replace('name="voice",', 'name="voice", timeout="20m",'))
    again = types("deploy", "app.py", "--yes", "--json")
    assert "modal_app.py: + timeout=1200," in again.err
    assert (again.data["did"], again.data["release"]) == ("updated", "v2")

    back = types("rollback", "app.py", "--json").data
    assert (back["release"], back["tag"]) == ("v3", first["tag"])
    types("scale", "app.py", "--min", "0", "--max", "2")
    assert len(types("history", "app.py", "--json").data["releases"]) == 3
    types("delete", "app.py", "--yes")
    assert types("status", "app.py", "--json").data["state"] == "stopped"
