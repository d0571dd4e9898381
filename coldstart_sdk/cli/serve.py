"""`coldstart serve`: start cold, and answer over HTTP until told to stop."""

from __future__ import annotations

import errno
import ipaddress
import json
import os
import secrets
import signal
import socket
from typing import Any

import click
from click.exceptions import Exit

from coldstart_sdk.backends.local.messages import Answered, Chunk, Refused, Report, Waiting
from coldstart_sdk.cli import inputs, traces
from coldstart_sdk.cli.console import Console
from coldstart_sdk.cli.prepare import Asked, Prepared, prepare_here
from coldstart_sdk.cli.start import failure, interruptible, start, switched, tell_waiting
from coldstart_sdk.cli.story import Story
from coldstart_sdk.cli.verb import (
    file_argument,
    home_option,
    settings_options,
    switch_options,
    verb,
    watch_option,
)
from coldstart_sdk.errors import UsageError
from coldstart_sdk.events import State, StateChanged
from coldstart_sdk.serve.options import Options
from coldstart_sdk.spec import EndpointSpec

_LARGEST_PORT = 65535
_SHORTEST_TOKEN = 8


@verb(
    "serve",
    ("coldstart serve app.py", "on http://127.0.0.1:8000"),
    ("coldstart serve app.py --port 0 --watch", "on a free port, again after each change"),
    ("coldstart serve app.py --host 0.0.0.0 --token auto", "for other machines; prints the token once"),
)
@file_argument
@click.option(
    "--host", default="127.0.0.1", show_default=True, metavar="ADDRESS", help="The address to listen on."
)
@click.option("--port", type=int, default=8000, show_default=True, help="The port; 0 is any free one.")
@click.option("--token", metavar="TOKEN", help="Ask it of every caller; `auto` makes one [COLDSTART_TOKEN].")
@click.option(
    "--allow-host", "hosts", multiple=True, metavar="NAME", help="One more name that callers may use for us."
)
@click.option("--allow-origin", "origins", multiple=True, metavar="URL", help="A web page that may call us.")
@click.option(
    "--refuse-early", is_flag=True, help="Before READY answer 503 instead of letting requests wait."
)
@switch_options
@settings_options
@home_option
@watch_option
def command(console: Console, *, watch: bool, **said: Any) -> None:  # noqa: ANN401 - click's options, each its own type
    """Start a worker cold and answer over HTTP.

    Beside the endpoints it has /openapi.json, /health, /ready, /metrics and /trace. It listens
    on this machine alone; another address needs a token. SIGTERM and Ctrl-C let accepted requests end; a
    second one does not wait for them.
    """
    if watch:
        from coldstart_sdk.cli.watch import again_and_again  # noqa: PLC0415 - only for --watch

        again_and_again(said["file"], console, said["home"])
    _serve(console, **said)


def _serve(  # noqa: PLR0913 - one name for each option
    console: Console,
    *,
    file: str,
    host: str,
    port: int,
    token: str | None,
    hosts: tuple[str, ...],
    origins: tuple[str, ...],
    refuse_early: bool,
    skip: tuple[str, ...],
    defer: tuple[str, ...],
    **said: str | None,
) -> None:
    prepared = prepare_here(Asked(file=file, target="local", **said))
    env = switched(prepared, skip, defer)
    with listen(host, port) as listening:
        asked_token = _token(token or os.environ.get("COLDSTART_TOKEN"), listening, host)
        options = Options(
            host=host,
            port=listening.getsockname()[1],
            token=asked_token,
            hosts=hosts,
            origins=origins,
            waits=not refuse_early,
        )
        # The token goes to the worker through its pipe, and to nothing that the worker starts.
        env["COLDSTART_TOKEN"] = ""
        started = start(prepared, env=env, serve=options, listening=listening)
    story = Story(console)

    said_where = False

    def heard(report: Report) -> None:
        nonlocal said_where
        if isinstance(report, Chunk | Answered | Refused):
            return
        if isinstance(report, Waiting):
            tell_waiting(report, started, console)
            return
        story(report)
        if isinstance(report, StateChanged) and report.state is State.READY and not said_where:
            said_where = True
            traces.show(started.trace, console)
            _say_where(prepared, options, console, is_new_token=token == "auto")  # noqa: S105 - the word for "make one"

    with interruptible(started) as interrupted:
        started.follow(heard)
    if error := failure(started):
        traces.show(started.trace, console, reasons=False)
        raise error
    if interrupted.signal and started.exit_code and started.exit_code != -signal.SIGTERM:
        raise Exit(128 + interrupted.signal)  # it was not given the time to end by itself
    console.say("stopped")


def listen(host: str, port: int) -> socket.socket:
    """The socket that the worker will answer on, bound here: a mistake is told before anything starts."""
    if not 0 <= port <= _LARGEST_PORT:
        raise UsageError(
            f"{port} is no port",
            where="--port",
            fix=f"Choose one from 1 to {_LARGEST_PORT}, or 0 for any free one.",
        )
    try:
        family, kind, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (OSError, UnicodeError) as exc:
        raise UsageError(
            f"{host!r:.80} is no address that this machine knows",
            where="--host",
            fix="Use 127.0.0.1 for this machine alone, or 0.0.0.0 for every address of it.",
        ) from exc
    listening = socket.socket(family, kind)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(1024)
    except OSError as refused:
        listening.close()
        raise _not_bound(refused, host, port) from refused
    return listening


def _not_bound(refused: OSError, host: str, port: int) -> UsageError:
    match refused.errno:
        case errno.EADDRINUSE:
            with listen(host, 0) as free:
                other = free.getsockname()[1]
            return UsageError(
                f"port {port} of {host} is in use",
                where="--port",
                fix=f"Stop what uses it, or take a free one: --port {other}",
            )
        case errno.EACCES | errno.EPERM:
            return UsageError(
                f"port {port} is kept for the system", where="--port", fix="Choose one above 1023."
            )
        case _:
            return UsageError(
                f"cannot listen on {host}: {refused.strerror}",
                where="--host",
                fix="Use 127.0.0.1 for this machine alone, or 0.0.0.0 for every address of it.",
            )


def _token(said: str | None, listening: socket.socket, host: str) -> str | None:
    if said == "auto":
        return secrets.token_urlsafe(24)
    if said is not None and (
        len(said) < _SHORTEST_TOKEN or not said.isascii() or not said.isprintable() or " " in said
    ):
        raise UsageError(
            f"the token is shorter than {_SHORTEST_TOKEN} characters, or holds one that a header cannot",
            where="--token",
            fix="Use --token auto, or letters and digits; look for a pasted space.",
        )
    if said is None and not ipaddress.ip_address(listening.getsockname()[0].partition("%")[0]).is_loopback:
        raise UsageError(
            f"{host} is open to other machines, and no token is asked of them",
            where="--host",
            fix="Add --token auto, set COLDSTART_TOKEN, or listen on 127.0.0.1.",
        )
    return said


def _say_where(prepared: Prepared, options: Options, console: Console, *, is_new_token: bool) -> None:
    spec = prepared.plan.spec
    base = f"http://{_spoken(options.host)}:{options.port}"
    if console.json:
        shown = {
            "url": base,
            "endpoints": [endpoint.method for endpoint in spec.endpoints],
            "pid": os.getpid(),
        }
        console.result_json(shown | ({"token": options.token} if is_new_token else {}))
        return
    if is_new_token:
        console.insist(f"token   {options.token}")
    for endpoint in spec.endpoints:
        console.say(f"serving POST {base}/{endpoint.method}")
    console.say(f"        GET  {base}/ready  /health  /metrics  /trace  /openapi.json")
    if spec.endpoints:
        console.next(
            _curl(spec.default_endpoint or spec.endpoints[0], base, with_token=options.token is not None)
        )


def _curl(endpoint: EndpointSpec, base: str, *, with_token: bool) -> str:
    header = ' -H "Authorization: Bearer $COLDSTART_TOKEN"' if with_token else ""
    media = [parameter for parameter in endpoint.parameters if parameter.medium]
    needed = [parameter for parameter in endpoint.parameters if parameter.required and not parameter.medium]
    values = {parameter.name: inputs.example(parameter.schema) for parameter in needed}
    out = f" -H 'Accept: {_ACCEPT[endpoint.medium.value]}' -o answer" if endpoint.medium else ""
    if media:
        fields = [f"-F {parameter.name}=@file" for parameter in media if parameter.required]
        fields += [
            f"-F {name}={value if isinstance(value, str) else json.dumps(value)}"
            for name, value in values.items()
        ]
        return f"curl{header} {' '.join(fields)}{out} {base}/{endpoint.method}"
    body = f" -H 'Content-Type: application/json' -d '{json.dumps(values)}'"
    return f"curl{header}{body}{out} {base}/{endpoint.method}"


_ACCEPT = {"Audio": "audio/*", "Image": "image/*", "Video": "video/*", "File": "*/*"}


def _spoken(host: str) -> str:
    """A host as a URL on this machine writes it."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared, not bound
    return f"[{host}]" if ":" in host else host
