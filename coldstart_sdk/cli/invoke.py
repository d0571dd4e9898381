"""`coldstart invoke`: call an endpoint of what is live."""

from __future__ import annotations

import base64
import shlex
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.request import urlopen

import click

from coldstart_sdk import plugins
from coldstart_sdk.cli import inputs, live, traces
from coldstart_sdk.cli.console import Console
from coldstart_sdk.cli.results import Results
from coldstart_sdk.cli.verb import complete_endpoint, file_argument, home_option, target_option, verb
from coldstart_sdk.errors import PlatformError, UsageError
from coldstart_sdk.redact import safe_url
from coldstart_sdk.spec import EndpointSpec


@verb(
    "invoke",
    (
        "coldstart invoke app.py -i text=hi --target runpod",
        "the default endpoint; a stream prints as it comes",
    ),
    ("coldstart invoke app.py:Voice speak -i ref=@a.wav -o out.wav -t modal", "media in, media out"),
    ("coldstart invoke app.py -i text=hi --target runpod --json", "for a script"),
    ("coldstart invoke app.py -i text=hi --target runpod --no-wait", "only the job's name, for --job later"),
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
@click.option("--no-wait", is_flag=True, help="Leave it in the platform's queue, and print the job's name.")
@click.option("--job", metavar="NAME", help="What an earlier --no-wait gives; no arguments then.")
@target_option()
@home_option
def command(  # noqa: PLR0913 - one name for each option
    console: Console,
    *,
    file: str,
    endpoint: str | None,
    given: tuple[str, ...],
    output: str | None,
    no_wait: bool,
    job: str | None,
    target: str | None,
    home: str | None,
) -> None:
    """Call an endpoint where it is deployed, with arguments as `coldstart run` takes them."""
    if job and (given or no_wait):
        raise UsageError("--job asks for an earlier call", fix="Leave -i and --no-wait out.")
    found = live.find(file, target, "invoke", home)
    if found.spec is None:
        raise UsageError(
            f"{file} is no .py file, and a call needs the declaration: it says what the arguments are",
            fix="Name the file that was deployed: coldstart invoke app.py …",
        )
    called = inputs.endpoint_of(found.spec, endpoint)
    arguments = {} if job else inputs.arguments(called, given)
    traces.refuse_unwritable(output, "-o")
    if no_wait:
        name = plugins.queue(found.platform).submit(found.app, called.method, arguments)
        console.result_json({"job": name}) if console.json else console.result(f"{name}\n")
        words = " ".join(shlex.quote(word) for word in (file, *([endpoint] if endpoint else [])))
        console.next(f"coldstart invoke {words} --job {shlex.quote(name)} --target {found.target}")
        return
    if job:
        answers = plugins.queue(found.platform).collect(found.app, job)
    else:
        answers = found.platform.invoke(found.app, called.method, arguments)
    _show(answers, called, Results(called, output, console), console)


def _show(answers: Iterator[Any], called: EndpointSpec, results: Results, console: Console) -> None:
    if called.streams:
        for chunk in answers:
            results.chunk(_brought(chunk, called))
        shown = results.result(None)
    else:
        value = next(answers, None)
        for _ in answers:
            pass  # a plain endpoint gives one value; what is left is the end of the call
        shown = results.result(_brought(value, called))
    if console.json:
        console.result_json({"result": shown})


def _brought(value: Any, called: EndpointSpec) -> Any:  # noqa: ANN401 - plain JSON has no closer type
    """Media that were too large to come along, from where they were put."""
    if called.medium is None or not isinstance(value, Mapping) or not isinstance(value.get("url"), str):
        return value
    url = value["url"]
    try:
        with urlopen(url, timeout=60) as answer:  # noqa: S310 - the platform's answer names it
            content = answer.read()
    except OSError as lost:
        raise PlatformError(
            "the result was kept aside, and cannot be fetched", fix="Call again.", where=safe_url(url)
        ) from lost
    return {"base64": base64.b64encode(content).decode("ascii"), "type": value.get("type")}
