"""A declaration's file is found and imported, or it is said plainly why not."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from coldstart_sdk import entry
from coldstart_sdk.errors import ColdstartError, DeclarationError, UsageError

ONE = """
from coldstart_sdk import endpoint, warm_model
@warm_model
class App:
    @endpoint
    def speak(self, text: str) -> str: ...
"""
TWO = ONE + ONE.replace("class App", "class Other")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield folder
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", None)).startswith(str(folder)):
            del sys.modules[name]


def refused(reference: str) -> ColdstartError:
    with pytest.raises(ColdstartError) as caught:
        entry.load(reference)
    return caught.value


def test_the_only_declared_class_needs_no_name(folder: Path) -> None:
    (folder / "app.py").write_text(ONE)

    assert entry.load("app.py").__name__ == "App"


@pytest.mark.parametrize(
    ("module", "fix"),
    [
        ("torchh", "Did you mean torch"),
        ("qzxv_wjk", "Run `pip install qzxv_wjk`, or import it inside the hook that needs it."),
    ],
)
def test_a_module_that_is_not_here_is_named_with_what_was_meant(folder: Path, module: str, fix: str) -> None:
    (folder / "app.py").write_text(f"import {module}\n{ONE}")

    error = refused("app.py")

    assert error.fix.startswith(fix)
    assert error.where == "app.py:1"


def test_one_of_several_is_named(folder: Path) -> None:
    (folder / "app.py").write_text(TWO)

    assert entry.load("app.py:Other").__name__ == "Other"
    error = refused("app.py")
    assert isinstance(error, UsageError)
    assert (error.message, error.fix) == (
        "app.py declares 2 classes",
        "Name one: app.py:App or app.py:Other.",
    )


@pytest.mark.parametrize("name", ["my-app.py", "5app.py", "my app.py", "a.b.py"])
def test_a_file_need_not_be_named_like_a_variable(folder: Path, name: str) -> None:
    (folder / name).write_text(ONE)

    cls = entry.load(name)

    assert cls.__module__ == name.removesuffix(".py")
    assert entry.find(cls.__module__, "App", folder=folder) is cls


def test_the_file_imports_its_neighbours(folder: Path) -> None:
    (folder / "voices_here.py").write_text("LOW = 1\n")
    (folder / "app.py").write_text("from voices_here import LOW\n" + ONE)

    assert entry.load("app.py").__name__ == "App"
    assert sys.path[0] == str(folder.resolve())


def test_a_file_is_run_once(folder: Path) -> None:
    (folder / "app.py").write_text(ONE)

    assert entry.load("app.py") is entry.load(str(folder / "app.py"))


@pytest.mark.parametrize(
    ("reference", "message", "fix"),
    [
        ("ap.py", "there is no file ap.py", "Did you mean app.py?"),
        ("nothing/here.py", "there is no file", "coldstart init"),
        ("notes.txt", "is not a Python file", "Give the .py file"),
        ("other", "is a folder", "Name a file in it: voice.py"),
        ("app.py:Ap", "no class 'Ap'", "Did you mean App?"),
        ("app.py:Zebra", "no class 'Zebra'", "It declares App"),
        ("app.py:App()", "not the name of a class", "Write app.py:ClassName"),
        ("app.py:Plain", "Plain is not marked", "Write @warm_model above class Plain"),
        ("app.py:Path", "not defined in app.py, but in pathlib", "Give the file that defines it"),
    ],
)
def test_a_wrong_reference_is_mended(folder: Path, reference: str, message: str, fix: str) -> None:
    (folder / "app.py").write_text(f"from pathlib import Path\n{ONE}\nclass Plain: ...\n")
    (folder / "notes.txt").write_text("")
    (folder / "other").mkdir()
    (folder / "other" / "voice.py").write_text(ONE)

    error = refused(reference)

    assert error.exit_code == 2
    assert message in error.message
    assert fix in error.fix


@pytest.mark.parametrize(
    ("text", "message", "fix", "line"),
    [
        ("x = 1\ndef broken(:\n", "app.py is not Python", "syntax", 2),
        ("\nimport no_such_thing\n", "no module 'no_such_thing'", "pip install no_such_thing", 2),
        ("import cv2.nothing_such\n", "no module 'cv2", "pip install opencv-python-headless", 1),
        ("import os\nos.environ['NO_SUCH']\n", "cannot be imported: KeyError", "belongs in a hook", 2),
        ("\n\nimport sys; sys.exit(3)\n", "ends the program", "__main__", 3),
        ("import json\njson.loads('{')\n", "cannot be imported: JSONDecodeError", "hook", 2),
        ("from coldstart_sdk import warm_modle\n", "has no 'warm_modle'", "Did you mean warm_model?", 1),
        ("from coldstart_sdk import Qqq\n", "has no 'Qqq'", "It has Audio, ", 1),
        ("from .voices import A\n", "relative import", "without the dot", 1),
        ("from app import Pipeline\n", "hides the package 'app'", "Rename the file", 1),
        ("class A(B): ...\n", "NameError", "Mend that line", 1),
        ("import app.inner\n", "hides the package 'app'", "Rename the file", 1),
    ],
)
def test_a_file_that_cannot_be_imported_is_told_by_its_own_line(
    folder: Path, text: str, message: str, fix: str, line: int
) -> None:
    (folder / "app.py").write_text(text)

    error = refused("app.py")

    assert isinstance(error, DeclarationError)
    assert message in error.message
    assert fix in error.fix
    assert error.where == f"app.py:{line}"
    assert "app" not in sys.modules


def test_a_file_inside_the_package_that_it_imports_from_is_told_how_to_reach_its_neighbours(
    folder: Path,
) -> None:
    (folder / "speech").mkdir()
    (folder / "speech/app.py").write_text("from speech.voices import A\n")

    error = refused("speech/app.py")

    assert error.fix == "Import what lies beside the file by its own name, without 'speech' before it."


def test_an_error_in_a_neighbour_names_the_neighbour(folder: Path) -> None:
    (folder / "near_by.py").write_text("\n1 / 0\n")
    (folder / "app.py").write_text("import near_by\n")

    assert refused("app.py").where == "near_by.py:2"


def test_a_file_without_a_declaration_is_told_what_to_mark(folder: Path) -> None:
    (folder / "bare.py").write_text("x = 1\n")
    (folder / "near.py").write_text(ONE.replace("@warm_model\n", ""))

    assert "coldstart init" in refused("bare.py").fix
    error = refused("near.py")
    assert (error.message, error.where) == ("App is not marked as a declaration", "near.py:3")
    assert error.fix == "Write @warm_model above class App."


@pytest.mark.parametrize("name", ["json.py", "pytest.py"])
def test_a_file_may_not_hide_a_module_that_is_in_use(folder: Path, name: str) -> None:
    (folder / name).write_text(ONE)

    error = refused(name)

    assert "would hide it" in error.message
    assert f"my_{name}" in error.fix


def test_a_spec_without_its_file_is_told_so(folder: Path) -> None:
    with pytest.raises(UsageError, match=r"there is no gone\.py"):
        entry.find("gone", "App", folder=folder)


def test_a_worker_finds_its_class_without_what_reads_declarations(folder: Path) -> None:
    (folder / "app.py").write_text(ONE)
    program = """
        import sys
        from coldstart_sdk import entry
        assert entry.find("app", "App").__name__ == "App"
        print(*sorted(sys.modules))
    """

    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        cwd=folder,
        check=True,
        capture_output=True,
        text=True,
        env={"PYTHONPATH": ":".join([str(folder), *(place for place in sys.path if place)])},
    )

    loaded = set(run.stdout.split())
    assert "coldstart_sdk.declare.mark" in loaded
    assert not loaded & {"coldstart_sdk.declare.read", "pydantic", "difflib", "importlib.metadata"}


def test_a_folder_stands_for_its_app(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text("")

    assert entry.parse(str(tmp_path)) == (tmp_path / "app.py", None)
    assert entry.parse(f"{tmp_path}:Voice") == (tmp_path / "app.py", "Voice")
