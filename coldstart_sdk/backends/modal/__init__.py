"""Modal as a target."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

if TYPE_CHECKING:
    from coldstart_sdk.bundle import Bundle
    from coldstart_sdk.errors import Problem
    from coldstart_sdk.plan import Capabilities, Note, Plan
    from coldstart_sdk.plugins import Platform, Preview

    class _Module(Platform, Preview, Protocol):
        """What `platform` offers."""


class Modal:
    """Compiles to a module that `modal deploy` takes, deploys it, and rehearses it on loopback."""

    name = "modal"

    @property
    def capabilities(self) -> Capabilities:
        from coldstart_sdk.backends.modal.capabilities import CAPABILITIES  # noqa: PLC0415 - a worker needs no facts

        return CAPABILITIES

    def compile(self, plan: Plan, project: Path) -> Bundle:
        from coldstart_sdk.backends.modal.compile import compile_bundle  # noqa: PLC0415 - only `build` needs it

        return compile_bundle(plan, project)

    def notes(self, plan: Plan, project: Path) -> tuple[Note, ...]:
        from coldstart_sdk.backends.modal import refuse  # noqa: PLC0415 - only `plan` needs it

        del project
        return refuse.notes(plan)

    def lint(self, plan: Plan, project: Path) -> tuple[Problem, ...]:
        """What of the declaration will not survive the plan's snapshot."""
        from coldstart_sdk.backends.modal import lint  # noqa: PLC0415 - only whoever asks pays for it

        return lint.lint(plan, project)

    @property
    def rehearsal_options(self) -> Mapping[str, tuple[str, ...]]:
        known: Mapping[str, tuple[str, ...]] = _rehearsal().OPTIONS
        return known

    def rehearse(self, plan: Plan, bundle: Path, options: Mapping[str, Any]) -> Mapping[str, Any]:
        told: Mapping[str, Any] = _rehearsal().rehearse(plan, bundle, options)
        return told

    def changes(self, plan: Plan, bundle: Path) -> tuple[str, ...]:
        return _platform().changes(plan, bundle)

    def deploy(self, plan: Plan, bundle: Path) -> Mapping[str, Any]:
        return _platform().deploy(plan, bundle)

    def status(self, app: str) -> Mapping[str, Any]:
        return _platform().status(app)

    def logs(self, app: str, *, follow: bool) -> Iterator[str]:
        return _platform().logs(app, follow=follow)

    def invoke(self, app: str, endpoint: str | None, arguments: Mapping[str, Any]) -> Iterator[Any]:
        return _platform().invoke(app, endpoint, arguments)

    def history(self, app: str) -> tuple[Mapping[str, Any], ...]:
        return _platform().history(app)

    def rollback(self, app: str, release: str) -> Mapping[str, Any]:
        return _platform().rollback(app, release)

    def scale(self, app: str, *, least: int, most: int) -> Mapping[str, Any]:
        return _platform().scale(app, least=least, most=most)

    def delete(self, app: str) -> None:
        _platform().delete(app)


def _platform() -> _Module:
    import importlib  # noqa: PLC0415 - a plan and a bundle need no platform

    return cast("_Module", importlib.import_module("coldstart_sdk.backends.modal.platform"))


def _rehearsal() -> Any:  # noqa: ANN401 - by name: a rehearsal stands above the backends, and runs what they make
    import importlib  # noqa: PLC0415 - only `rehearse` needs it

    return importlib.import_module("coldstart_sdk.rehearsal.modal.rehearse")


backend = Modal()
