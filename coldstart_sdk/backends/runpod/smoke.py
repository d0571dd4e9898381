"""The first request to what was deployed: the test input, and how the worker that answered had started."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from coldstart_sdk.backends.runpod import sample
from coldstart_sdk.backends.runpod.balanced import Balanced
from coldstart_sdk.backends.runpod.client import Client
from coldstart_sdk.errors import PlatformError
from coldstart_sdk.redact import redact

OVER = {"COMPLETED", "FAILED", "CANCELLED", "TIMED_OUT"}
LIMIT_S = 1200.0
"""How long the first answer may take: an image has to be pulled, and a model to be loaded."""
_MEND = (
    "Look at what its workers said: coldstart logs. If the request is to blame, put a better one beside the "
    "declaration: test_input.json."
)
_TRACE_S = 60.0
_LOOK_POLLS = 5
"""How often the workers are looked at while we wait, in polls."""


@dataclass(frozen=True, kw_only=True)
class Smoke:
    """What it takes to ask."""

    client: Client
    workers: Callable[[str], str]
    """How an endpoint's workers are, in a line."""
    poll_s: float
    limit_s: float = LIMIT_S

    def ask(self, made: Mapping[str, Any], bundle: Path) -> dict[str, Any]:
        """When the answer came; a `PlatformError` where none did."""
        urls = made.get("requestUrls") or {}
        given = sample.in_bundle(bundle)["input"]
        if given == sample.READY:
            sys.stderr.write(
                "every endpoint needs a file: the worker is asked only whether it is ready; a request may "
                "stand in test_input.json beside the declaration\n"
            )
        if "run" in urls:
            return self._by_queue(made, given)
        return self._by_http(made, given) if "base" in urls else {}

    def _by_queue(self, made: Mapping[str, Any], given: Any) -> dict[str, Any]:  # noqa: ANN401 - plain JSON
        """A first answer outlives what a direct call may take."""
        began_s = time.monotonic()
        waiting = _Waiting(self, str(made["id"]))
        told = self._until_over(made, given, self.limit_s, waiting)
        if told["status"] != "COMPLETED":
            raise PlatformError(
                redact(f"the first request ended as {told['status']}: {reason(told)}"),
                fix=fix(told) or _MEND,
                where=str(made["id"]),
            )
        first = {"first_answer_s": _since(began_s), "delay_ms": told.get("delayTime")}
        output = self._until_over(made, {"endpoint": "trace"}, _TRACE_S, waiting).get("output")
        return first | _started(output[0] if isinstance(output, list) and output else output)

    def _by_http(self, made: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
        began_s = time.monotonic()
        endpoint = Balanced(self.client, made["requestUrls"]["base"])
        waiting = _Waiting(self, str(made["id"]))
        while not endpoint.is_ready():
            if time.monotonic() > began_s + self.limit_s:
                raise self._too_late(made, "no worker is ready")
            waiting.once()
        arguments = {name: value for name, value in given.items() if name != "endpoint"}
        if given != sample.READY:  # that it is has been said
            for _ in endpoint.call(given.get("endpoint"), arguments):
                pass
        return {"first_answer_s": _since(began_s)} | _started(endpoint.trace())

    def _until_over(
        self,
        made: Mapping[str, Any],
        arguments: Any,  # noqa: ANN401 - plain JSON
        limit_s: float,
        waiting: _Waiting,
    ) -> Mapping[str, Any]:
        urls = made["requestUrls"]
        job = self.client.post(urls["run"], {"input": arguments})
        ends = time.monotonic() + limit_s
        while True:
            told: Mapping[str, Any] = self.client.get(of_job(urls["status"], job["id"]))
            if told["status"] in OVER:
                return told
            if time.monotonic() > ends:
                self.client.post(of_job(urls["cancel"], job["id"]), {})
                raise self._too_late(made, "no answer")
            waiting.once()

    def _too_late(self, made: Mapping[str, Any], what: str) -> PlatformError:
        return PlatformError(
            f"{what} within {self.limit_s:g} s; workers: {self.workers(made['id'])}",
            fix="Look at what its workers said: coldstart logs.",
            where=str(made["id"]),
        )


class _Waiting:
    """Some polls, and a line whenever the workers have changed meanwhile."""

    def __init__(self, smoke: Smoke, endpoint: str) -> None:
        self._smoke = smoke
        self._endpoint = endpoint
        self._began_s = time.monotonic()
        self._polls = 0
        self._seen = ""

    def once(self) -> None:
        if self._polls % _LOOK_POLLS == 0:
            workers = self._smoke.workers(self._endpoint)
            if workers != self._seen:
                waited_s = time.monotonic() - self._began_s
                sys.stderr.write(f"waiting for the first answer; workers: {workers}  {waited_s:.0f} s\n")
            self._seen = workers
        self._polls += 1
        time.sleep(self._smoke.poll_s)


def of_job(url: str, job: str) -> str:
    """RunPod's addresses hold a place for the job's id."""
    return url.replace("{job_id}", quote(job))


def reason(told: Mapping[str, Any]) -> str:
    """What a failed job says, from our worker's own words or from RunPod's."""
    said = told.get("error")
    try:
        ours = json.loads(said) if isinstance(said, str) else said
        return str(ours["message"]) if isinstance(ours, Mapping) and "message" in ours else str(said)
    except ValueError:
        return str(said)


def fix(told: Mapping[str, Any]) -> str | None:
    """Our worker's own."""
    try:
        ours = json.loads(told.get("error") or "")
    except (ValueError, TypeError):
        return None
    return str(ours["fix"]) if isinstance(ours, Mapping) and "fix" in ours else None


def _started(trace: Any) -> dict[str, Any]:  # noqa: ANN401 - plain JSON
    """The first start, shown; from the worker itself."""
    if not isinstance(trace, Mapping) or "spans" not in trace:
        return {}
    from coldstart_sdk.trace.model import Trace  # noqa: PLC0415 - only after a first start
    from coldstart_sdk.trace.waterfall import render  # noqa: PLC0415 - as above

    sys.stderr.write(render(Trace.from_json(json.dumps(trace)), width=100) + "\n")
    return {"ready_s": round(trace["anchors"]["ready_s"], 3)}


def _since(began_s: float) -> float:
    return round(time.monotonic() - began_s, 3)
