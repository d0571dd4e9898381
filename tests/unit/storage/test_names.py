"""One rule for names: nothing leaves its directory, nothing hides anything else."""

from __future__ import annotations

import tempfile
import unicodedata
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from coldstart_sdk.errors import StorageError
from coldstart_sdk.storage import names, views
from coldstart_sdk.storage.home import Home

PARTS = st.one_of(
    st.sampled_from(
        [".", "..", "", "a", "A", "b", "aux", "CON.x", " a", "a ", "a.", "ä", "a\u0308", "\0", "C:"]
    ),
    st.text(max_size=8),
)
PATHS = st.lists(PARTS, min_size=1, max_size=4).map("/".join)


@pytest.mark.parametrize(
    "name",
    [
        "", ".", "..", "a/../b", "../a", "/etc/passwd", "a//b", "a/", "a/./b", "a\\b", "..\\a", "C:/x",
        "a\0b", "a\nb", "aux", "dir/NUL.bin", "a.", "a ", " a", "x" * 256, "a/" * 600 + "b", "\ud800",
    ],
)  # fmt: skip
def test_a_name_that_could_do_harm_is_refused(name: str) -> None:
    with pytest.raises(StorageError):
        names.check([name], where="here")


@pytest.mark.parametrize(
    "name", ["a", "a/b.c", ".gitattributes", "odd #?%+.txt", "模型/权重.bin", "x" * 255, "a..b", "auxiliary"]
)
def test_an_ordinary_name_passes(name: str) -> None:
    names.check([name], where="here")


@pytest.mark.parametrize(
    "twins",
    [
        ("a", "A"),
        ("Model/x", "model/y"),
        ("ä", "a\u0308"),
        ("a", "a"),
        ("a", "a/b"),
        ("A", "a/b"),
        ("straße", "STRASSE"),
    ],
)
def test_two_names_that_are_one_somewhere_are_refused_together(twins: tuple[str, str]) -> None:
    with pytest.raises(StorageError, match=r"one name|one folder|both a file and a folder"):
        names.check(twins, where="here")


@given(st.lists(PATHS, max_size=6))
@example(["../outside"])
@example(["/outside"])
@example(["a", "A"])
def test_what_passes_stays_in_its_view_and_apart(paths: list[str]) -> None:
    try:
        names.check(paths, where="here")
    except StorageError:
        return
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        home = Home.open(root / "home")
        source = root / "source"
        source.write_bytes(b"x")
        before = _everything_outside(root, home)

        view = views.build(home.views / "view", dict.fromkeys(paths, source))

        made = {path.relative_to(view).as_posix() for path in view.rglob("*") if path.is_file()}
        assert made == set(paths)
        assert _everything_outside(root, home) == before
        folded = {unicodedata.normalize("NFC", path).casefold() for path in paths}
        assert len(folded) == len(paths)


def _everything_outside(root: Path, home: Home) -> set[Path]:
    return {path for path in root.rglob("*") if not path.is_relative_to(home.views)}
