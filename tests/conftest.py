"""What holds for every test: a clean environment, and no skip that goes unnamed.

Each skip is printed at the end under its group, with the reason. Under `CI=true` only `gpu` and `live` may be
skipped; any other skip turns the run red, because a check that did not run there has not been made.
"""

from __future__ import annotations

import ctypes
import os
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ALLOWED_GROUPS = ("gpu", "live")
_GROUP = "skip_group"


@dataclass(kw_only=True)
class Skips:
    """What a run has skipped so far. A module reports from each xdist worker, and counts once."""

    tests: Counter[tuple[str, str]] = field(default_factory=Counter)
    modules: dict[str, tuple[str, str]] = field(default_factory=dict)

    def forbidden(self) -> list[str]:
        groups = {group for group, _ in (*self.tests, *self.modules.values())}
        return sorted(groups.difference(ALLOWED_GROUPS)) if _under_ci() else []

    def lines(self) -> list[str]:
        counted = Counter(self.modules.values())
        return sorted(
            [f"{group} ({reason}): {_many(count, 'test')}" for (group, reason), count in self.tests.items()]
            + [f"{group} ({reason}): {_many(count, 'module')}" for (group, reason), count in counted.items()]
        )


_SKIPS = pytest.StashKey[Skips]()


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """No test reads the settings, or writes into the cache, of whoever runs it, nor of the test before."""
    before = set(os.environ)
    for name in [name for name in os.environ if name.startswith("COLDSTART_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("COLDSTART_HOME", str(tmp_path / "coldstart-home"))
    yield
    # A lifecycle sets where libraries keep their files, as it does in a process of its own.
    for name in set(os.environ) - before:
        del os.environ[name]


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_SKIPS] = Skips()
    config.pluginmanager.register(_Recorder(config.stash[_SKIPS]))


def pytest_itemcollected(item: pytest.Item) -> None:
    # A report crosses from an xdist worker with its properties, but without its markers.
    for group in ALLOWED_GROUPS:
        if item.get_closest_marker(group):
            item.user_properties.append((_GROUP, group))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("gpu") and not _gpu_driver():
        pytest.skip("no NVIDIA GPU: neither /dev/nvidia* nor libcuda.so.1")
    if item.get_closest_marker("live") and not os.environ.get("COLDSTART_LIVE"):
        pytest.skip("COLDSTART_LIVE is not set")


def pytest_sessionfinish(session: pytest.Session) -> None:
    is_worker = hasattr(session.config, "workerinput")
    if (
        not is_worker
        and session.exitstatus == pytest.ExitCode.OK
        and session.config.stash[_SKIPS].forbidden()
    ):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    skips = terminalreporter.config.stash[_SKIPS]
    if lines := skips.lines():
        terminalreporter.section("skipped groups")
        for line in lines:
            terminalreporter.line(line)
    if forbidden := ", ".join(skips.forbidden()):
        allowed = " and ".join(ALLOWED_GROUPS)
        terminalreporter.line("")
        terminalreporter.line(f"error: skipped under CI, where only {allowed} may be: {forbidden}", red=True)
        terminalreporter.line("fix:   install what the reason names, in the project's own set-up")


class _Recorder:
    """Takes every skip down, wherever it happened: in a test, in its fixtures, or at a module's import."""

    def __init__(self, skips: Skips) -> None:
        self._skips = skips

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.skipped and not hasattr(report, "wasxfail"):
            self._skips.tests[_group_of(report), _reason_of(report)] += 1

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.skipped:
            self._skips.modules[report.nodeid] = (_group_of(report), _reason_of(report))


def _group_of(report: pytest.TestReport | pytest.CollectReport) -> str:
    """The marker that explains the skip, else the package that is missing, else the tests' own folder."""
    if marked := dict(getattr(report, "user_properties", ())).get(_GROUP):
        return str(marked)
    if missing := re.match(r"could not import '([\w.]+)'", _reason_of(report)):
        return missing[1]
    folders = Path(report.nodeid.partition("::")[0]).parts[:-1]
    return folders[1] if len(folders) > 1 else "tests"


def _reason_of(report: pytest.TestReport | pytest.CollectReport) -> str:
    place = report.longrepr
    text = str(place[2] if isinstance(place, tuple) else place)
    return text.removeprefix("Skipped: ").strip().partition("\n")[0]


def _gpu_driver() -> bool:
    """Whether there is a driver to ask. A card that is there and sick must fail its tests, not skip them."""
    if any(Path("/dev").glob("nvidia*")):
        return True
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    return True


def _under_ci() -> bool:
    return os.environ.get("CI", "").lower() in {"1", "true"}


def _many(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
