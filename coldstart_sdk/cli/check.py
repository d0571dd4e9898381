"""`coldstart check`: every mistake of a declaration at once; with a budget, whether its start keeps to it."""

from __future__ import annotations

import shlex
from typing import Any

import click

from coldstart_sdk.cli import foreseen, inputs, prepare
from coldstart_sdk.cli.console import Console
from coldstart_sdk.cli.verb import (
    complete_file,
    home_option,
    set_option,
    settings_options,
    target_option,
    verb,
)
from coldstart_sdk.errors import UsageError
from coldstart_sdk.spec import Spec


@verb(
    "check",
    ("coldstart check app.py", "the one declaration in the file"),
    ("coldstart check app.py:Voice", "one of several"),
    ("coldstart check app.py --target modal", "also what does not survive a snapshot there"),
    ("coldstart check app.py --json", "for a script; exit code 2 when something is wrong"),
    (
        "coldstart check app.py -i text=hi --budget ready=15s,first=1.1x",
        "for CI: a cold start here; exit code 9 when it was more",
    ),
    (
        "coldstart check app.py --budget ready=15s --target runpod --receipt receipt.json",
        "the same of a rehearsal, signed off",
    ),
    ("coldstart check start.trace.json --budget ready=15s", "the same of a start that was traced"),
)
@click.argument("what", metavar="FILE[:CLASS]|TRACE", shell_complete=complete_file)
@click.argument("endpoint", required=False)
@click.option("--budget", metavar="LIMITS", help="What a cold start may cost: ready=15s,first=1.1x.")
@click.option("--receipt", metavar="FILE", help="Write down what it came to, signed off by digest.")
@click.option(
    "--input",
    "-i",
    "given",
    multiple=True,
    metavar="NAME=VALUE",
    help="One argument of the requests to ENDPOINT.",
)
@click.option(
    "--warm",
    type=click.IntRange(0),
    default=9,
    show_default=True,
    help="Later requests that the first is held against.",
)
@target_option()
@set_option
@settings_options
@home_option
def command(console: Console, *, what: str, budget: str | None, **said: Any) -> None:  # noqa: ANN401 - click's options, each its own type
    """Read a declaration and show every mistake in it, each with where it stands and how to mend it.

    Imports FILE, as a start would, and runs nothing of it beyond that. With --target, or a declared memory
    snapshot, it reads FILE for what does not survive one: CUDA touched too early, a device fixed at import,
    threads, connections, open files, random state, secrets. With --budget it starts FILE cold,
    from an empty home unless --home names one: here, or with --target under the platform's own worker on
    loopback. A TRACE is held to the budget as it is.
    """
    if budget is not None:
        from coldstart_sdk.cli import budgeted  # noqa: PLC0415 - only where there is one

        budgeted.hold(what, budget, console, **said)
        return
    _refuse_without_budget(what, said)
    spec = prepare.read(what)
    named = {name: said[name] for name in ("target", "store", "snapshot", "home")}
    asked = prepare.Asked(file=what, **named)
    warned = foreseen.of(asked, spec)
    if console.json:
        found = {"ok": True, "name": spec.name, "class": spec.qualname, "digest": spec.digest()}
        console.result_json({**found, "warnings": foreseen.as_data(warned), "spec": spec})
        return
    console.result(console.table(_summary(spec)))
    foreseen.show(warned, console)
    target = prepare.named_target(asked) or "runpod"
    console.next(inputs.first_call(spec, what), f"coldstart plan {shlex.quote(what)} --target {target}")


def _refuse_without_budget(what: str, said: dict[str, Any]) -> None:
    """What only a start has a use for."""
    if str(said["endpoint"]).endswith(".py"):
        raise UsageError(
            "`check` takes one file", fix=f"Check each by itself: coldstart check {said['endpoint']}"
        )
    flags = {
        "endpoint": "ENDPOINT",
        "receipt": "--receipt",
        "given": "-i",
        "pairs": "--set",
    }
    alone = [flag for name, flag in flags.items() if said[name]]
    if alone or what.endswith(".json"):
        raise UsageError(
            f"{', '.join(alone) or what} is for a start that is held to a budget, and there is none",
            fix="Say what it may cost: --budget ready=15s,first=1.1x.",
        )


def _summary(spec: Spec) -> list[tuple[str, str]]:
    hooks = [
        f"{hook.kind.value} {hook.method}" + ("" if hook.required else " (optional)") for hook in spec.hooks
    ]
    endpoints = [
        f"{endpoint.method}({', '.join(parameter.name for parameter in endpoint.parameters)})"
        + (" stream" if endpoint.streams else "")
        for endpoint in spec.endpoints
    ]
    weights = [f"{name} ({weight.origin.value} {weight.source})" for name, weight in spec.weights.items()]
    rows = {
        "declared": f"{spec.qualname}, named {spec.name}",
        "gpu": ", ".join(spec.gpu) or "none",
        "weights": ", ".join(weights) or "none",
        "hooks": ", ".join(hooks) or "none",
        "endpoints": ", ".join(endpoints),
        "snapshot": spec.snapshot.value,
        "store": spec.store or "none",
        "secrets": ", ".join(spec.secrets) or "none",
    }
    return [(label, said) for label, said in rows.items() if said != "none"]
