"""`coldstart check`: every mistake of a declaration at once."""

from __future__ import annotations

import shlex

from coldstart_sdk.cli import inputs, prepare
from coldstart_sdk.cli.console import Console
from coldstart_sdk.cli.verb import file_argument, verb
from coldstart_sdk.spec import Spec


@verb(
    "check",
    ("coldstart check app.py", "the one declaration in the file"),
    ("coldstart check app.py:Voice", "one of several"),
    ("coldstart check app.py --json", "for a script; exit code 2 when something is wrong"),
)
@file_argument
def command(console: Console, file: str) -> None:
    """Read a declaration and show every mistake in it, each with where it stands and how to mend it.

    Imports FILE, as a start would, and runs nothing of it beyond that.
    """
    spec = prepare.read(file)
    if console.json:
        console.result_json(
            {"ok": True, "name": spec.name, "class": spec.qualname, "digest": spec.digest(), "spec": spec}
        )
        return
    console.result(console.table(_summary(spec)))
    console.next(inputs.first_call(spec, file), f"coldstart plan {shlex.quote(file)} --target runpod")


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
