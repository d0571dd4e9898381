"""The policy of `tests/conftest.py`, seen from outside: a pytest of its own runs under a copy of it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

CONFTEST = Path(__file__).parents[1] / "conftest.py"
MARKERS = "[pytest]\nmarkers =\n  gpu\n  live\n"
PROGRAM_MISSING = "import pytest\ndef test_builds() -> None:\n    pytest.skip('buildah is not installed')\n"
PACKAGE_MISSING = "import pytest\npytest.importorskip('no_such_package')\ndef test_x() -> None: ...\n"
MARKED = """
import pytest

@pytest.mark.{marker}
def test_x() -> None:
    pytest.skip("it is not here")
"""
LIVE = "import pytest\n@pytest.mark.live\ndef test_account() -> None: ...\n"
PASSING = "def test_passes() -> None: ...\n"
XFAIL = "import pytest\n@pytest.mark.xfail\ndef test_x() -> None:\n    raise ValueError\n"


def run(tmp_path: Path, test: str, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    folder = tmp_path / "tests" / "contract"
    folder.mkdir(parents=True)
    (tmp_path / "pytest.ini").write_text(MARKERS)
    (tmp_path / "tests" / "conftest.py").write_text(CONFTEST.read_text())
    (folder / "test_it.py").write_text(test)
    (folder / "test_passing.py").write_text(PASSING)
    inherited = {name: value for name, value in os.environ.items() if name != "CI"}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *options],
        cwd=tmp_path,
        env=inherited | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_skip_is_named_with_its_group_and_reason(tmp_path: Path) -> None:
    done = run(tmp_path, PROGRAM_MISSING)

    assert done.returncode == 0, done.stdout
    assert "skipped groups" in done.stdout
    assert "contract (buildah is not installed): 1 test" in done.stdout.splitlines()


@pytest.mark.parametrize("options", [(), ("-n", "2")], ids=["one process", "workers"])
def test_a_skip_under_ci_turns_the_run_red(tmp_path: Path, options: tuple[str, ...]) -> None:
    done = run(tmp_path, PROGRAM_MISSING, *options, CI="true")

    assert done.returncode == 1, done.stdout
    assert "error: skipped under CI, where only gpu and live may be: contract" in done.stdout.splitlines()


@pytest.mark.parametrize("options", [(), ("-n", "2")], ids=["one process", "workers"])
def test_a_module_that_cannot_be_imported_is_named_after_the_package(
    tmp_path: Path, options: tuple[str, ...]
) -> None:
    done = run(tmp_path, PACKAGE_MISSING, *options, CI="true")

    assert done.returncode == 1, done.stdout
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("no_such_package (")]
    assert line.endswith(": 1 module")


@pytest.mark.parametrize("marker", ["gpu", "live"])
@pytest.mark.parametrize("options", [(), ("-n", "1")], ids=["one process", "workers"])
def test_only_gpu_and_live_may_be_skipped_under_ci(
    tmp_path: Path, marker: str, options: tuple[str, ...]
) -> None:
    done = run(tmp_path, MARKED.format(marker=marker), *options, CI="true")

    assert done.returncode == 0, done.stdout
    (line,) = [line for line in done.stdout.splitlines() if line.startswith(f"{marker} (")]
    assert line.endswith(": 1 test")
    assert "error:" not in done.stdout


def test_a_live_test_runs_only_when_it_is_asked_for(tmp_path: Path) -> None:
    quiet = run(tmp_path / "quiet", LIVE)
    asked = run(tmp_path / "asked", LIVE, COLDSTART_LIVE="1")

    assert "live (COLDSTART_LIVE is not set): 1 test" in quiet.stdout.splitlines()
    assert "2 passed" in asked.stdout


def test_an_expected_failure_is_no_skip(tmp_path: Path) -> None:
    done = run(tmp_path, XFAIL, CI="true")

    assert done.returncode == 0, done.stdout
    assert "skipped groups" not in done.stdout


def test_a_run_that_failed_anyway_keeps_its_own_status(tmp_path: Path) -> None:
    done = run(tmp_path, PROGRAM_MISSING, "--no-such-option", CI="true")

    assert done.returncode == pytest.ExitCode.USAGE_ERROR
