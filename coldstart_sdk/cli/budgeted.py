"""Hold one cold start to a budget: a fresh one here, a rehearsed one, or one that was traced before."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

from coldstart_sdk import hold as holding
from coldstart_sdk.cli import kept, settings, traces
from coldstart_sdk.cli.console import GREEN, RED, Console
from coldstart_sdk.cli.measure import Measured, Requests, measure, requests_to, scratch_folder
from coldstart_sdk.cli.prepare import Asked, Prepared, prepare, prepare_here
from coldstart_sdk.cli.program import exit_with
from coldstart_sdk.cli.rehearse import chosen
from coldstart_sdk.cli.settings import Settings
from coldstart_sdk.cli.start import switched
from coldstart_sdk.cli.states import LOCAL
from coldstart_sdk.cli.story import Story
from coldstart_sdk.errors import BudgetError, UsageError
from coldstart_sdk.hold import Receipt
from coldstart_sdk.trace.model import Trace


def hold(  # noqa: PLR0913 - one name for each option
    what: str,
    budget: str,
    console: Console,
    *,
    endpoint: str | None,
    receipt: str | None,
    given: tuple[str, ...],
    warm: int,
    target: str | None,
    pairs: tuple[str, ...],
    **said: str | None,
) -> None:
    """Exit code 9 where a limit was not kept, or was not seen."""
    limits = holding.budget(budget)
    traces.refuse_unwritable(receipt, "--receipt")
    if what.endswith(".json"):
        _refuse_for_a_trace(endpoint=endpoint, given=given, target=target, pairs=pairs, **said)
        trace, where = kept.read(Path(what)), what
    else:
        asked = Asked(file=what, target=target or LOCAL, **said)
        trace, where = _fresh(
            asked, _Wanted(endpoint=endpoint, given=given, count=1 + warm), chosen(pairs), console
        )
    drawn = holding.check(trace, limits)
    if receipt:
        Path(receipt).write_text(drawn.to_json(), encoding="utf-8")
        console.did("receipt", f"written to {receipt}")
    _tell(drawn, where, console)


@dataclass(frozen=True, kw_only=True)
class _Wanted:
    """The requests, as the command line names them."""

    endpoint: str | None
    given: tuple[str, ...]
    count: int


def _refuse_for_a_trace(**said: object) -> None:
    """What was so when the trace was made."""
    flags = {"endpoint": "ENDPOINT", "given": "-i", "pairs": "--set"}
    if alone := [flags.get(name, f"--{name}") for name, value in said.items() if value]:
        raise UsageError(
            f"{', '.join(alone)} would change a start, and a trace is of one that is over",
            fix="Leave it out, or name the declaration's FILE instead of a trace.",
        )


def _fresh(asked: Asked, wanted: _Wanted, options: dict[str, str], console: Console) -> tuple[Trace, str]:
    """A start that has not happened yet, and the file that its trace is in now."""
    here = asked.target == LOCAL
    prepared = prepare_here(asked) if here else prepare(asked)
    requests = requests_to(prepared.plan.spec, wanted.endpoint, wanted.given, wanted.count)
    if requests is None:
        console.did("requests", "none sent: give the arguments of one with -i")
    if here:
        if options:
            raise UsageError("--set is for a rehearsal", fix="Add --target runpod or modal, or leave it out.")
        measured = _here(prepared, asked.home, requests, console)
    else:
        from coldstart_sdk.cli import elsewhere  # noqa: PLC0415 - only for a rehearsal

        measured = elsewhere.measure(prepared, requests, options)
    home = settings.home(asked.home, os.environ, Settings())
    path = traces.keep(measured.trace, home, None, None, console)
    return measured.trace, str(path) if path else asked.file


def _here(prepared: Prepared, home: str | None, requests: Requests | None, console: Console) -> Measured:
    env = switched(prepared, (), ())
    if home:
        return measure(prepared, requests, env=env, told=Story(console))
    with scratch_folder() as empty:
        return measure(replace(prepared, home=Path(empty)), requests, env=env, told=Story(console))


def _tell(receipt: Receipt, where: str, console: Console) -> None:
    if console.json:
        console.result_json({"ok": receipt.kept, "trace": where, "receipt": receipt})
        exit_with(0 if receipt.kept else BudgetError.exit_code)
    for verdict in receipt.verdicts:
        style = GREEN if verdict.kept else RED
        console.result(console.painted(verdict.word, style) + f"  {verdict}\n")
    console.next(f"coldstart explain {where}")
    holding.refuse_over(receipt)
