"""`coldstart rehearse --target runpod`: the bundle's handler under RunPod's own worker, here.

One request waits when the worker is started, as it does on a cold platform; later ones follow its answer;
then the worker is told to end. The trace of its start is left beside the bundle. The link to the hub is of a
chosen speed where the weights lie in a folder of `org/name/files`.
"""

from __future__ import annotations

import importlib.util
import json
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from coldstart_sdk.errors import PlatformError
from coldstart_sdk.events import ignore
from coldstart_sdk.plan import Plan
from coldstart_sdk.rehearsal import start
from coldstart_sdk.rehearsal.hub import Hub
from coldstart_sdk.rehearsal.runpod.bill import billed
from coldstart_sdk.rehearsal.runpod.jobs import Job, Jobs
from coldstart_sdk.rehearsal.runpod.process import Process
from coldstart_sdk.rehearsal.runpod.room import Folder, Room, Root
from coldstart_sdk.rehearsal.runpod.wish import Wish, read
from coldstart_sdk.spec import Origin, Place
from coldstart_sdk.trace.model import Trace
from coldstart_sdk.trace.waterfall import render

_PASSED_ON = ("HF_ENDPOINT", "HF_TOKEN", "AWS_ENDPOINT_URL")


def rehearse(plan: Plan, bundle: Path, options: Mapping[str, Any]) -> Mapping[str, Any]:
    """Run it once; what came of it, and what it would have cost."""
    wish = read(options, plan)
    if wish.image is None and wish.python == sys.executable and importlib.util.find_spec("runpod") is None:
        raise PlatformError(
            "RunPod's worker is not installed here",
            fix='pip install "coldstart-sdk[runpod]", or name a Python that has it: --set python=…',
        )
    with tempfile.TemporaryDirectory(prefix="coldstart-rehearsal-") as scratch, ExitStack() as stack:
        folder = Path(scratch)
        room = Root(plan, bundle, folder, wish.image) if wish.image else Folder(plan, bundle, folder, wish)
        origin = stack.enter_context(_hub(wish))
        _prepare(room, plan, bundle, wish, origin)
        run = _Run(plan, bundle, room, wish, origin)
        told = run.live(wish.fault)
        if run.trace is None:
            return told
        sys.stderr.write(render(run.trace, width=100) + "\n")
        return {**told, "trace": str(start.keep(run.trace, bundle))}


def _prepare(room: Room, plan: Plan, bundle: Path, wish: Wish, origin: Mapping[str, str]) -> None:
    """What the state says that an earlier worker, or the image, has left."""
    if wish.state == "baked" and wish.image is None:
        _bake(bundle, room.home, wish, origin)
    elif wish.state in {"warm", "volume", "store"}:
        earlier = _Run(plan, bundle, room, wish, origin)
        told = earlier.live()
        if earlier.trace is None:
            raise PlatformError(
                f"the earlier worker, which state={wish.state} needs, did not answer: {_reason(told)}",
                fix="Rehearse it with --state empty first.",
            )
    if wish.state == "store":
        _fill(plan, bundle, room.home)
    if wish.state in {"volume", "store"}:
        room.empty()


def _bake(bundle: Path, home: Path, wish: Wish, origin: Mapping[str, str]) -> None:
    """As a build of the image does it, into the home of the worker."""
    command = [wish.python, str(bundle / "fetch_weights.py"), str(home)]
    ended = subprocess.run(
        command, env={**os.environ, **origin}, stdout=sys.stderr.fileno(), timeout=wish.limit_s, check=False
    )
    if ended.returncode:
        raise PlatformError("the weights could not be baked", fix="What was said is above.")


def _fill(plan: Plan, bundle: Path, home: Path) -> None:
    """The store, as the upload of an earlier worker does it that is left to end."""
    from coldstart_sdk.storage import uploads  # noqa: PLC0415 - only for this state

    stored = [
        weight
        for name, weight in plan.spec.weights.items()
        if plan.places.get(name) is Place.STORE and weight.origin is not Origin.LOCAL
    ]
    if not stored or plan.store is None:
        return
    filling = uploads.start(
        stored, store=plan.store, home=home, project=bundle / "code", step="fill", emit=ignore
    )
    if filling.wait():
        raise PlatformError("the store could not be filled", fix=f"Try it out: coldstart doctor {plan.store}")


class _Run:
    """One worker's life."""

    def __init__(self, plan: Plan, bundle: Path, room: Room, wish: Wish, origin: Mapping[str, str]) -> None:
        self._plan = plan
        self._bundle = bundle
        self._room = room
        self._wish = wish
        self._origin = origin
        self.trace: Trace | None = None
        """Of a start that has answered."""

    def live(self, fault: str | None = None) -> Mapping[str, Any]:
        refusals = [500] if fault == "refused" else []
        with Jobs(done_faults=refusals) as jobs:
            job = jobs.submit(self._input())
            with self._room.worker(self._environment(jobs)) as worker:
                answers = [job]
                if self._answered(jobs, job, worker, fault) and worker.code is None:
                    answers += self._later(jobs)
                    self.trace = _trace(jobs, job)
                worker.terminate()
                ended = worker.wait(self._wish.grace_s) is not None
            return self._told(answers, worker, ended=ended)

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
            given = json.loads((self._bundle / "test_input.json").read_text())["input"]
        return {**given, "endpoint": self._wish.endpoint} if self._wish.endpoint else given

    def _environment(self, jobs: Jobs) -> dict[str, str]:
        passed = {
            name: os.environ[name] for name in (*_PASSED_ON, *self._plan.spec.secrets) if name in os.environ
        }
        skipped = {"COLDSTART_SKIP": self._wish.skip} if self._wish.skip else {}
        return passed | dict(self._origin) | jobs.environment() | skipped

    def _told(self, jobs: list[Job], worker: Process, *, ended: bool) -> Mapping[str, Any]:
        job = jobs[0]
        report = worker.reports[-1] if worker.reports else {}
        told: dict[str, Any] = {
            "job": job.status,
            "worker": report.get("state", "said nothing"),
            "ready_s": report.get("after_s"),
            "first_answer_s": _between(job.submitted_s, job.done_s),
            "chunks": len(job.chunks),
            "progress": len(job.progress),
            "ended": "in order" if ended else f"killed after {self._wish.grace_s:g} s",
        }
        results = [self._result(each) for each in jobs if each.status == "COMPLETED"]
        if results:
            told["result"] = results[0]
        if len(results) > 1:
            told["results"] = results
        if job.error is not None:
            told["error"] = job.error
        if not worker.reports:
            told["log"] = "\n".join(worker.lines[-20:])
        starting_s = float(report.get("after_s") or 0.0)
        held_s = _between(job.taken_s, job.done_s) or 0.0  # a job is taken while the worker still starts
        return told | billed(self._plan, starting_s=starting_s, answering_s=max(0.0, held_s - starting_s))


def _trace(jobs: Jobs, first: Job) -> Trace | None:
    asked = jobs.result(jobs.submit({"endpoint": "trace"}), 30.0)
    output = asked.output or asked.chunks
    if isinstance(output, list):  # of a worker that streams
        output = output[0] if output else None
    return start.requested(Trace.from_json(json.dumps(output)), first.submitted_s) if output else None


@contextmanager
def _hub(wish: Wish) -> Iterator[Mapping[str, str]]:
    if wish.hub is None:
        yield {}
        return
    with Hub(wish.hub, rate_bytes_s=wish.net_bytes_s, process=True) as hub:
        yield {"HF_ENDPOINT": hub.endpoint}


def _between(start_s: float | None, end_s: float | None) -> float | None:
    return None if start_s is None or end_s is None else round(end_s - start_s, 3)


def _reason(told: Mapping[str, Any]) -> str:
    """Why there was no answer, in the worker's own words where it had any."""
    error = told.get("error")
    with suppress(ValueError, TypeError, KeyError):
        return str(json.loads(str(error))["message"])
    return str(error or told["worker"])[-300:]
