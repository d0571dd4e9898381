"""`coldstart plan`: what one platform will do with a declaration, and what it cannot give."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from coldstart_sdk import plugins
from coldstart_sdk.cli import inputs
from coldstart_sdk.cli.console import Console
from coldstart_sdk.cli.prepare import Asked, prepare
from coldstart_sdk.cli.verb import file_argument, home_option, settings_options, target_option, verb
from coldstart_sdk.plan import Plan, Stage, Step


@verb(
    "plan",
    ("coldstart plan app.py --target local", "what runs when on this machine"),
    ("coldstart plan app.py --target modal --snapshot cpu", "another decision"),
    ("coldstart plan app.py --target runpod --json", "the plan as a worker reads it"),
)
@file_argument
@target_option()
@settings_options
@home_option
def command(console: Console, file: str, **said: str | None) -> None:
    """Show what runs in which stage on one platform, in what order, and what was decided for you."""
    plan = prepare(Asked(file=file, **said)).plan
    if console.json:
        console.result(plan.to_json())
        return
    console.result("\n".join(part.rstrip("\n") for part in _parts(plan, console)) + "\n")
    if plan.backend == "local":
        console.next(inputs.first_call(plan.spec, file))
    elif "build" in plugins.verbs(plugins.backend(plan.backend)):
        console.next(f"coldstart build {shlex.quote(file)} --target {plan.backend}")


def _parts(plan: Plan, console: Console) -> Iterator[str]:
    yield console.table(_head(plan))
    for stage in Stage:
        if steps := plan.steps_in(stage):
            yield f"\n{_TITLES[stage]}"
            rows = [_row(step) for step in steps]
            yield console.table(rows, heads=("STEP", "LANE", "AFTER", "LIMIT", ""), indent=2)
    if plan.notes:
        yield "\nNotes"
        yield console.table([(note.about, note.text) for note in plan.notes], indent=2)


_TITLES = {
    Stage.BUILD: "While the image is built",
    Stage.BEFORE_SNAPSHOT: "Before the snapshot",
    Stage.AFTER_SNAPSHOT: "On each cold start",
    Stage.BACKGROUND: "After READY, behind requests",
    Stage.CLOSE: "On the way down",
}


def _head(plan: Plan) -> Iterator[tuple[str, str]]:
    yield "model", f"{plan.spec.qualname}, named {plan.spec.name}"
    yield "target", plan.backend
    yield "snapshot", plan.snapshot.value
    if plan.gpu:
        yield "gpu", ", ".join(plan.gpu)
    if plan.spec.weights:
        yield "weights", f"put in the {plan.place.value}; looked for in {', '.join(plan.tiers)}"
    if plan.store:
        yield "store", plan.store


def _row(step: Step) -> tuple[str, ...]:
    said = [f"on {step.device}"] if step.device else []
    said += [] if step.required else ["optional"]
    limit = f"{step.timeout_s:g} s" if step.timeout_s else "-"
    return step.name, step.lane.value, ", ".join(step.after) or "-", limit, ", ".join(said)
