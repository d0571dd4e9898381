"""The frame around every verb: help, version, errors, colours, completion."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from coldstart_sdk.cli import program
from coldstart_sdk.cli.program import VERBS
from tests.commands import PROGRAM, a_project, coldstart, environment


def test_the_overview_loads_no_verb_and_no_lifecycle() -> None:
    asked = textwrap.dedent(
        """
        import sys
        from coldstart_sdk.cli import main
        sys.argv = ["coldstart", "--help"]
        try:
            main()
        except SystemExit:
            print(*sorted(name for name in sys.modules if name.startswith("coldstart_sdk")))
        """
    )
    ended = subprocess.run(
        [sys.executable, "-c", asked],
        capture_output=True,
        text=True,
        check=True,
        env=environment(),
    )

    loaded = set(ended.stdout.splitlines()[-1].split())
    assert loaded == {
        "coldstart_sdk",
        "coldstart_sdk.cli",
        "coldstart_sdk.cli.console",
        "coldstart_sdk.cli.program",
        "coldstart_sdk.errors",
        "coldstart_sdk.frozen",
        "coldstart_sdk.record",
    }


@pytest.mark.parametrize("verb", VERBS)
def test_the_overview_and_the_verb_tell_of_the_same_verb(verb: str) -> None:
    command = program.program.get_command(program.program.make_context("coldstart", ["backends"]), verb)

    assert command is not None
    assert command.name == verb
    assert command.help


def test_both_names_of_the_command_say_the_version() -> None:
    said = coldstart("--version")

    assert said.code == 0
    assert said.out.startswith("coldstart 0.")
    cstart = subprocess.run(
        [str(PROGRAM.parent / "cstart"), "--version"], capture_output=True, text=True, check=True
    )
    assert cstart.stdout == said.out


def test_an_unexpected_error_is_one_line_and_its_traceback_is_for_those_who_ask(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(program, "VERBS", {**VERBS, "broken": program.Entry(section="Begin", short="Raise.")})

    assert program.run(["coldstart", "broken"]) == 1
    plain = capfd.readouterr()
    monkeypatch.setenv("COLDSTART_DEBUG", "1")
    assert program.run(["coldstart", "broken"]) == 1
    asked = capfd.readouterr()

    assert plain.out == ""
    assert plain.err.startswith("error: coldstart met an unexpected ModuleNotFoundError\nat:    ")
    assert "report it" in plain.err
    assert "Traceback" not in plain.err
    assert "Traceback" in asked.err


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_stream_that_a_caller_closed_is_no_mistake(closed: str, tmp_path: Path) -> None:
    path = a_project(tmp_path)

    ended = subprocess.run(
        ["sh", "-c", f"{PROGRAM} run {path} speak -i text=hi {closed}"],
        capture_output=True,
        text=True,
        env=environment(),
        check=False,
    )

    assert ended.returncode == 0, ended.stderr
    assert "Traceback" not in ended.stderr
    assert ended.stdout == ("" if ">&-" in closed.split() else "hello hi\n")


def test_colour_is_for_terminals_that_want_it() -> None:
    assert "\x1b[" in on_a_terminal("rnu")
    assert "\x1b[" not in on_a_terminal("rnu", NO_COLOR="1")
    assert "\x1b[" not in on_a_terminal("run", "absent.py", "--no-color")
    assert "\x1b[" not in coldstart("rnu").err


def test_every_shell_gets_a_script_for_both_names() -> None:
    for shell in ("bash", "zsh", "fish"):
        said = coldstart("completion", shell)

        assert said.code == 0
        assert "_COLDSTART_COMPLETE" in said.out
        assert "_CSTART_COMPLETE" in said.out
        assert "coldstart completion" in said.err


def test_a_shell_completes_verbs_options_targets_and_endpoints(tmp_path: Path) -> None:
    app = a_project(tmp_path)

    assert completed("coldstart pl") == ["plan"]
    assert completed("coldstart run --tra") == ["--trace", "--trace-format"]
    assert completed("coldstart plan app.py --target r") == ["runpod"]
    assert completed("coldstart rehearse app.py --target runpod --state ") == [
        *("empty", "warm", "volume", "store", "baked")
    ]
    assert completed("coldstart rehearse app.py --target nowhere --state x") == [""]  # and no traceback
    assert completed(f"coldstart run {app} ") == ["speak", "count", "tone", "echo"]


def completed(line: str) -> list[str]:
    words = line.split() + ([""] if line.endswith(" ") else [])
    said = coldstart(
        env={"_COLDSTART_COMPLETE": "bash_complete", "COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)}
    )
    return [item.partition(",")[2] for item in said.out.splitlines()]


def on_a_terminal(*arguments: str, **env: str) -> str:
    """What it writes to a terminal of its own."""
    ours, its = pty.openpty()
    process = subprocess.Popen(
        [str(PROGRAM), *arguments],
        stdin=subprocess.DEVNULL,
        stdout=its,
        stderr=its,
        env=environment({"TERM": "xterm", **env}),
    )
    os.close(its)
    said = b""
    while True:
        try:
            data = os.read(ours, 4096)
        except OSError:  # how a terminal says that nobody writes any more
            break
        if not data:
            break
        said += data
    os.close(ours)
    process.wait()
    return said.decode()
