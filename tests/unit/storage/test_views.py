"""Views: plain directories, whole or absent, with the links that a declaration asks for."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from coldstart_sdk.errors import StorageError
from coldstart_sdk.spec import Origin, WeightSpec
from coldstart_sdk.storage import views
from coldstart_sdk.storage.home import Home
from coldstart_sdk.storage.weights import LocalWeight, LocalWeights
from tests.syncing import Syncing


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home.open(tmp_path / "home")


def local(path: str, **links: str) -> WeightSpec:
    return WeightSpec(
        origin=Origin.LOCAL,
        source=path,
        links={name.replace("__", "/"): target for name, target in links.items()},
    )


def write(root: Path, **files: str) -> None:
    for name, text in files.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def seen(path: Path) -> dict[str, str]:
    return {file.relative_to(path).as_posix(): file.read_text() for file in path.rglob("*") if file.is_file()}


def linked(tmp_path: Path, specs: dict[str, WeightSpec]) -> dict[str, LocalWeight]:
    here = Syncing(home=tmp_path / "home", project=tmp_path)
    return views.link({name: here.run(spec, name) for name, spec in specs.items()}, specs)


def test_a_view_has_its_files_and_is_made_once(home: Home, tmp_path: Path) -> None:
    write(tmp_path, blob="x")

    view = views.build(home.views / "v", {"a/b": tmp_path / "blob"})
    inode = view.stat().st_ino

    assert seen(view) == {"a/b": "x"}
    assert views.build(home.views / "v", {"a/b": tmp_path / "blob"}).stat().st_ino == inode


def test_a_view_that_lost_a_file_is_made_again(home: Home, tmp_path: Path) -> None:
    write(tmp_path, blob="x")
    view = views.build(home.views / "v", {"a": tmp_path / "blob", "b": tmp_path / "blob"})
    (view / "a").unlink()

    again = views.build(home.views / "v", {"a": tmp_path / "blob", "b": tmp_path / "blob"})

    assert seen(again) == {"a": "x", "b": "x"}
    assert [path.name for path in home.views.iterdir()] == ["v"]


def test_many_who_build_one_view_at_once_all_see_it_whole(home: Home, tmp_path: Path) -> None:
    write(tmp_path, blob="x")
    targets = {f"d{i}/f": tmp_path / "blob" for i in range(50)}
    start, whole = threading.Barrier(8), []

    def build() -> None:
        start.wait()
        whole.append(len(seen(views.build(home.views / "v", targets))))

    threads = [threading.Thread(target=build) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert whole == [50] * 8
    assert [path.name for path in home.views.iterdir()] == ["v"]


def test_a_link_shows_another_sets_file_or_folder(tmp_path: Path) -> None:
    write(tmp_path / "wan", config="wan")
    write(tmp_path / "talk", model="talk", deep__er="deeper")
    specs = {
        "wan": local("wan", talk__model="talk/model", everything="talk", own="config", folder="talk/deep"),
        "talk": local("talk"),
    }

    both = linked(tmp_path, specs)

    assert seen(both["wan"].path) == {
        "config": "wan",
        "own": "wan",
        "talk/model": "talk",
        "everything/model": "talk",
        "everything/deep/er": "deeper",
        "folder/er": "deeper",
    }
    assert seen(both["talk"].path) == {"model": "talk", "deep/er": "deeper"}
    assert both["wan"].tier == "origin"


def test_linking_leaves_the_set_itself_alone(tmp_path: Path) -> None:
    write(tmp_path / "a", x="1")

    weights = linked(tmp_path, {"a": local("a", y="x"), "b": local("a")})

    assert seen(weights["a"].path) == {"x": "1", "y": "1"}
    assert seen(weights["b"].path) == {"x": "1"}
    assert seen(tmp_path / "a") == {"x": "1"}


@pytest.mark.parametrize(
    ("name", "target", "message"),
    [
        ("y", "absent", "which is not there"),
        ("y", "b/absent", "which is not there"),
        ("y", "../a/x", "which is not there"),
        ("../y", "x", "has a '..' part"),
        ("/y", "x", "is absolute"),
        ("x", "b/z", "already has a file 'x'"),
        ("X", "b/z", "are one name"),
    ],
)
def test_a_link_that_cannot_be_is_refused(tmp_path: Path, name: str, target: str, message: str) -> None:
    write(tmp_path / "a", x="1")
    write(tmp_path / "b", z="2")

    with pytest.raises(StorageError, match=message):
        linked(tmp_path, {"a": local("a", **{name: target}), "b": local("b")})


def test_a_wrong_name_of_a_weight_is_answered_with_the_right_ones() -> None:
    weight = LocalWeight(name="vocos", path=Path(), tier="disk", bytes=1, revision="r", ref="vocos")

    weights = LocalWeights({"vocos": weight, "f5": weight})

    assert weights["vocos"] is weight
    assert list(weights) == ["vocos", "f5"]
    with pytest.raises(KeyError, match="no weight 'vocoss'; declared: 'f5', 'vocos'; did you mean 'vocos'"):
        _ = weights["vocoss"]
    assert "nothing" not in weights
