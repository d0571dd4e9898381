"""RunPod Serverless as a target."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from coldstart_sdk.backends.runpod.platform import Platform
    from coldstart_sdk.bundle import Bundle
    from coldstart_sdk.plan import Capabilities, Note, Plan

_REHEARSAL = "coldstart_sdk.rehearsal.runpod"
"""By name: a rehearsal stands above the backends, and runs what they make."""


class RunPod:
    """Compiles to an image for RunPod's own worker, and looks after the endpoint that runs it."""

    name = "runpod"

    @property
    def capabilities(self) -> Capabilities:
        from coldstart_sdk.backends.runpod.capabilities import CAPABILITIES  # noqa: PLC0415 - a worker needs no facts

        return CAPABILITIES

    def compile(self, plan: Plan, project: Path) -> Bundle:
        from coldstart_sdk.backends.runpod.compile import compile_bundle  # noqa: PLC0415 - only `build` needs it

        return compile_bundle(plan, project)

    def notes(self, plan: Plan, project: Path) -> tuple[Note, ...]:
        from coldstart_sdk.backends.runpod import base  # noqa: PLC0415 - only `plan` needs it

        return base.notes(plan, project)

    def pin(self, plan: Plan, project: Path) -> Path:
        from coldstart_sdk.backends.runpod import base, digests  # noqa: PLC0415 - only `build --pin` needs it

        return digests.pin(base.choose(plan).image, project)

    @property
    def rehearsal_options(self) -> Mapping[str, tuple[str, ...]]:
        import importlib  # noqa: PLC0415 - as below

        known: Mapping[str, tuple[str, ...]] = importlib.import_module(f"{_REHEARSAL}.wish").OPTIONS
        return known

    def rehearse(self, plan: Plan, bundle: Path, options: Mapping[str, Any]) -> Mapping[str, Any]:
        import importlib  # noqa: PLC0415 - only `rehearse` needs it

        room = importlib.import_module(f"{_REHEARSAL}.rehearse")
        told: Mapping[str, Any] = room.rehearse(plan, bundle, options)
        return told

    def changes(self, plan: Plan, bundle: Path) -> tuple[str, ...]:
        return _account().changes(plan, bundle)

    def deploy(self, plan: Plan, bundle: Path) -> Mapping[str, Any]:
        return _account().deploy(plan, bundle)

    def status(self, app: str) -> Mapping[str, Any]:
        return _account().status(app)

    def logs(self, app: str, *, follow: bool) -> Iterator[str]:
        return _account().logs(app, follow=follow)

    def invoke(self, app: str, endpoint: str | None, arguments: Mapping[str, Any]) -> Iterator[Any]:
        return _account().invoke(app, endpoint, arguments)

    def submit(self, app: str, endpoint: str | None, arguments: Mapping[str, Any]) -> str:
        return _account().submit(app, endpoint, arguments)

    def collect(self, app: str, job: str) -> Iterator[Any]:
        return _account().collect(app, job)

    def history(self, app: str) -> tuple[Mapping[str, Any], ...]:
        return _account().history(app)

    def rollback(self, app: str, release: str) -> Mapping[str, Any]:
        return _account().rollback(app, release)

    def scale(self, app: str, *, least: int, most: int) -> Mapping[str, Any]:
        return _account().scale(app, least=least, most=most)

    def delete(self, app: str) -> None:
        _account().delete(app)


def _account() -> Platform:
    from coldstart_sdk.backends.runpod.client import Client  # noqa: PLC0415 - only what talks to the platform
    from coldstart_sdk.backends.runpod.platform import Platform  # noqa: PLC0415 - as above

    return Platform(Client.of_environment())


backend = RunPod()
