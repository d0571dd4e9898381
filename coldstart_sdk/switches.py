"""Switch steps off, or put them after READY, by name: `COLDSTART_SKIP=warmup`, `COLDSTART_DEFER=warmup:long`.

A kind names all of its steps. The declaration stays as it is; only this start differs, and says so.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import replace

from coldstart_sdk.errors import UsageError
from coldstart_sdk.frozen import dataclass
from coldstart_sdk.plan import Plan, Stage, Step, Work

NEEDED = {Work.DECLARATION, Work.VALIDATION, Work.INSTANCE}


@dataclass(frozen=True, kw_only=True)
class Switches:
    """Names of steps, or of kinds of steps."""

    skip: tuple[str, ...] = ()
    defer: tuple[str, ...] = ()
    skip_by: str = "COLDSTART_SKIP"
    """Where a person said it: what a message names."""
    defer_by: str = "COLDSTART_DEFER"

    @classmethod
    def of(cls, env: Mapping[str, str]) -> Switches:
        return cls(
            skip=_names(env.get("COLDSTART_SKIP", "")),
            defer=_names(env.get("COLDSTART_DEFER", "")),
            skip_by=env.get("COLDSTART_SKIP_BY") or "COLDSTART_SKIP",
            defer_by=env.get("COLDSTART_DEFER_BY") or "COLDSTART_DEFER",
        )


NO_SWITCHES = Switches()


def switch(plan: Plan, switches: Switches) -> tuple[Plan, tuple[Step, ...]]:
    """The plan of this start, and the steps that it leaves out."""
    skipped = _named(plan, switches.skip, switches.skip_by)
    deferred = _named(plan, switches.defer, switches.defer_by) - skipped
    gone = {step.name: step.after for step in plan.steps if step.name in skipped | deferred}
    steps = tuple(
        replace(step, stage=Stage.BACKGROUND, required=False)
        if step.name in deferred
        else replace(step, after=_before(step.after, gone))
        for step in plan.steps
        if step.name not in skipped
    )
    return replace(plan, steps=steps), tuple(step for step in plan.steps if step.name in skipped)


def _before(after: tuple[str, ...], gone: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    """What a step waits for; in the place of a step that is gone, what that one would have waited for."""
    names = [
        earlier for name in after for earlier in (_before(gone[name], gone) if name in gone else (name,))
    ]
    return tuple(dict.fromkeys(names))


def _named(plan: Plan, names: Iterable[str], setting: str) -> set[str]:
    found: set[str] = set()
    for name in names:
        steps = [step for step in plan.steps if name in {step.name, step.kind.value}]
        if not steps:
            raise UsageError(
                f"{setting} names {name!r}, and no step is called that", fix=_nearest(plan, name)
            )
        if needed := [step.name for step in steps if step.work in NEEDED and name == step.name]:
            raise UsageError(
                f"{setting} names {needed[0]!r}, which every start needs", fix=f"Leave it out of {setting}."
            )
        found.update(step.name for step in steps if step.work not in NEEDED)
    return found


def _nearest(plan: Plan, name: str) -> str:
    known = [*dict.fromkeys(step.kind.value for step in plan.steps), *(step.name for step in plan.steps)]
    near = difflib.get_close_matches(name, known, n=1)
    have = f"The steps are: {', '.join(step.name for step in plan.steps)}."
    return f"Did you mean {near[0]!r}? {have}" if near else have


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())
