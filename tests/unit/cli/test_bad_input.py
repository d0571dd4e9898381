"""Bad input: the code, the three lines, no traceback, no secret, nothing written."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.commands import HEAD, PROGRAM, VOICE, a_project, coldstart, environment

METHODS = """\
    @hook.load
    def load(self, weights=None): ...
    @endpoint
    def speak(self, text: str) -> str: ...
"""
SECRET = "hf_" + "q" * 34


@dataclass(kw_only=True)
class Input:
    """One bad input, made in a folder of its own."""

    arguments: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: Path | None = None


Build = Callable[[Path], Input]


@dataclass(frozen=True, kw_only=True)
class Row:
    id: str
    kind: str
    build: Build
    code: int
    contains: tuple[str, ...]
    lacks: tuple[str, ...] = ()


def command(*arguments: str, body: str = VOICE, **env: str) -> Build:
    """A command on `app.py` in the project's folder."""

    def build(folder: Path) -> Input:
        a_project(folder, body)
        return Input(arguments=arguments, env=env, cwd=folder)

    return build


def beside(name: str) -> Build:
    """`run` of a folder whose one declaration is in that file."""

    def build(folder: Path) -> Input:
        a_project(folder, name=name)
        return Input(arguments=("run", "."), cwd=folder)

    return build


def settings(text: str | bytes) -> Build:
    """`plan` beside that pyproject.toml."""

    def build(folder: Path) -> Input:
        a_project(folder)
        content = text.encode() if isinstance(text, str) else text
        (folder / "pyproject.toml").write_bytes(content)
        return Input(arguments=("plan", "app.py"), cwd=folder)

    return build


def declared(options: str) -> Build:
    """`check` of a class with these options."""
    return command(
        "check",
        "app.py",
        body=f"\n@warm_model({options})\nclass Voice:\n{METHODS}",
    )


def file_with(text: str) -> Build:
    def build(folder: Path) -> Input:
        (folder / "app.py").write_text(text)
        return Input(arguments=("check", "app.py"), cwd=folder)

    return build


def missing_home(folder: Path) -> Input:
    a_project(folder)
    return Input(
        arguments=("plan", "app.py"), env={"HOME": "", "COLDSTART_HOME": "", "XDG_CACHE_HOME": ""}, cwd=folder
    )


def home_in_a_file(folder: Path) -> Input:
    a_project(folder)
    (folder / "taken").write_text("")
    return Input(
        arguments=("run", "app.py", "-i", "text=x"), env={"COLDSTART_HOME": str(folder / "taken")}, cwd=folder
    )


def an_existing_project(folder: Path) -> Input:
    a_project(folder)
    return Input(arguments=("init", "."), cwd=folder)


ROWS = (
    Row(id="verb", kind="cli", build=command("rnu", "app.py"), code=2, contains=("'rnu'", "coldstart run")),
    Row(id="file-as-verb", kind="cli", build=command("app.py"), code=2, contains=("coldstart run app.py",)),
    Row(
        id="option",
        kind="cli",
        build=command("run", "app.py", "--jsno"),
        code=2,
        contains=("--jsno", "--json"),
    ),
    Row(
        id="a-call-by-name",
        kind="cli",
        build=command("invoke", "voice", "--target", "runpod"),
        code=2,
        contains=("voice is no .py file", "coldstart invoke app.py"),
    ),
    Row(id="flag-before-verb", kind="cli", build=command("--quite", "run"), code=2, contains=("--quite",)),
    Row(id="no-file", kind="cli", build=command("run"), code=2, contains=("missing", "FILE[:CLASS]")),
    Row(id="absent-file", kind="cli", build=command("run", "ap.py"), code=2, contains=("ap.py", "app.py")),
    Row(
        id="folder", kind="cli", build=beside("voice.py"), code=2, contains=("without an app.py", "voice.py")
    ),
    Row(
        id="class",
        kind="cli",
        build=command("run", "app.py:Voic"),
        code=2,
        contains=("Voic", "Did you mean Voice"),
    ),
    Row(
        id="B-19", kind="cli", build=command("plan", "app.py", "-t", "runpdo"), code=7, contains=("'runpod'",)
    ),
    Row(
        id="rehearse-nowhere",
        kind="cli",
        build=command("rehearse", "app.py"),
        code=2,
        contains=("no platform is named", "--target runpod"),
        lacks=("local",),
    ),
    Row(
        id="deploy-nowhere",
        kind="cli",
        build=command("deploy", "app.py"),
        code=2,
        contains=("no platform is named", "--target runpod"),
        lacks=("local",),
    ),
    Row(
        id="endpoint",
        kind="cli",
        build=command("run", "app.py", "speek"),
        code=2,
        contains=("speek", "'speak'", "count"),
    ),
    Row(
        id="missing-argument",
        kind="cli",
        build=command("run", "app.py"),
        code=2,
        contains=("text is missing", "-i text="),
    ),
    Row(
        id="unknown-argument",
        kind="cli",
        build=command("run", "app.py", "-i", "tetx=a", "-i", "times=x"),
        code=2,
        contains=("'tetx'", "Did you mean 'text'", "times is not JSON", "text is missing"),
    ),
    Row(
        id="folder-as-medium",
        kind="cli",
        build=command("run", "app.py", "echo", "-i", "ref=@."),
        code=2,
        contains=("ref: . is a folder", "path of a file"),
        lacks=("Did you mean",),
    ),
    Row(
        id="argument-twice",
        kind="cli",
        build=command("run", "app.py", "-i", "text=a", "-i", "text=b"),
        code=2,
        contains=("given twice",),
    ),
    Row(
        id="no-equals", kind="cli", build=command("run", "app.py", "-i", "text"), code=2, contains=("no `=`",)
    ),
    Row(
        id="nan",
        kind="cli",
        build=command("run", "app.py", "tone", "-i", "seconds=NaN"),
        code=2,
        contains=("not JSON",),
    ),
    Row(
        id="deep",
        kind="cli",
        build=command("run", "app.py", "count", "-i", "upto=" + "[" * 100_000),
        code=2,
        contains=("not JSON",),
        lacks=("[" * 200,),
    ),
    Row(
        id="absent-media",
        kind="cli",
        build=command("run", "app.py", "echo", "-i", "ref=@ap.py"),
        code=2,
        contains=("no file ap.py", "app.py"),
    ),
    Row(
        id="media-without-at",
        kind="cli",
        build=command("run", "app.py", "echo", "-i", "ref=app.py"),
        code=2,
        contains=("-i ref=@app.py",),
    ),
    Row(
        id="output-folder",
        kind="cli",
        build=command("run", "app.py", "-i", "text=a", "-o", "no/where.txt"),
        code=2,
        contains=("no folder no", "mkdir"),
    ),
    Row(
        id="timeout",
        kind="cli",
        build=command("run", "app.py", "-i", "text=a", "--timeout", "soon"),
        code=2,
        contains=("not a duration", "30s"),
    ),
    Row(
        id="timeout-nan",
        kind="cli",
        build=command("run", "app.py", "-i", "text=a", "--timeout", "nan"),
        code=2,
        contains=("not a duration",),
    ),
    Row(
        id="skip",
        kind="cli",
        build=command("run", "app.py", "-i", "text=a", "--skip", "lod"),
        code=2,
        contains=("'lod'", "'load'"),
    ),
    Row(
        id="skip-needed",
        kind="cli",
        build=command("serve", "app.py", "--skip", "import:app", "--port", "0"),
        code=2,
        contains=("import:app", "every start needs"),
    ),
    Row(
        id="B-29-port",
        kind="cli",
        build=command("serve", "app.py", "--port", "70000"),
        code=2,
        contains=("70000", "65535"),
    ),
    Row(
        id="B-29-host",
        kind="cli",
        build=command("serve", "app.py", "--host", "no.such.host.invalid"),
        code=2,
        contains=("no.such.host.invalid", "127.0.0.1"),
    ),
    Row(
        id="open-without-token",
        kind="cli",
        build=command("serve", "app.py", "--host", "::", "--port", "0"),
        code=2,
        contains=("no token", "--token auto"),
    ),
    Row(
        id="bad-token",
        kind="cli",
        build=command("serve", "app.py", "--port", "0", "--token", f"{SECRET} \n"),
        code=2,
        contains=("--token",),
        lacks=(SECRET,),
    ),
    Row(
        id="B-30-home", kind="cli", build=missing_home, code=2, contains=("HOME is not set", "COLDSTART_HOME")
    ),
    Row(id="B-30-unwritable", kind="cli", build=home_in_a_file, code=5, contains=("taken", "COLDSTART_HOME")),
    Row(
        id="init-over",
        kind="cli",
        build=an_existing_project,
        code=2,
        contains=("app.py", "Nothing was written"),
    ),
    Row(
        id="template",
        kind="cli",
        build=command("init", "x", "--template", "tss"),
        code=2,
        contains=("tss", "tts"),
    ),
    Row(
        id="deploy-local",
        kind="cli",
        build=command("deploy", "app.py", "-t", "local"),
        code=7,
        contains=("cannot deploy",),
    ),
    Row(
        id="snapshot-variable",
        kind="cli",
        build=command("plan", "app.py", COLDSTART_SNAPSHOT="cup"),
        code=2,
        contains=("'cup'", "none, cpu, gpu, auto"),
    ),
    Row(
        id="a-store-with-no-bucket",
        kind="cli",
        build=command("plan", "app.py", COLDSTART_STORE="s3://"),
        code=2,
        contains=("COLDSTART_STORE names no bucket", "s3://bucket/prefix"),
    ),
    Row(
        id="a-store-that-is-a-word",
        kind="settings",
        build=settings('[tool.coldstart]\nstore = "models"\n'),
        code=2,
        contains=("'models' is neither", "begins with / or ./"),
    ),
    Row(
        id="B-21-unknown",
        kind="settings",
        build=settings('[project]\nname = "x"\n[tool.coldstart]\nsotre = "s3://a/b"\n'),
        code=2,
        contains=("'sotre'", "pyproject.toml:4", "Did you mean 'store'"),
    ),
    Row(
        id="B-21-duplicate",
        kind="settings",
        build=settings('[tool.coldstart]\nhome = "a"\nhome = "b"\n'),
        code=2,
        contains=("pyproject.toml:3", "only once"),
    ),
    Row(
        id="B-21-large",
        kind="settings",
        build=settings("#" * 5_000_000),
        code=2,
        contains=("larger than", "pyproject.toml"),
    ),
    Row(
        id="B-21-type",
        kind="settings",
        build=settings("[tool.coldstart]\nhome = 3\n"),
        code=2,
        contains=("home", "pyproject.toml:2"),
    ),
    Row(
        id="B-21-not-utf-8",
        kind="settings",
        build=settings(b'[tool.coldstart]\nhome = "\xff"\n'),
        code=2,
        contains=("not UTF-8", "pyproject.toml:2"),
    ),
    Row(
        id="B-01",
        kind="declaration",
        build=file_with(f"{HEAD}\n@warm_model\ndef voice(): ...\n"),
        code=2,
        contains=("class", "app.py:"),
    ),
    Row(
        id="B-05",
        kind="declaration",
        build=declared('gpu="H1000"'),
        code=2,
        contains=("H1000", "H100", "app.py:4"),
    ),
    Row(
        id="B-16",
        kind="declaration",
        build=declared('timeout="soon"'),
        code=2,
        contains=("timeout", "soon", "app.py:4"),
    ),
    Row(
        id="B-18",
        kind="declaration",
        build=declared(f'secrets=["{SECRET}"]'),
        code=2,
        contains=("secret", "app.py:4"),
        lacks=(SECRET,),
    ),
    Row(
        id="several",
        kind="declaration",
        build=declared('gpu="H1000", timeout=-1, snapshot="cup"'),
        code=2,
        contains=("H1000", "timeout", "cup"),
    ),
    Row(
        id="syntax",
        kind="declaration",
        build=file_with("class Voice(:\n"),
        code=2,
        contains=("not Python", "app.py:1"),
    ),
    Row(
        id="B-14",
        kind="declaration",
        build=file_with("import a_module_that_is_not_here\n"),
        code=2,
        contains=("a_module_that_is_not_here", "app.py:1", "pip install"),
    ),
    Row(
        id="option-of-a-part",
        kind="declaration",
        build=declared("name='voice', scale=Scale(mx=2)"),
        code=2,
        contains=("Scale has no option 'mx'", "Did you mean max=?", "app.py:"),
    ),
    Row(
        id="option-of-a-weight",
        kind="declaration",
        build=declared("name='voice', weights={'w': Weights.hf('org/w', revison='main')}"),
        code=2,
        contains=("Weights.hf has no option 'revison'", "Did you mean revision=?", "app.py:"),
    ),
    Row(
        id="exits",
        kind="declaration",
        build=file_with("import sys\nsys.exit(3)\n"),
        code=2,
        contains=("app.py:2", "__main__"),
    ),
    Row(
        id="empty",
        kind="declaration",
        build=file_with(""),
        code=2,
        contains=("declares no class", "coldstart init"),
    ),
)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.kind}-{row.id}")
def test_bad_input_is_told_in_three_lines_and_changes_nothing(row: Row, tmp_path: Path) -> None:
    folder = tmp_path / "project"
    folder.mkdir()
    given = row.build(folder)
    before = contents(folder)

    said = coldstart(*given.arguments, cwd=given.cwd, env=given.env)

    assert said.code == row.code, said.err
    assert said.out == ""
    assert said.problems
    for problem in said.problems:
        assert list(problem) == ["error", "at", "fix"]
        assert all(problem.values())
    for part in row.contains:
        assert part in said.err
    for part in ("Traceback", *row.lacks):
        assert part not in said.err
    assert contents(folder) == before


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.kind}-{row.id}")
def test_bad_input_is_one_object_for_a_script(row: Row, tmp_path: Path) -> None:
    folder = tmp_path / "project"
    folder.mkdir()
    given = row.build(folder)

    said = coldstart(*given.arguments, "--json", cwd=given.cwd, env=given.env)

    assert said.code == row.code
    assert said.out.count("\n") == 1
    assert json.loads(said.out)["error"]["exit_code"] == row.code
    for problem in said.data["error"]["problems"]:
        assert problem["fix"]
    assert "Traceback" not in said.err


def test_a_port_in_use_is_named_with_a_free_one(tmp_path: Path) -> None:
    app = a_project(tmp_path)
    with a_taken_port() as port:
        said = coldstart("serve", str(app), "--port", str(port))

    assert said.code == 2
    assert f"port {port} " in said.problems[0]["error"]
    free = int(said.problems[0]["fix"].rpartition(" ")[2])
    with socket.socket() as other:
        other.bind(("127.0.0.1", free))


def test_a_byte_order_mark_and_tabs_in_settings_are_read(tmp_path: Path) -> None:
    app = a_project(tmp_path)
    (tmp_path / "pyproject.toml").write_bytes(
        b'\xef\xbb\xbf[tool.coldstart]\r\n\tstore = "s3://bucket/models"\r\n'
    )

    said = coldstart("plan", str(app), "--json")

    assert json.loads(said.out)["store"] == "s3://bucket/models"


def test_a_folder_that_is_gone_is_said(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    script = f"cd {gone} && rmdir {gone} && exec coldstart backends"

    said = coldstart_in_a_shell(script)

    assert said[0] == 2
    assert "is gone" in said[1]


def test_a_reader_that_leaves_is_no_error(tmp_path: Path) -> None:
    app = a_project(tmp_path)

    code, err = coldstart_in_a_shell(
        f"coldstart run {app} count -i upto=100000 --quiet | head -n 1 >/dev/null"
    )

    assert code == 0
    assert err == ""


def coldstart_in_a_shell(script: str) -> tuple[int, str]:
    path = f"{PROGRAM.parent}{os.pathsep}{os.environ['PATH']}"
    ended = subprocess.run(
        ["bash", "-c", script],
        capture_output=True,
        text=True,
        env=environment({"PATH": path}),
        timeout=100,
        check=False,
    )
    return ended.returncode, ended.stderr


@contextmanager
def a_taken_port() -> Iterator[int]:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        yield taken.getsockname()[1]


def contents(folder: Path) -> dict[str, bytes]:
    """Every file but what Python itself keeps."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    }
