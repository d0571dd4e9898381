"""`run --sealed`: a load that reaches out fails on the line that did, whatever it made of the refusal."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from coldstart_sdk.rehearsal.hub import Hub
from coldstart_sdk.rehearsal.origin import Origin
from tests.commands import HEAD, Said, a_project, coldstart

LOADS = """
import threading, urllib.request
@warm_model(name="voice", weights={{"file": Weights.url("{declared}")}})
class Voice:
    @hook.load
    {hook}

    @endpoint
    def speak(self) -> str:
        return "spoken"
"""


@pytest.fixture
def origin(tmp_path: Path) -> Iterator[Origin]:
    (tmp_path / "files").mkdir()
    for name in ("declared.bin", "hidden.bin"):
        (tmp_path / "files" / name).write_bytes(b"weights")
    with Origin(tmp_path / "files") as origin:
        yield origin


def sealed(tmp_path: Path, origin: Origin, hook: str, *options: str) -> Said:
    body = LOADS.format(
        declared=origin.url("declared.bin"), hook=hook.replace("URL", origin.url("hidden.bin"))
    )
    a_project(tmp_path / "project", body)
    env = {"COLDSTART_HOME": str(tmp_path / "home")}
    return coldstart("run", "app.py", *(options or ("--sealed",)), cwd=tmp_path / "project", env=env)


HOOKS = {
    "plain": "def load(self, weights):\n        urllib.request.urlopen('URL')",
    "swallowed": (
        "def load(self, weights):\n        try: urllib.request.urlopen('URL')\n        except OSError: pass"
    ),
    "async": "async def load(self, weights):\n        urllib.request.urlopen('URL')",
    "on a thread": (
        "def load(self, weights):\n"
        "        t = threading.Thread(target=lambda: urllib.request.urlopen('URL'))\n"
        "        t.start(); t.join()"
    ),
}


@pytest.mark.parametrize("hook", HOOKS)
def test_a_load_that_reaches_out_fails_on_its_line(hook: str, tmp_path: Path, origin: Origin) -> None:
    said = sealed(tmp_path, origin, HOOKS[hook])

    line = next(
        number
        for number, text in enumerate((tmp_path / "project" / "app.py").read_text().splitlines(), 1)
        if "urlopen" in text
    )
    assert said.code == 6
    assert said.problems[0]["error"] == "load:load tried to reach 127.0.0.1, and the network was closed"
    assert said.problems[0]["at"].startswith(f"app.py:{line}")
    assert "--observe" in said.problems[0]["fix"]
    assert [request.path for request in origin.requests if "hidden" in request.path] == []


def test_the_fetch_before_and_a_load_that_stays_in_are_not_kept_from_anything(
    tmp_path: Path, origin: Origin
) -> None:
    said = sealed(tmp_path, origin, "def load(self, weights): self.file = weights['file'].path.read_bytes()")

    assert (said.code, said.out) == (0, "spoken\n")
    assert origin.requests


def test_a_thread_of_the_library_is_told_by_the_line_that_waits_for_it(
    tmp_path: Path, origin: Origin
) -> None:
    (tmp_path / "library").mkdir()
    (tmp_path / "library" / "fetching.py").write_text(
        "import threading, urllib.request\n"
        "def fetch(url):\n"
        "    t = threading.Thread(target=urllib.request.urlopen, args=(url,))\n"
        "    t.start(); t.join()\n"
    )
    hook = f"def load(self, weights):\n        sys.path.append({str(tmp_path / 'library')!r})\n"
    said = sealed(tmp_path, origin, f"{hook}        import fetching\n        fetching.fetch('URL')")

    assert said.code == 6
    assert "in load" in said.problems[0]["at"]


def test_a_class_that_loads_while_it_is_made_is_kept_in_too(tmp_path: Path, origin: Origin) -> None:
    body = f"""
    import urllib.request
    @warm_model(name="voice")
    class Voice:
        def __init__(self):
            urllib.request.urlopen("{origin.url("hidden.bin")}")

        @endpoint
        def speak(self) -> str:
            return "spoken"
    """
    a_project(tmp_path / "project", body)
    env = {"COLDSTART_HOME": str(tmp_path / "home")}

    said = coldstart("run", "app.py", "--sealed", cwd=tmp_path / "project", env=env)

    assert said.code == 6
    assert said.problems[0]["error"].startswith("construct:Voice tried to reach 127.0.0.1")
    assert said.problems[0]["at"].endswith("in __init__")
    assert origin.requests == ()


def test_without_the_flag_nothing_is_closed(tmp_path: Path, origin: Origin) -> None:
    assert sealed(tmp_path, origin, HOOKS["plain"], "--quiet").code == 0


def test_the_hubs_own_client_is_kept_in(tmp_path: Path) -> None:
    pytest.importorskip("huggingface_hub")
    (tmp_path / "hub" / "org" / "voice").mkdir(parents=True)
    (tmp_path / "hub" / "org" / "voice" / "config.json").write_bytes(b"{}")
    body = """
    @warm_model(name="voice")
    class Voice:
        @hook.load
        def load(self):
            from huggingface_hub import hf_hub_download
            hf_hub_download("org/voice", "config.json")

        @endpoint
        def speak(self) -> str:
            return "spoken"
    """
    a_project(tmp_path / "project", body, head=HEAD)
    with Hub(tmp_path / "hub") as hub:
        env = {"HF_ENDPOINT": hub.endpoint, "HF_HUB_CACHE": str(tmp_path / "cache"), "HF_TOKEN": ""}
        env["COLDSTART_HOME"] = str(tmp_path / "home")
        said = coldstart("run", "app.py", "--sealed", cwd=tmp_path / "project", env=env)

        assert hub.requests == ()
    assert said.code == 6
    assert said.problems[0]["at"].endswith("in load")
