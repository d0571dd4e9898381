"""Cold starts as tests: start a declaration cold, hold it to a budget, look at its trace.

    @pytest.mark.cold_start("app.py", budget="ready=15s,first=1.5x")
    def test_the_first_caller_does_not_wait(cold_start):
        start = cold_start(requests=3, text="hi")
        assert start.answers[0] == "hi"

The budget is judged after the test's own asserts. `targets=("local", "runpod")` on the mark, or
`--coldstart-targets=local,runpod` for all of them, runs a test on each: here, and under a platform's own
worker on loopback. Nothing of ours is imported before a test asks for it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from coldstart_sdk.cli.measure import Measured, Requests
    from coldstart_sdk.cli.prepare import Prepared
    from coldstart_sdk.errors import ColdstartError, Problem
    from coldstart_sdk.explain.finding import Explanation
    from coldstart_sdk.hold import Receipt
    from coldstart_sdk.hold.budget import Verdict
    from coldstart_sdk.trace.model import Trace

MARK = "cold_start"
_TARGET = "coldstart_target"
_LOCAL = "local"


@dataclass(frozen=True, kw_only=True)
class ColdStart:
    """One start that has ended, and what it answered."""

    trace: Trace
    answers: tuple[Any, ...]

    @property
    def ready_s(self) -> float | None:
        return self.trace.anchors.ready_s

    def explain(self) -> Explanation:
        """What could be saved of it."""
        from coldstart_sdk.explain.evidence import Evidence  # noqa: PLC0415 - only for whoever asks
        from coldstart_sdk.explain.explain import explain  # noqa: PLC0415 - as above

        return explain(Evidence(trace=self.trace))

    def receipt(self, budget: str | None = None) -> Receipt:
        """What it came to, within that budget or not."""
        from coldstart_sdk import hold  # noqa: PLC0415 - as above

        return hold.check(self.trace, hold.budget(budget) if budget else None)


@dataclass
class ColdStarts:
    """Starts what the test is about; remembers each start for the budget."""

    file: Path | None
    target: str
    home: Path
    options: Mapping[str, str] = field(default_factory=dict)
    """Of a rehearsal, such as its link."""
    started: list[ColdStart] = field(default_factory=list)

    def __call__(
        self,
        file: str | os.PathLike[str] | None = None,
        endpoint: str | None = None,
        *,
        requests: int = 1,
        home: Path | None = None,
        **arguments: Any,  # noqa: ANN401 - what the endpoint takes
    ) -> ColdStart:
        """Start cold from an empty home, unless one is given; send so many requests; wait for the end.

        A platform's worker is always empty, and starts for a request: where none is asked for it gets a
        sample, whose answer is not told.
        """
        named = Path(file) if file is not None else self.file
        if named is None:
            raise pytest.UsageError(
                'name the declaration: @pytest.mark.cold_start("app.py") or cold_start("app.py")'
            )
        from coldstart_sdk.errors import ColdstartError  # noqa: PLC0415 - only for whoever asks

        try:
            return self._start(named, endpoint, requests, home or self._fresh(), arguments)
        except ColdstartError as error:
            _note(error)
            raise

    def _fresh(self) -> Path:
        return self.home / str(len(self.started))

    def _start(
        self, named: Path, endpoint: str | None, requests: int, home: Path, arguments: Mapping[str, Any]
    ) -> ColdStart:
        from coldstart_sdk.cli.inputs import endpoint_of  # noqa: PLC0415 - only for whoever asks
        from coldstart_sdk.cli.measure import Requests  # noqa: PLC0415 - as above
        from coldstart_sdk.cli.prepare import Asked, prepare  # noqa: PLC0415 - as above

        prepared = prepare(Asked(file=str(named), target=self.target, home=str(home)))
        wanted = None
        if requests:
            found = endpoint_of(prepared.plan.spec, endpoint)
            wanted = Requests(endpoint=found, arguments=arguments, count=requests)
        measured = self._measure(prepared, wanted)
        start = ColdStart(trace=measured.trace, answers=measured.answers)
        self.started.append(start)
        return start

    def _measure(self, prepared: Prepared, wanted: Requests | None) -> Measured:
        from coldstart_sdk.cli import elsewhere, measure  # noqa: PLC0415 - only for whoever asks

        if self.target == _LOCAL:
            return measure.measure(prepared, wanted, env={})
        return elsewhere.measure(prepared, wanted, self.options)


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("coldstart")
    group.addoption(
        "--coldstart-targets",
        metavar="NAMES",
        help="Targets that each test of a cold start runs on, with commas between; default: its mark's.",
    )
    group.addoption("--coldstart-receipts", metavar="DIR", help="Keep each start's trace and receipt there.")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        f"{MARK}(file, budget=None, targets=('local',), options={{}}): the declaration that is started cold, "
        "what it may cost, where, and the options of a rehearsal",
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if _TARGET in metafunc.fixturenames:
        mark = metafunc.definition.get_closest_marker(MARK)
        of_mark = tuple(mark.kwargs.get("targets", (_LOCAL,))) if mark else (_LOCAL,)
        said = metafunc.config.getoption("--coldstart-targets")
        names = [name.strip() for name in said.split(",")] if said else of_mark
        metafunc.parametrize(_TARGET, [name for name in names if name])


@pytest.fixture
def cold_start(
    request: pytest.FixtureRequest, tmp_path: Path, coldstart_target: str
) -> Iterator[Callable[..., ColdStart]]:
    """Start the marked declaration cold; its budget is judged when the test has ended."""
    mark = request.node.get_closest_marker(MARK)
    file = _beside(request, mark.args[0]) if mark and mark.args else None
    budget, options = (mark.kwargs.get(name) if mark else None for name in ("budget", "options"))
    starts = ColdStarts(
        file=file, target=coldstart_target, home=tmp_path / "coldstart", options=options or {}
    )
    if budget:
        _refuse_unreadable(budget)
    yield starts
    folder = request.config.getoption("--coldstart-receipts")
    for number, start in enumerate(starts.started):
        if folder:
            _keep(start, Path(folder), f"{request.node.name}-{number}", budget)
        if budget:
            _judge(start, budget)


def _refuse_unreadable(budget: str) -> None:
    """Before anything is started for it."""
    from coldstart_sdk import hold  # noqa: PLC0415 - only where there is one
    from coldstart_sdk.errors import UsageError  # noqa: PLC0415 - as above

    told: list[str] = []
    try:
        hold.budget(budget)
    except UsageError as error:
        told = [f"{problem.message}\nfix: {problem.fix}" for problem in error.problems]
    if told:
        pytest.fail("\n".join(told), pytrace=False)


def _note(error: ColdstartError) -> None:
    """A test's report shows what an exception says and its notes, and knows nothing of our own fields."""
    told = [f"{word}: {text}" for problem in error.problems for word, text in _fields(problem) if text]
    vars(error)["__notes__"] = told  # what add_note fills, which Python 3.10 has not


def _fields(problem: Problem) -> tuple[tuple[str, str | None], ...]:
    return ("at", problem.where), ("fix", problem.fix)


def _beside(request: pytest.FixtureRequest, file: str) -> Path:
    """Relative to the test's own file first, then to where pytest was started."""
    near = Path(request.node.path).parent / file
    path, colon, _ = str(near).rpartition(":")
    return near if Path(path if colon else near).exists() else Path(file)


def _judge(start: ColdStart, budget: str) -> None:
    receipt = start.receipt(budget)
    if not receipt.kept:
        from coldstart_sdk.trace.waterfall import render  # noqa: PLC0415 - only where it failed

        over = "\n".join(_spelled(verdict) for verdict in receipt.verdicts if not verdict.kept)
        pytest.fail(f"{over}\n\n{render(start.trace, width=80)}", pytrace=False)


def _spelled(verdict: Verdict) -> str:
    if verdict.was is not None:
        return str(verdict)
    return f"{verdict}: send more with cold_start(requests=10), or name a step that ran"


def _keep(start: ColdStart, folder: Path, name: str, budget: str | None) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    stem = "".join(letter if letter.isalnum() or letter in "-_." else "-" for letter in name)
    (folder / f"{stem}.trace.json").write_text(start.trace.to_json(), encoding="utf-8")
    (folder / f"{stem}.receipt.json").write_text(start.receipt(budget).to_json(), encoding="utf-8")
