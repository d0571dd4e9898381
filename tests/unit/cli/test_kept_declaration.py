"""A declaration is read once, and again as soon as anything that it came from may have changed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.commands import a_project, coldstart

APP = """
import helper, pathlib, sys
print("read", file=sys.stderr)
@warm_model(name=helper.NAME, env={"MODE": os.environ.get("MY_MODE", "none")})
class Voice:
    TEXT = (pathlib.Path(__file__).parent / "notes.txt").read_text()
    @endpoint
    def speak(self) -> str:
        return "spoken"
"""


@pytest.fixture
def app(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    path = a_project(folder, APP)
    (folder / "helper.py").write_text('NAME = "one"\n')
    (folder / "notes.txt").write_text("a note")
    return path


def reads(app: Path, **env: str) -> bool:
    """Whether the file is imported to plan it."""
    said = coldstart("plan", str(app), "--json", env=env)
    assert said.code == 0, said.err
    return "read" in said.err.split()


def test_a_declaration_that_did_not_change_is_not_imported_again(app: Path) -> None:
    assert reads(app)
    assert not reads(app)


@pytest.mark.parametrize(
    "change",
    [
        lambda app: app.write_text(app.read_text() + "\n# changed\n"),
        lambda app: (app.parent / "helper.py").write_text('NAME = "two"\n'),
        lambda app: (app.parent / "notes.txt").write_text("another"),
        lambda app: (app.parent / "pathlib2.py").write_text(""),
    ],
    ids=["the file", "a module that it imports", "a file that it opens", "a module that may hide another"],
)
def test_a_change_of_the_project_is_seen(app: Path, change: Callable[[Path], object]) -> None:
    reads(app)

    change(app)

    assert reads(app)
    assert not reads(app)


def test_a_variable_that_the_sources_name_is_seen_whether_set_changed_or_unset(app: Path) -> None:
    reads(app)

    assert reads(app, MY_MODE="fast")
    assert not reads(app, MY_MODE="fast")
    assert reads(app, MY_MODE="slow")
    assert reads(app)


def test_a_variable_that_no_source_names_changes_nothing(app: Path) -> None:
    reads(app)

    assert not reads(app, SOMETHING_ELSE="1")


def test_another_python_path_is_another_reading(app: Path, tmp_path: Path) -> None:
    reads(app)

    assert reads(app, PYTHONPATH=str(tmp_path))


def test_a_declaration_that_asks_the_outside_is_read_each_time(tmp_path: Path) -> None:
    for asked in ("os.listdir('.')", "__import__('subprocess').run(['true'])", "os.system('true')"):
        app = a_project(tmp_path / asked[3:7], f"{APP.replace('import helper, ', 'import ')}\n{asked}\n")
        app.write_text(app.read_text().replace("helper.NAME", '"one"'))
        (app.parent / "notes.txt").write_text("a note")

        assert reads(app)
        assert reads(app)


def test_what_is_kept_holds_no_value_of_the_environment(app: Path, tmp_path: Path) -> None:
    reads(app, MY_MODE="a quiet value")

    kept = list((tmp_path / "coldstart-home" / "specs").iterdir())
    assert len(kept) == 1
    spec, _, came_from = kept[0].read_text().partition('"came_from"')
    assert '"MODE": "a quiet value"' in spec  # what is declared is declared
    assert "a quiet value" not in came_from


def test_a_kept_reading_that_is_broken_is_read_anew(app: Path, tmp_path: Path) -> None:
    reads(app)
    (kept,) = (tmp_path / "coldstart-home" / "specs").iterdir()
    kept.write_text("{")

    assert reads(app)


def test_a_package_that_was_installed_or_removed_is_another_reading(app: Path, tmp_path: Path) -> None:
    packages = tmp_path / "site-packages"
    packages.mkdir()
    reads(app, PYTHONPATH=str(packages))
    assert not reads(app, PYTHONPATH=str(packages))

    (packages / "new-1.0.dist-info").mkdir()

    assert reads(app, PYTHONPATH=str(packages))
