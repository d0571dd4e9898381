"""The machine at hand, or any like it, as a target."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from coldstart_sdk.bundle import Bundle
    from coldstart_sdk.plan import Capabilities, Plan


class Local:
    """Compiles to a folder that any machine with Python serves; there is no platform to deploy it to."""

    name = "local"

    @property
    def capabilities(self) -> Capabilities:
        from coldstart_sdk.backends.local.capabilities import CAPABILITIES  # noqa: PLC0415 - a worker needs no facts

        return CAPABILITIES

    def compile(self, plan: Plan, project: Path) -> Bundle:
        from coldstart_sdk.backends.local.compile import compile_bundle  # noqa: PLC0415 - only `build` needs it

        return compile_bundle(plan, project)


backend = Local()
