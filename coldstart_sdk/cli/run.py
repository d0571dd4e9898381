"""`coldstart run`: start cold, answer once, show where the time went."""

from __future__ import annotations

import contextlib
import secrets
import sys
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click
from click.exceptions import Exit

from coldstart_sdk.backends.local import messages
from coldstart_sdk.cli import inputs, traces
from coldstart_sdk.cli.console import Console
from coldstart_sdk.cli.prepare import Asked, Prepared, prepare_here
from coldstart_sdk.cli.results import Results
from coldstart_sdk.cli.start import Start, failure, interruptible, start, switched, tell_waiting
from coldstart_sdk.cli.story import Story
from coldstart_sdk.cli.verb import (
    complete_endpoint,
    file_argument,
    home_option,
    in_seconds,
    settings_options,
    switch_options,
    verb,
    watch_option,
)
from coldstart_sdk.errors import ColdstartError, LifecycleError, Problem, UsageError
from coldstart_sdk.events import Anchor, AnchorSet, RequestEnded
from coldstart_sdk.spec import EndpointSpec
from coldstart_sdk.trace.model import Trace

_LAST_WORDS_S = 1.0
"""How long, after its time was up, a worker may take to end in order."""


@dataclass(frozen=True, kw_only=True)
class Call:
    """What `run` was asked for, checked."""

    prepared: Prepared
    endpoint: EndpointSpec
    arguments: Mapping[str, Any]
    output: str | None
    trace: str | None
    trace_format: str | None
    limit_s: float | None
    env: Mapping[str, str]


@verb(
    "run",
    ("coldstart run app.py -i text=hi", "the default endpoint of the one declaration in the file"),
    ("coldstart run app.py:Voice speak -i text=hi -i ref=@a.wav -o out.wav", "media in, media out"),
    ("coldstart run app.py speak -i text=hi --json | jq .ready_s", "for a script"),
    ("coldstart run app.py --trace start.svg", "keep the picture; .html and .chrome.json too"),
    ("coldstart run app.py --skip warmup --watch", "again after each change, without warm-up"),
    ("coldstart run app.py --sealed -i text=hi", "does load fetch anything that is not declared?"),
)
@file_argument
@click.argument("endpoint", required=False, shell_complete=complete_endpoint)
@click.option(
    "--input",
    "-i",
    "given",
    multiple=True,
    metavar="NAME=VALUE",
    help="One argument: text literally, anything else as JSON, @file for media. May be repeated.",
)
@click.option(
    "--output", "-o", metavar="FILE", help="Put the result there; - is stdout. Media go to ./ENDPOINT.EXT."
)
@click.option("--trace", metavar="FILE", help="Put the trace there instead of in COLDSTART_HOME/traces.")
@click.option("--trace-format", type=click.Choice(traces.FORMATS), help="Default: told from the file's name.")
@click.option(
    "--timeout", callback=in_seconds, metavar="TIME", help="Give up after this long, such as 90s or 10m."
)
@click.option(
    "--sealed", is_flag=True, help="Close the network for load, and name the line that reaches out."
)
@switch_options
@settings_options
@home_option
@watch_option
def command(console: Console, *, watch: bool, **said: Any) -> None:  # noqa: ANN401 - click's options, each its own type
    """Start a worker cold, answer one request, and show where the time went.

    The result goes to stdout; media go to a file, whose path is then the result. The steps and the waterfall
    go to stderr. A stream prints as it comes.
    """
    if watch:
        from coldstart_sdk.cli.watch import again_and_again  # noqa: PLC0415 - only for --watch

        again_and_again(said["file"], console, said["home"], said["output"], said["trace"])
    answer(_checked(**said), console)


def answer(call: Call, console: Console) -> None:
    """One cold start and one answer."""
    started = start(call.prepared, env=call.env)
    story, results = Story(console), _Given(results=Results(call.endpoint, call.output, console))
    replies: list[messages.Answered | messages.Refused] = []
    late = threading.Event()

    def heard(report: messages.Report) -> None:
        match report:
            case messages.Chunk() | messages.Answered() | messages.Refused() if late.is_set():
                pass  # it was given up
            case messages.Chunk():
                results.results.chunk(report.value)
            case messages.Answered() | messages.Refused():
                replies.append(report)
                started.worker.release()
                results.take(report)
            case messages.Waiting():
                tell_waiting(report, started, console)
            case _:
                story(report)

    with interruptible(started) as interrupted, _limit(call.limit_s, started, late):
        started.ask(
            messages.Ask(id=secrets.token_hex(6), endpoint=call.endpoint.method, arguments=call.arguments)
        )
        started.follow(heard)
    _look_back(call, started, results, console)
    if interrupted.signal is not None:
        raise Exit(128 + interrupted.signal)
    if error := _error(call, started, replies, late=late.is_set()):
        raise error


@dataclass
class _Given:
    """The result, put where it was asked for as soon as it is there."""

    results: Results
    is_there: bool = False
    result: object = None
    refused: ColdstartError | OSError | None = None
    """Why it could not be put there; told when the worker has ended."""

    def take(self, reply: messages.Answered | messages.Refused) -> None:
        if isinstance(reply, messages.Refused):
            return
        try:
            self.result = self.results.result(reply.value)
            self.is_there = True
        except (ColdstartError, OSError) as refused:
            self.refused = refused


def _look_back(call: Call, started: Start, results: _Given, console: Console) -> None:
    """Show and keep the trace; in JSON, tell of the result too."""
    trace = started.trace
    traces.show(trace, console, reasons=results.is_there)  # else the error tells them
    path, unwritten = _kept(call, trace, console)
    if results.refused:
        raise results.refused
    if console.json and results.is_there:
        console.result_json(_summary(started, results.result, path))
    if unwritten:
        raise unwritten


def _kept(call: Call, trace: Trace, console: Console) -> tuple[Path | None, ColdstartError | None]:
    """Where the trace is; or, where it was asked for by name, why it is not there."""
    try:
        path = traces.keep(trace, call.prepared.home, call.trace, call.trace_format, console)
    except ColdstartError as unwritten:
        return None, unwritten
    if path:
        console.did("trace", f"written to {path}")
    return path, None


def _checked(  # noqa: PLR0913 - one name for each option
    *,
    file: str,
    endpoint: str | None,
    given: tuple[str, ...],
    output: str | None,
    trace: str | None,
    trace_format: str | None,
    timeout: float | None,
    sealed: bool,
    skip: tuple[str, ...],
    defer: tuple[str, ...],
    **said: str | None,
) -> Call:
    """Everything that can be known to be wrong before a worker starts."""
    prepared = prepare_here(Asked(file=file, target="local", **said))
    called = inputs.endpoint_of(prepared.plan.spec, endpoint)
    arguments = inputs.arguments(called, given)
    traces.refuse_unwritable(output, "-o")
    if output == "-" and called.medium and sys.stdout.isatty():
        raise UsageError(
            f"{called.method} gives {called.medium.value}, and stdout is a terminal",
            where="-o -",
            fix="Name a file with -o, or send stdout to one or to a program.",
        )
    traces.refuse_unwritable(trace, "--trace")
    traces.refuse_undrawable(trace, trace_format)
    return Call(
        prepared=prepared if timeout is None else _patient(prepared, timeout),
        endpoint=called,
        arguments=arguments,
        output=output,
        trace=trace,
        trace_format=trace_format,
        limit_s=timeout,
        env={**switched(prepared, skip, defer), **({"COLDSTART_SEALED": "1"} if sealed else {})},
    )


def _patient(prepared: Prepared, limit_s: float) -> Prepared:
    """A request that may wait this long for READY, whatever is declared."""
    spec = prepared.plan.spec
    longer = replace(spec, timeout_s=max(spec.timeout_s, limit_s))
    return replace(prepared, plan=replace(prepared.plan, spec=longer))


@contextlib.contextmanager
def _limit(limit_s: float | None, started: Start, late: threading.Event) -> Iterator[None]:
    """Sets `late` when the time is up; the worker is then asked to end, and soon killed if it does not."""

    def give_up() -> None:
        late.set()
        started.end()

    timers = [threading.Timer((limit_s or 0) + after_s, give_up) for after_s in (0, _LAST_WORDS_S)]
    for timer in timers:
        timer.daemon = True
        if limit_s is not None:
            timer.start()
    try:
        yield
    finally:
        for timer in timers:
            timer.cancel()


def _summary(started: Start, result: object, trace: Path | None) -> dict[str, object]:
    ready_s, first_ms = started.trace.anchors.ready_s, _first_ms(started)
    return {
        "result": result,
        "ready_s": ready_s if ready_s is None else round(ready_s, 3),
        "first_ms": first_ms if first_ms is None else round(first_ms, 3),
        "trace": trace and str(trace),
    }


def _first_ms(started: Start) -> float | None:
    """From when both the request and the worker were there to the first byte of the answer."""
    asked = next((event for event in started.events if isinstance(event, RequestEnded)), None)
    ready = [
        event.at_s
        for event in started.events
        if isinstance(event, AnchorSet) and event.anchor is Anchor.READY
    ]
    if asked is None or asked.first_s is None:
        return None
    return (asked.started_s + asked.first_s - max([asked.started_s, *ready[:1]])) * 1000


def _error(
    call: Call, started: Start, replies: list[messages.Answered | messages.Refused], *, late: bool
) -> ColdstartError | None:
    """Why there is no answer."""
    if replies and isinstance(replies[0], messages.Answered):
        return None
    if late:
        running = ", ".join(started.running)
        return LifecycleError(
            f"there was no answer within {call.limit_s:g} s",
            where=running or call.endpoint.method,
            fix="Give it longer with --timeout; the waterfall shows where the time went.",
        )
    if error := failure(started):
        return error
    if replies and isinstance(replies[0], messages.Refused):
        is_ready = started.trace.anchors.ready_s is not None
        return _refused(replies[0].error.get("error", {}), call, is_ready=is_ready)
    return LifecycleError(
        "the worker ended before it answered",
        where=call.endpoint.method,
        fix="Look at the log above for what ended it.",
    )


def _refused(error: Mapping[str, Any], call: Call, *, is_ready: bool) -> ColdstartError:
    """What a caller would have been told, and what the one at this terminal can do about it."""
    said, at = (
        str(error.get("message", "the call was refused")),
        str(error.get("where", call.endpoint.method)),
    )
    match error.get("type"):
        case "bad_arguments":
            bad = error.get("fields") or [{"field": "arguments", "message": said}]
            return UsageError.of(
                tuple(
                    Problem(
                        message=f"{field['field']}: {field['message']}",
                        where=at,
                        fix=field.get("fix")
                        or f"Give another value: -i {field['field'].partition('.')[0]}=….",
                    )
                    for field in bad
                )
            )
        case "timeout":
            return _out_of_time(said, at, call, is_ready=is_ready)
        case "not_ready":
            return LifecycleError(said, where=at, fix="Look at the log above for what kept it from READY.")
        case _:
            fix = error.get("fix", "Mend the line that the traceback in the log above ends with.")
            return LifecycleError(said, where=at, fix=fix)


def _out_of_time(said: str, at: str, call: Call, *, is_ready: bool) -> LifecycleError:
    """The mend names the limit that was met."""
    own_s = call.endpoint.timeout_s if is_ready else None
    if own_s is not None:
        fix = f"Give it longer in the declaration: timeout= of @endpoint, which says {own_s:g} s."
    else:
        limit_s = call.prepared.plan.spec.timeout_s
        fix = f"Give it longer than {limit_s:g} s: --timeout, or timeout= of @warm_model."
    return LifecycleError(said, where=at, fix=fix)
