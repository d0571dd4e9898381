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
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from coldstart_sdk.backends.runpod.capabilities import CAPABILITIES
from coldstart_sdk.errors import PlatformError, UsageError
from coldstart_sdk.plan import Plan
from coldstart_sdk.rehearsal import start
from coldstart_sdk.rehearsal.hub import Hub
from coldstart_sdk.rehearsal.runpod.jobs import Job, Jobs
from coldstart_sdk.rehearsal.runpod.process import Process, bare_environment
from coldstart_sdk.trace.model import Trace
from coldstart_sdk.trace.waterfall import render

STATES = ("empty", "warm", "second", "baked")
"""A worker without a file; one on the files that an earlier one left, as on a volume; one without a file, and
a store that an earlier one has filled; one with what the bundle's own program has baked."""
FAULTS = ("refused", "terminated", "cancelled")
"""The platform refuses the first result; it ends the worker in its start; the caller gives up in it."""
_RATES = {"kbit": 1e3 / 8, "mbit": 1e6 / 8, "gbit": 1e9 / 8, "kb/s": 1e3, "mb/s": 1e6, "gb/s": 1e9}
_PASSED_ON = ("HF_ENDPOINT", "HF_TOKEN", "AWS_ENDPOINT_URL", "SSL_CERT_FILE", "PYTHONPATH")


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What a rehearsal was asked for, checked."""

    python: str = sys.executable
    """With `runpod` and what the class needs; another one tries another version."""
    state: str = "empty"
    hub: str | None = None
    net_bytes_s: float | None = None
    fault: str | None = None
    input: Any = None
    """Arguments of the requests; None: those of test_input.json."""
    endpoint: str | None = None
    """None: the default, or the one that the input names itself."""
    requests: int = 1
    """The same one, again and again."""
    skip: str = ""
    """Steps that are left out, as COLDSTART_SKIP says it."""
    limit_s: float = 600.0
    grace_s: float = 10.0
    """Between being told to end and being killed."""


def rehearse(plan: Plan, bundle: Path, options: Mapping[str, Any]) -> Mapping[str, Any]:
    """Run it once; what came of it, and what it would have cost."""
    wish = read(options)
    if wish.python == sys.executable and importlib.util.find_spec("runpod") is None:
        raise PlatformError(
            "RunPod's worker is not installed here",
            fix='pip install "coldstart-sdk[runpod]", or name a Python that has it: --set python=…',
        )
    with tempfile.TemporaryDirectory(prefix="coldstart-rehearsal-") as scratch, ExitStack() as stack:
        folder = Path(scratch)
        shutil.copytree(bundle, folder / "app")
        origin = stack.enter_context(_hub(wish))
        if wish.state == "baked":
            _bake(folder, wish, origin)
        elif wish.state != "empty":
            _Run(plan, folder, wish, origin).live()
        if wish.state == "second":
            shutil.rmtree(folder / "home", ignore_errors=True)
        run = _Run(plan, folder, wish, origin)
        told = run.live(wish.fault)
        return told if run.trace is None else {**told, "trace": str(start.keep(run.trace, bundle))}


def read(options: Mapping[str, Any]) -> Wish:
    """The options as `--set` gives them; every one that is not known is named."""
    said = dict(options)
    wish = Wish(
        python=str(said.pop("python", sys.executable)),
        state=_one_of("state", said.pop("state", "empty"), STATES),
        hub=said.pop("hub", None),
        net_bytes_s=_rate(said.pop("net", None)),
        fault=_one_of("fault", said.pop("fault", None), FAULTS),
        input=_input(said.pop("input", None)),
        endpoint=said.pop("endpoint", None),
        requests=_count(said.pop("requests", 1)),
        skip=str(said.pop("skip", "")),
        limit_s=_seconds("limit", said.pop("limit", 600)),
        grace_s=_seconds("grace", said.pop("grace", 10)),
    )
    if said:
        raise UsageError(
            f"a rehearsal on RunPod has no option {next(iter(said))!r}",
            fix="It takes endpoint, fault, grace, hub, input, limit, net, python, requests, skip and state.",
        )
    if wish.net_bytes_s and not wish.hub:
        raise UsageError(
            "net= needs a hub of ours to be the speed of",
            fix="Add --set hub=DIR, a folder of org/name/files with the weights.",
        )
    return wish


def _bake(folder: Path, wish: Wish, origin: Mapping[str, str]) -> None:
    """As a build of the image does it, into the home of the worker."""
    program = folder / "app" / "fetch_weights.py"
    if not program.exists():
        raise UsageError("state=baked, and no weight is baked", fix='Declare place="image", or leave it out.')
    command = [wish.python, str(program), str(folder / "home")]
    ended = subprocess.run(
        command, env={**os.environ, **origin}, stdout=sys.stderr.fileno(), timeout=wish.limit_s, check=False
    )
    if ended.returncode:
        raise PlatformError("the weights could not be baked", fix="What was said is above.")


class _Run:
    """One worker's life."""

    def __init__(self, plan: Plan, folder: Path, wish: Wish, origin: Mapping[str, str]) -> None:
        self._plan = plan
        self._folder = folder
        self._wish = wish
        self._origin = origin
        self.trace: Trace | None = None
        """Of a start that has answered."""

    def live(self, fault: str | None = None) -> Mapping[str, Any]:
        refusals = [500] if fault == "refused" else []
        with Jobs(done_faults=refusals) as jobs:
            job = jobs.submit(self._input())
            command = [self._wish.python, "-u", "handler.py"]
            with Process(command, self._folder / "app", self._environment(jobs)) as worker:
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
            given = json.loads((self._folder / "app" / "test_input.json").read_text())["input"]
        return {**given, "endpoint": self._wish.endpoint} if self._wish.endpoint else given

    def _environment(self, jobs: Jobs) -> dict[str, str]:
        passed = {
            name: os.environ[name] for name in (*_PASSED_ON, *self._plan.spec.secrets) if name in os.environ
        }
        home = {"COLDSTART_HOME": str(self._folder / "home"), "COLDSTART_SKIP": self._wish.skip}
        return (
            bare_environment(self._folder / "user") | passed | dict(self._origin) | jobs.environment() | home
        )

    def _told(self, jobs: list[Job], worker: Process, *, ended: bool) -> Mapping[str, Any]:
        job = jobs[0]
        report = worker.reports[-1] if worker.reports else {}
        if self.trace is not None:
            sys.stderr.write(render(self.trace, width=100) + "\n")
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
        return told | _bill(self._plan, job, report)


def _bill(plan: Plan, job: Job, report: Mapping[str, Any]) -> dict[str, Any]:
    """What a worker's seconds would have cost; whether a start is billed, RunPod's pages differ on."""
    start_s = float(report.get("after_s") or 0.0)
    answer_s = max(0.0, (_between(job.taken_s, job.done_s) or 0.0) - start_s)
    idle_s = plan.spec.scale.idle_s
    prices = {card.sold_as: card.usd_per_s for card in CAPABILITIES.cards or ()}
    price = prices.get(plan.gpu[0].partition(":")[0]) if plan.gpu else None
    told: dict[str, Any] = {"start_s": start_s, "answer_s": round(answer_s, 3), "idle_s": idle_s}
    if price is not None:
        count = int(plan.gpu[0].partition(":")[2] or 1)
        told["usd_with_start"] = round((start_s + answer_s + idle_s) * price * count, 6)
        told["usd_without_start"] = round((answer_s + idle_s) * price * count, 6)
        told["priced_on"] = CAPABILITIES.priced_on
    return told


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


def _rate(text: object) -> float | None:
    if text is None:
        return None
    said = str(text).lower().replace(" ", "")
    unit = next((unit for unit in _RATES if said.endswith(unit)), None)
    try:
        rate = float(said.removesuffix(unit or "?")) * _RATES[unit or "?"]
    except (ValueError, KeyError):
        rate = 0.0
    if not 0 < rate < math.inf:
        raise UsageError(f"net={str(text)[:40]} is no speed", fix="Write 1Gbit, 300Mbit or 100MB/s.")
    return rate


def _seconds(name: str, text: object) -> float:
    try:
        seconds = float(str(text).removesuffix("s"))
    except ValueError:
        seconds = -1.0
    if not 0 < seconds < math.inf:
        raise UsageError(f"{name}={str(text)[:40]} is no time", fix=f"Write seconds: {name}=30s.")
    return seconds


def _count(text: object) -> int:
    if not str(text).isdigit() or not int(str(text)):
        raise UsageError(f"requests={str(text)[:40]} is no number of requests", fix="Write requests=10.")
    return int(str(text))


def _input(text: object) -> Any:  # noqa: ANN401 - plain JSON
    try:
        return None if text is None else json.loads(str(text))
    except ValueError as exc:
        raise UsageError("input= is not JSON", fix="""Write --set 'input={"text": "hi"}'.""") from exc


def _one_of(name: str, said: object, known: tuple[str, ...]) -> Any:  # noqa: ANN401 - one of them, or None
    if said is not None and said not in known:
        raise UsageError(f"{name}={str(said)[:40]} is not known", fix=f"It is one of {', '.join(known)}.")
    return said
