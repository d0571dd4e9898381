"""One cold start and some requests, followed to its end: what `explain`, `bench` and a budget look at."""

from __future__ import annotations

import secrets
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from coldstart_sdk.backends.local import messages
from coldstart_sdk.cli import inputs
from coldstart_sdk.cli.prepare import Prepared
from coldstart_sdk.cli.start import Start, failure, interruptible, start
from coldstart_sdk.errors import LifecycleError
from coldstart_sdk.events import Emit, State, StateChanged, ignore
from coldstart_sdk.spec import EndpointSpec, Spec
from coldstart_sdk.trace.model import Trace


def scratch_folder() -> tempfile.TemporaryDirectory[str]:
    """Where machines are that go again with it; a worker's own upload may still be clearing up there."""
    return tempfile.TemporaryDirectory(prefix="coldstart-machine-", ignore_cleanup_errors=True)


@dataclass(frozen=True, kw_only=True)
class Call:
    """What is asked of which endpoint."""

    endpoint: EndpointSpec
    arguments: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Requests(Call):
    """The same request, so many times, one after another."""

    count: int
    also: tuple[Call, ...] = ()
    """Others, in turns with it, each as often."""

    @property
    def calls(self) -> Sequence[Call]:
        """All of them, in order."""
        return (self, *self.also) * self.count


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A start that has ended, and its answers in order."""

    trace: Trace
    answers: tuple[object, ...]


def requests_to(spec: Spec, name: str | None, given: tuple[str, ...], count: int) -> Requests | None:
    """None: the endpoint needs arguments and got none; then the start alone can be looked at."""
    endpoint = inputs.endpoint_of(spec, name) if name or given else spec.default_endpoint
    needs = endpoint is None or any(parameter.required for parameter in endpoint.parameters)
    if endpoint is None or (needs and not given and not name):
        return None
    return Requests(endpoint=endpoint, arguments=inputs.arguments(endpoint, given), count=count)


def measure(
    prepared: Prepared, requests: Requests | None, *, env: Mapping[str, str], told: Emit = ignore
) -> Measured:
    """Start a worker cold, send it the requests once it is ready, and let it end."""
    started = start(prepared, env=env)
    replies: list[messages.Answered | messages.Refused] = []
    left = iter(requests.calls if requests else ())

    def go_on() -> None:
        call = next(left, None)
        if call is None:
            started.worker.release()
            return
        started.ask(
            messages.Ask(id=secrets.token_hex(6), endpoint=call.endpoint.method, arguments=call.arguments)
        )

    def heard(report: messages.Report) -> None:
        match report:
            case messages.Chunk() | messages.Waiting():
                pass
            case messages.Answered() | messages.Refused():
                replies.append(report)
                go_on()
            case StateChanged(state=State.READY, degraded=()):
                told(report)
                go_on()
            case _:
                told(report)

    with interruptible(started) as interrupted:
        started.follow(heard)
    if interrupted.signal is not None:
        raise KeyboardInterrupt
    _refuse(started, replies)
    answers = tuple(reply.value for reply in replies if isinstance(reply, messages.Answered))
    return Measured(trace=started.trace, answers=answers)


def _refuse(started: Start, replies: list[messages.Answered | messages.Refused]) -> None:
    """A start that failed measures nothing."""
    if error := failure(started):
        raise error
    for reply in replies:
        if isinstance(reply, messages.Refused):
            said = reply.error.get("error", {})
            raise LifecycleError(
                f"a request was refused: {said.get('message', 'nobody said why')}",
                where=started.prepared.plan.spec.name,
                fix="Try it once with `coldstart run`, with the same arguments.",
            )
