"""One worker's life in a rehearsal: it starts with a request in the queue, answers, and is told to end."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from coldstart_sdk.backends.runpod import limits, sample
from coldstart_sdk.backends.runpod.body import is_http
from coldstart_sdk.errors import PlatformError
from coldstart_sdk.events import now
from coldstart_sdk.logs import show_end
from coldstart_sdk.plan import Plan
from coldstart_sdk.redact import redact
from coldstart_sdk.rehearsal import start
from coldstart_sdk.rehearsal.runpod.behind import Behind
from coldstart_sdk.rehearsal.runpod.bill import billed
from coldstart_sdk.rehearsal.runpod.jobs import Job, Jobs
from coldstart_sdk.rehearsal.runpod.process import Process
from coldstart_sdk.rehearsal.runpod.room import Room
from coldstart_sdk.rehearsal.runpod.wish import Wish
from coldstart_sdk.trace.model import Trace

_PASSED_ON = ("HF_ENDPOINT", "HF_TOKEN", "AWS_ENDPOINT_URL")


@dataclass(kw_only=True)
class _Asked:
    """What callers got."""

    results: list[Any] = field(default_factory=list)
    first_answer_s: float | None = None
    error: Any = None


class Life:
    """One worker, from its start to its end."""

    def __init__(self, plan: Plan, bundle: Path, room: Room, wish: Wish, origin: Mapping[str, str]) -> None:
        self._plan = plan
        self._bundle = bundle
        self._room = room
        self._wish = wish
        self._origin = origin
        self.trace: Trace | None = None
        """Of a start that has answered."""

    def live(self, fault: str | None = None) -> Mapping[str, Any]:
        return self._balanced(fault) if is_http(self._plan) else self._queued(fault)

    def _balanced(self, fault: str | None) -> Mapping[str, Any]:
        """Behind the load balancer it is sent requests once it is ready."""
        behind = Behind(self._plan.spec)
        asked = _Asked()
        with self._room.worker(self._environment(behind.environment())) as worker:
            try:
                if fault == "terminated":
                    worker.wait_for(lambda: worker.lines, self._wish.limit_s)
                elif behind.until_ready(worker, self._wish.limit_s):
                    self._ask(behind, asked)
            except PlatformError as refused:
                asked.error = json.dumps({"message": refused.message, "fix": refused.fix})
            ended = self._ended(worker)
        return {"answers": len(asked.results)} | self._told(worker, asked, ended)

    def _ask(self, behind: Behind, asked: _Asked) -> None:
        asked.results.append(behind.answer(self._input()))
        asked.first_answer_s = _between(behind.asked_s, now())
        asked.results += [behind.answer(self._input()) for _ in range(1, self._wish.requests)]
        if told := behind.trace():
            self.trace = start.requested(Trace.from_json(told), behind.asked_s)

    def _queued(self, fault: str | None) -> Mapping[str, Any]:
        refusals = [500] if fault == "refused" else []
        with Jobs(done_faults=refusals) as jobs:
            job = jobs.submit(self._input())
            with self._room.worker(self._environment(jobs.environment())) as worker:
                given = [job]
                if self._answered(jobs, job, worker, fault) and worker.code is None:
                    given += self._later(jobs)
                    self.trace = _trace(jobs, job)
                ended = self._ended(worker)
            asked = _Asked(
                results=[self._result(each) for each in given if each.status == "COMPLETED"],
                first_answer_s=_between(job.submitted_s, job.done_s),
                error=job.error,
            )
            queue = {"job": job.status, "chunks": len(job.chunks), "progress": len(job.progress)}
            queue["heartbeats"] = len(jobs.seen_on("ping"))
            return queue | self._told(worker, asked, ended)

    def _ended(self, worker: Process) -> str:
        worker.terminate()
        in_time = worker.wait(self._wish.grace_s) is not None
        return "in order" if in_time else f"killed after {self._wish.grace_s:g} s"

    def _later(self, jobs: Jobs) -> list[Job]:
        """The same request, on a worker that is warm."""
        again = range(1, self._wish.requests)
        return [jobs.result(jobs.submit(self._input()), self._wish.limit_s) for _ in again]

    def _answered(self, jobs: Jobs, job: Job, worker: Process, fault: str | None) -> bool:
        """Wait for the answer, or for the end of the worker without one."""
        if fault in {"terminated", "cancelled"}:
            jobs.wait(lambda: job.taken_s is not None or worker.code is not None, self._wish.limit_s)
            worker.terminate() if fault == "terminated" else jobs.cancel(job)
        over = {"COMPLETED", "FAILED", "CANCELLED"}
        ends = math.ceil(self._wish.limit_s / 0.2)
        for _ in range(ends):  # the job ends in the server's thread, the worker in its own time
            if jobs.wait(lambda: job.status in over, 0.2) or worker.code is not None:
                break
        return job.status == "COMPLETED"

    def _result(self, job: Job) -> Any:  # noqa: ANN401 - plain JSON
        """A worker that streams anything hands on every answer as chunks."""
        spec = self._plan.spec
        name = job.input.get("endpoint") if isinstance(job.input, dict) else None
        endpoint = spec.endpoint(str(name)) if name else spec.default_endpoint
        is_one = len(job.chunks) == 1 and endpoint is not None and not endpoint.streams
        return job.chunks[0] if is_one else job.chunks or job.output

    def _input(self) -> Any:  # noqa: ANN401 - plain JSON
        given = self._wish.input
        if given is None:
            given = sample.in_bundle(self._bundle)["input"]
        whole = {**given, "endpoint": self._wish.endpoint} if self._wish.endpoint else given
        limits.refuse_large(whole, http=is_http(self._plan))
        return whole

    def _environment(self, platform: Mapping[str, str]) -> dict[str, str]:
        passed = {
            name: os.environ[name] for name in (*_PASSED_ON, *self._plan.spec.secrets) if name in os.environ
        }
        skipped = {"COLDSTART_SKIP": self._wish.skip} if self._wish.skip else {}
        return passed | dict(self._origin) | dict(platform) | skipped

    def _told(self, worker: Process, asked: _Asked, ended: str) -> dict[str, Any]:
        report = worker.reports[-1] if worker.reports else {}
        state = report.get("state", "said nothing")
        told: dict[str, Any] = {"worker": state}
        if state in {"ready", "degraded"}:
            told["ready_s"] = report.get("after_s")
        if asked.results:
            told["first_answer_s"] = asked.first_answer_s
        if self._input() == sample.READY:
            told["asked"] = (
                "only whether it is ready: every endpoint needs a file, and -i NAME=@FILE gives one"
            )
        told["ended"] = ended
        if asked.results:
            told["result"] = asked.results[0]
        if len(asked.results) > 1:
            told["results"] = asked.results
        if asked.error is not None:
            _show_end(worker.lines)
            told |= _explained(asked.error)
        if unset := [name for name in self._plan.spec.secrets if name not in os.environ]:
            told["secrets"] = f"not set here: {', '.join(unset)}"
        if not worker.reports:
            told["log"] = "\n".join(worker.lines[-20:])
        starting_s = float(report.get("after_s") or 0.0)
        # The first caller has waited since the worker was started: what is not its start is the answer's.
        answering_s = max(0.0, (asked.first_answer_s or 0.0) - starting_s)
        return told | billed(self._plan, starting_s=starting_s, answering_s=answering_s)


def _show_end(lines: Sequence[str]) -> None:
    """What the worker said last, beside its failure; its reports, which are for programs, left out."""
    show_end(redact(line) for line in lines if not line.startswith('{"'))


def _explained(error: object) -> dict[str, str]:
    """The reason, and the mend where our worker says one."""
    with suppress(ValueError, TypeError, KeyError):
        ours = json.loads(str(error))
        return {"error": str(ours["message"]), **({"fix": str(ours["fix"])} if "fix" in ours else {})}
    return {"error": str(error)}


def _trace(jobs: Jobs, first: Job) -> Trace | None:
    asked = jobs.result(jobs.submit({"endpoint": "trace"}), 30.0)
    output = asked.output or asked.chunks
    if isinstance(output, list):  # of a worker that streams
        output = output[0] if output else None
    return start.requested(Trace.from_json(json.dumps(output)), first.submitted_s) if output else None


def _between(start_s: float | None, end_s: float | None) -> float | None:
    return None if start_s is None or end_s is None else round(end_s - start_s, 3)
