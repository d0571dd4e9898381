"""Hold what a canary gives after a restore against what it gave before the snapshot.

Numbers may differ a little, as they do between two runs on one card; shapes, texts and media may not.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Mapping
from typing import Any, cast

from coldstart_sdk.errors import LifecycleError
from coldstart_sdk.events import Noted, now
from coldstart_sdk.media import Media
from coldstart_sdk.plan import Plan, Step, StepKind
from coldstart_sdk.steps import Site, Steps

CLOSE = 1e-3
"""How far apart, as a share of the larger, two numbers may lie."""


class CanarySteps(Steps):
    """Steps that remember what each canary gave while it was a warm-up."""

    def __init__(self, plan: Plan, site: Site) -> None:
        super().__init__(plan, site)
        self._canaries = {step.target for step in plan.steps if step.kind is StepKind.CANARY}
        self._recorded: dict[str, object] = {}

    def do(self, step: Step) -> object:
        given = super().do(step)
        if step.target not in self._canaries or step.kind not in {StepKind.WARMUP, StepKind.CANARY}:
            return given
        if hasattr(given, "__await__"):
            return self._awaited(cast("Awaitable[object]", given), step)
        return self._seen(given, step)

    async def _awaited(self, given: Awaitable[object], step: Step) -> object:
        return self._seen(await given, step)

    def _seen(self, given: object, step: Step) -> object:
        if step.kind is StepKind.WARMUP:
            self._recorded[step.target] = held(given)
            if given is None:
                message = f"{step.target} returns nothing, so as a canary it only shows that it runs"
                self.site.emit(Noted(at_s=now(), step=step.name, message=message))
        elif (why := difference(self._recorded.get(step.target), held(given))) is not None:
            raise LifecycleError(
                f"{step.name} gave something else after the restore: {why}",
                fix="What load made did not survive the snapshot: make it anew in hook.restored.",
            )
        return given


def held(value: Any) -> Any:  # noqa: ANN401 - whatever a hook returns
    """The value, where a restore cannot change it: arrays as bytes-independent lists of their own."""
    if isinstance(value, Mapping):
        return {key: held(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [held(item) for item in value]
    if hasattr(value, "shape") and hasattr(value, "tolist"):
        flat = value.detach().cpu() if hasattr(value, "detach") else value
        return {"shape": list(value.shape), "values": flat.reshape(-1).tolist()}
    if isinstance(value, Media):
        return value.bytes
    return value


def difference(recorded: object, given: object, at: str = "it") -> str | None:
    """Where two held values differ first; None when they are as good as the same."""
    match recorded, given:
        case bool(), _:
            return None if recorded is given else f"{at} was {recorded}, and is {_shown(given)}"
        case ((int() | float()), (int() | float())):
            return _apart(float(recorded), float(given), at)
        case Mapping(), Mapping():
            if recorded.keys() != given.keys():
                return f"{at} has other keys"
            pairs = [(recorded[key], given[key], f"{at}[{key!r}]") for key in recorded]
        case list(), list():
            if len(recorded) != len(given):
                return f"{at} had {len(recorded)} items, and has {len(given)}"
            pairs = [
                (one, other, f"{at}[{i}]") for i, (one, other) in enumerate(zip(recorded, given, strict=True))
            ]
        case _:
            return None if recorded == given else f"{at} was {_shown(recorded)}, and is {_shown(given)}"
    return next((why for one, other, where in pairs if (why := difference(one, other, where))), None)


def _apart(recorded: float, given: float, at: str) -> str | None:
    if recorded == given or math.isclose(recorded, given, rel_tol=CLOSE, abs_tol=CLOSE * CLOSE):
        return None
    return f"{at} was {recorded:g}, and is {given:g}"


def _shown(value: object) -> str:
    """Its kind, not its content: that may be a user's."""
    return f"{len(value)} bytes" if isinstance(value, bytes) else f"a {type(value).__name__}"
