"""A bundle on disk: whole or not at all, and never a hand on what is not ours."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

import pytest

from coldstart_sdk.backends.local import backend as local
from coldstart_sdk.bundle import MANIFEST, Artifact, Bundle, check, code, write
from coldstart_sdk.errors import BundleError
from coldstart_sdk.planner import plan
from coldstart_sdk.spec import ContainerSpec, Origin, WeightSpec
from tests.builders import LOAD, a_spec


def a_bundle(**files: str) -> Bundle:
    """`app_py="…"` is the file app.py."""
    artifacts = (Artifact(path=name.replace("_", "."), content=text) for name, text in files.items())
    return Bundle(target="local", artifacts=tuple(artifacts))


def files_in(folder: Path) -> set[str]:
    return {str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()}


def test_what_was_written_checks(tmp_path: Path) -> None:
    bundle = a_bundle(app_py="x = 1\n", notes_txt="ü\n")

    written = write(bundle, tmp_path / "build" / "out")

    assert [path.name for path in written] == ["app.py", "notes.txt"]
    check(bundle, tmp_path / "build" / "out")
    assert files_in(tmp_path / "build") == {f"out/{name}" for name in ("app.py", "notes.txt", MANIFEST)}


def test_same_bundle_same_bytes_whatever_order_it_came_in(tmp_path: Path) -> None:
    write(a_bundle(a_py="1", b_py="2"), tmp_path / "one")
    write(a_bundle(b_py="2", a_py="1"), tmp_path / "two")

    for name in files_in(tmp_path / "one"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_a_new_build_takes_away_what_it_no_longer_has(tmp_path: Path) -> None:
    old = Bundle(target="local", artifacts=(Artifact(path="deep/er/old.py", content="1"),))
    write(old, tmp_path / "out")
    write(a_bundle(new_py="2"), tmp_path / "out")

    assert files_in(tmp_path / "out") == {"new.py", MANIFEST}
    assert not (tmp_path / "out" / "deep").exists()


def test_what_somebody_else_put_there_stays(tmp_path: Path) -> None:
    write(a_bundle(old_py="1"), tmp_path / "out")
    (tmp_path / "out" / "mine.txt").write_text("mine")
    write(a_bundle(new_py="2"), tmp_path / "out")

    assert (tmp_path / "out" / "mine.txt").read_text() == "mine"


def test_a_dropped_file_that_was_edited_stays(tmp_path: Path) -> None:
    write(a_bundle(old_py="1"), tmp_path / "out")
    (tmp_path / "out" / "old.py").write_text("edited")
    write(a_bundle(new_py="2"), tmp_path / "out")

    assert (tmp_path / "out" / "old.py").read_text() == "edited"


def test_a_file_that_is_not_ours_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text("mine")

    with pytest.raises(BundleError, match=r"app\.py is there already"):
        write(a_bundle(app_py="ours", b_py="2"), tmp_path)
    assert files_in(tmp_path) == {"app.py"}
    assert (tmp_path / "app.py").read_text() == "mine"


@pytest.mark.parametrize("path", ["../x", "/x", "a/../../x", "", ".", "a\\b"])
def test_no_artifact_leads_out_of_the_folder(path: str, tmp_path: Path) -> None:
    bundle = Bundle(target="local", artifacts=(Artifact(path=path, content=""),))

    with pytest.raises(BundleError, match="leads out of its folder"):
        write(bundle, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_no_artifact_is_written_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "sub").symlink_to(tmp_path / "elsewhere")
    bundle = Bundle(target="local", artifacts=(Artifact(path="sub/x", content=""),))

    with pytest.raises(BundleError, match="sub is a link"):
        write(bundle, tmp_path / "out")
    assert not files_in(tmp_path / "elsewhere")


def test_a_list_that_names_files_elsewhere_removes_nothing(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("1")
    write(a_bundle(a_py="1"), tmp_path / "out")
    (tmp_path / "out" / MANIFEST).write_text('{"files": {"../precious": "sha256:0"}}')

    with pytest.raises(BundleError):
        write(a_bundle(a_py="1"), tmp_path / "out")
    assert (tmp_path / "precious").exists()


def test_two_files_of_one_path_are_refused(tmp_path: Path) -> None:
    twice = (Artifact(path="a", content="1"), Artifact(path="a", content="2"))

    with pytest.raises(BundleError, match="two files"):
        write(Bundle(target="local", artifacts=twice), tmp_path / "out")


def test_a_folder_that_cannot_be_made_is_an_error_with_its_reason(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(BundleError, match="cannot be written") as raised:
        write(a_bundle(a_py="1"), tmp_path / "file" / "out")
    assert raised.value.where == str(tmp_path / "file" / "out")


def test_a_stale_bundle_is_named_file_by_file(tmp_path: Path) -> None:
    write(a_bundle(same_py="1", changed_py="1", gone_py="1", dropped_py="1"), tmp_path)
    (tmp_path / "gone.py").unlink()

    with pytest.raises(BundleError, match=r"stale: changed\.py, gone\.py, dropped\.py") as raised:
        check(a_bundle(same_py="1", changed_py="2", gone_py="1"), tmp_path)
    assert raised.value.fix == "Build it again: coldstart build FILE --target local"


def test_a_bundle_that_was_never_built_is_stale(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"a\.py"):
        check(a_bundle(a_py="1"), tmp_path / "out")


def test_a_lost_executable_bit_is_stale(tmp_path: Path) -> None:
    bundle = Bundle(target="local", artifacts=(Artifact(path="run", content="", executable=True),))
    write(bundle, tmp_path / "out")
    (tmp_path / "out" / "run").chmod(0o644)

    with pytest.raises(BundleError, match="stale: run"):
        check(bundle, tmp_path / "out")


# ---------------------------------------------------------------- the user's code


def a_project(folder: Path) -> Path:
    for name, text in {
        "voice.py": "import json\nimport parts.net, torch\nfrom near import thing\n",
        "near.py": "def late():\n    from importlib import import_module\n    import_module('by_name')\n",
        "by_name.py": "",
        "asked.py": "",
        "parts/__init__.py": "",
        "parts/net.py": "from . import layer\nfrom .deep.end import x\n",
        "parts/layer.py": "import voice",
        "parts/deep/end.py": "from ..layer import y\nfrom ... import outside",
        "parts/unused.py": "",
        "other_app.py": "",
        "test_voice.py": "import voice",
        "torch_notes.py": "",
        ".venv/x.py": "",
        "data/a.bin": "",
        "notes.md": "",
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


IMPORTED = [
    "by_name.py",
    "near.py",
    "parts/__init__.py",
    "parts/deep/end.py",
    "parts/layer.py",
    "parts/net.py",
    "voice.py",
]


def test_code_is_what_the_declaration_imports_and_what_the_container_copies(tmp_path: Path) -> None:
    spec = a_spec(imports=("asked",), image=ContainerSpec(files=(("data", "/data"), ("notes.md", "/n.md"))))

    found = [artifact.path for artifact in code(a_project(tmp_path), spec)]

    assert found == sorted([*IMPORTED, "asked.py", "data/a.bin", "notes.md"])


def test_a_file_that_is_not_python_does_not_hinder_a_build(tmp_path: Path) -> None:
    a_project(tmp_path)
    (tmp_path / "near.py").write_text("print 'no'")

    assert "near.py" in [artifact.path for artifact in code(tmp_path, a_spec())]


@pytest.mark.parametrize("source", ["absent.txt", "../outside", "/etc/passwd"])
def test_a_copy_of_what_is_not_in_the_project_is_refused(source: str, tmp_path: Path) -> None:
    spec = a_spec(image=ContainerSpec(files=((source, "/x"),)))

    with pytest.raises(BundleError):
        code(a_project(tmp_path), spec)


def test_a_project_without_its_declaration_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"voice\.py is not in the project"):
        code(tmp_path, a_spec())


# ---------------------------------------------------------------- the local target


def test_a_local_bundle_serves_the_class_from_wherever_it_lies(tmp_path: Path) -> None:
    spec = a_spec(LOAD, image=ContainerSpec(pip=("numpy==2.1",), apt=("ffmpeg",)))
    made = plan(spec, local.name, local.capabilities, sdk="1.2.3")
    out = tmp_path / "elsewhere"
    (tmp_path / "project").mkdir()
    write(local.compile(made, a_project(tmp_path / "project")), out)
    (out / ".venv" / "bin").mkdir(parents=True)
    (out / ".venv" / "bin" / "coldstart").write_text('#!/bin/sh\necho "$PWD" "$@"\n')
    (out / ".venv" / "bin" / "coldstart").chmod(0o755)

    ran = subprocess.run([out / "run.sh", "--port", "0"], capture_output=True, text=True, check=True, cwd="/")

    assert ran.stdout == f"{out} serve voice.py:Voice --port 0\n"
    assert (out / "requirements.txt").read_text() == "coldstart-sdk==1.2.3\nnumpy==2.1\n"
    assert (out / "plan.json").read_text() == made.to_json()
    assert "# Needs these Debian packages: ffmpeg\n" in (out / "run.sh").read_text()


def a_local_bundle(folder: Path, **weights: WeightSpec) -> Path:
    """Built from `project` in the folder, into `out`."""
    made = plan(a_spec(LOAD, weights=weights), local.name, local.capabilities, sdk="1.2.3")
    write(local.compile(made, folder / "project"), folder / "out")
    return folder / "out"


def a_program(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def run_with(out: Path, programs: Path) -> subprocess.CompletedProcess[str]:
    """The bundle where only these programs and those of the system are on PATH."""
    path = f"{programs}:/usr/bin:/bin"
    return subprocess.run(
        ["/bin/sh", out / "run.sh", "--port", "0"],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": path},
    )


def test_a_local_bundle_starts_with_the_coldstart_that_is_here(tmp_path: Path) -> None:
    a_project(tmp_path / "project")
    out = a_local_bundle(tmp_path)
    version = 'if [ "$1" = --version ]; then echo coldstart 1.2.3; else echo "on PATH $@"; fi'
    a_program(tmp_path / "bin" / "coldstart", version)

    assert run_with(out, tmp_path / "bin").stdout == "on PATH serve voice.py:Voice --port 0\n"

    a_program(tmp_path / "bin" / "coldstart", "echo coldstart 9.9.9")
    a_program(
        tmp_path / "bin" / "python3",
        'case "$*" in *--version) echo coldstart 1.2.3;; *) echo "in Python $@";; esac',
    )
    ran = run_with(out, tmp_path / "bin")
    assert ran.stdout == "in Python -m coldstart_sdk.cli serve voice.py:Voice --port 0\n"


def test_a_local_bundle_without_any_coldstart_says_what_to_do_in_three_lines(tmp_path: Path) -> None:
    a_project(tmp_path / "project")
    out = a_local_bundle(tmp_path)
    a_program(tmp_path / "bin" / "coldstart", "exit 1")
    a_program(tmp_path / "bin" / "python3", "exit 1")

    ran = run_with(out, tmp_path / "bin")

    assert ran.returncode == 4
    assert [line.partition(":")[0] for line in ran.stderr.splitlines()] == ["error", "at", "fix"]
    assert not (out / ".venv").exists()


def test_a_local_bundle_carries_its_local_weights(tmp_path: Path) -> None:
    project = a_project(tmp_path / "project")
    (project / "voices" / "en").mkdir(parents=True)
    (project / "voices" / "en" / "anna.bin").write_bytes(b"anna")
    weight = WeightSpec(origin=Origin.LOCAL, source="voices")

    out = a_local_bundle(tmp_path, voices=weight)

    assert (out / "voices" / "en" / "anna.bin").read_bytes() == b"anna"
    assert "Carries" not in (out / "run.sh").read_text()
    with (project / "voices" / "large.bin").open("wb") as large:
        large.truncate(2 * 10**8)  # sparse
    assert (
        "# Carries 0.2 GB of weights.\n" in (a_local_bundle(tmp_path, voices=weight) / "run.sh").read_text()
    )


def test_local_weights_outside_of_the_project_are_refused_with_what_to_type(tmp_path: Path) -> None:
    a_project(tmp_path / "project")
    (tmp_path / "else where").mkdir()
    (tmp_path / "else where" / "a.bin").write_bytes(b"a")

    with pytest.raises(BundleError, match="lie outside of the project") as refused:
        a_local_bundle(tmp_path, voices=WeightSpec(origin=Origin.LOCAL, source=str(tmp_path / "else where")))

    command = refused.value.fix.partition("`")[2].partition("`")[0]
    subprocess.run(shlex.split(command), check=True)
    out = a_local_bundle(tmp_path, voices=WeightSpec(origin=Origin.LOCAL, source="voices"))
    assert (out / "voices" / "a.bin").read_bytes() == b"a"
