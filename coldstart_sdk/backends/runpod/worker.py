"""The process that starts cold on RunPod: the plan first, RunPod's own worker beside it.

The fetch, the imports and the device are under way before the `runpod` package is imported, which takes
seconds of its own. Its loop then takes jobs while the start goes on: who calls early is told how far it is.
"""

from __future__ import annotations

import functools
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import FrameType, ModuleType
from typing import TYPE_CHECKING, Any, NoReturn

from coldstart_sdk import machine, progress
from coldstart_sdk.backends.runpod import pins, strikes
from coldstart_sdk.backends.runpod.report import Report, log_to_stderr, say
from coldstart_sdk.errors import BundleError, ColdstartError, LifecycleError, Problem
from coldstart_sdk.events import (
    Anchor,
    AnchorSet,
    Emit,
    Event,
    FactsSeen,
    Noted,
    Outcome,
    State,
    StateChanged,
    StepEnded,
    StepStarted,
    now,
)
from coldstart_sdk.journal import Journal
from coldstart_sdk.lifecycle import Lifecycle, Status
from coldstart_sdk.manifest import LOCK_NAME
from coldstart_sdk.plan import Plan, Stage, Work
from coldstart_sdk.recorder.recorder import Recorder, is_on
from coldstart_sdk.steps import Site
from coldstart_sdk.switches import Switches

if TYPE_CHECKING:
    from coldstart_sdk.backends.runpod.jobs import Jobs

FAILED = 6
DRAIN_S = 20.0
VOLUME = Path("/runpod-volume")
_HOME = Path("/root/.cache/coldstart")
_LAST_HOME = Path("/tmp/coldstart")  # noqa: S108 - the one place that every container can write to
_IMPORT = "import:runpod"
_PLATFORM: Mapping[str, str] = {
    # Its own checks dial 8.8.8.8 and start CUDA again: the plan opens the device itself, and says why not.
    "RUNPOD_SKIP_AUTO_SYSTEM_CHECKS": "true",
    "RUNPOD_SKIP_GPU_CHECK": "true",
    "RUNPOD_SKIP_FITNESS_CHECKS": "true",
    # Captured output would go to whoever made the request, tracebacks and all.
    "RUNPOD_LOG_CAPTURE": "off",
    # Its default is DEBUG, which writes every output into the log.
    "RUNPOD_DEBUG_LEVEL": "INFO",
}


def main(bundle: Path) -> NoReturn:
    """Live. `handler.py build` runs the build hooks instead; without a platform it tries the test input."""
    began_s = now()
    _set_environment()
    log_to_stderr()
    try:
        plan = read_plan(bundle)
        worker = Worker(plan, bundle, began_s)
        _exit(_live(worker, plan, bundle))
    except ColdstartError as error:
        say({"state": "failed", "reason": error.message, "where": error.where, "fix": error.fix})
        if sys.argv[1:2] != ["build"] and os.environ.get("RUNPOD_WEBHOOK_GET_JOB"):
            _only_answer(error)
        _exit(error.exit_code)


def _live(worker: Worker, plan: Plan, bundle: Path) -> int:
    if sys.argv[1:2] == ["build"]:
        return worker.build()
    if _is_http(plan):
        return worker.serve()
    if not os.environ.get("RUNPOD_WEBHOOK_GET_JOB"):
        return worker.try_out(bundle)
    return worker.take_jobs()


def read_plan(bundle: Path) -> Plan:
    """The plan that this worker lives by, its baked weights pinned."""
    path = bundle / "plan.json"
    plan = Plan.from_json(path.read_text(encoding="utf-8"), where=str(path))
    os.environ.update({name: value for name, value in plan.env.items() if name not in os.environ})
    baked = pins.read(home_of(plan, bundle)[0])
    weights = {name: baked.get(name, weight) for name, weight in plan.spec.weights.items()}
    return replace(plan, spec=replace(plan.spec, weights=weights))


def home_of(plan: Plan, bundle: Path) -> tuple[Path, tuple[str, ...]]:
    """Where files are kept, and why not in a better place.

    Where we are told; else the first with room for what is locked: the volume, the container's own disk, and
    what is left for programs that may write nowhere else.
    """
    if told := os.environ.get("COLDSTART_HOME"):
        return Path(told), ()
    places = (*([volume() / ".coldstart"] if plan.volume and volume().is_dir() else []), _HOME, _LAST_HOME)
    if (bundle / "code" / LOCK_NAME).is_file():
        from coldstart_sdk.storage import locks  # noqa: PLC0415 - only where there is a lock

        lock = locks.of_project(bundle / "code")
        return machine.first_home(places, lambda place: locks.lacking_bytes(lock, place))
    return machine.first_home(places, lambda _: 0)


def volume() -> Path:
    """Where the volume is mounted; a rehearsal has it in another place."""
    return Path(os.environ.get("COLDSTART_VOLUME") or VOLUME)


class Worker:
    """One plan, started once."""

    def __init__(self, plan: Plan, bundle: Path, began_s: float) -> None:
        self.plan = plan
        self.site_home, passed_over = home_of(plan, bundle)
        self.progress = progress.Progress(plan, progress.recall(self.site_home, plan.spec.name))
        self.journal = Journal(self.progress)
        self.strike = strikes.so_far() + 1
        self._tries_again = threading.Event()
        self._told_to_end = threading.Event()
        self.journal.also(Report(plan, self.journal, strike=self.strike))
        self.journal.also(self._remember)
        self._project = bundle / "code"
        self._say_where_time_starts(began_s)
        for place in passed_over:
            self.journal(Noted(at_s=now(), message=f"files are kept in {self.site_home}, not in {place}"))

    def build(self) -> int:
        """Run the build hooks, with baked weights where there are any."""
        life = self._life()
        try:
            baked = pins.read(self.site_home)
            for step in self.plan.steps:
                if step.work is Work.WEIGHT and step.target in baked:
                    life.steps.do(step)
            life.run(Stage.BUILD)
        except LifecycleError as error:
            sys.stderr.write(f"error: {error.message}\nat:    {error.where}\nfix:   {error.fix}\n")
            return FAILED
        return 0

    def take_jobs(self) -> int:
        """Start, and answer jobs from RunPod's queue until it says stop."""
        life = self._life()
        _until_somebody_listens(life)
        life.start()
        self.journal(FactsSeen(at_s=now(), facts=machine.facts(self.site_home)))
        try:
            _refuse_another_version(self.plan)
        except BundleError:
            life.drain(0.0)
            raise
        jobs = self._jobs(life)
        serverless = self._import_runpod()
        life.watch(self._ended)
        self._ended(life.status)
        serverless.start(
            {
                "handler": jobs.handler(serverless.progress_update),
                "concurrency_modifier": self._hears(jobs.dispatch.wanted),
                "return_aggregate_stream": jobs.aggregates,
            }
        )
        life.drain(DRAIN_S)
        return 0

    def serve(self) -> int:
        """Start, and answer over HTTP behind RunPod's load balancer."""
        from coldstart_sdk.serve import server  # noqa: PLC0415 - the other mode of this worker
        from coldstart_sdk.serve.options import Options  # noqa: PLC0415 - as above
        from coldstart_sdk.serve.witness import Witness  # noqa: PLC0415 - as above

        port = int(os.environ.get("PORT", "80"))
        options = Options(
            host="0.0.0.0",  # noqa: S104 - the load balancer's address is not known
            port=port,
            hosts=("*",),  # it stands in front, and asks for the account's key
            token=os.environ.get("COLDSTART_TOKEN"),
        )
        witness = Witness(self.plan, self.site_home)
        for said_before in self.journal.events:
            witness(said_before)
        witness.journal.also(self.journal)
        recorder = self._recorder(witness.journal)
        life = Lifecycle(
            self.plan,
            self._site(witness),
            switches=Switches.of(os.environ),
            own_loop=False,
        )
        if recorder:
            recorder.follow(life.steps.made, self.plan.spec)
        listening = socket.create_server(("0.0.0.0", port), backlog=1024, reuse_port=False)  # noqa: S104 - as above
        _until_somebody_listens(life)
        life.start()
        witness(FactsSeen(at_s=now(), facts=machine.facts(self.site_home)))
        told_to_end = server.run(life, options, witness, fd=listening.detach(), drain_s=DRAIN_S)
        if told_to_end or life.status.state is not State.FAILED:
            return 0
        if strikes.is_out(self.strike):
            _only_tell(port, life.status)
        _until_somebody_listens(life)
        strikes.again(self.strike, busy=lambda: False, over=lambda: False)
        return FAILED

    def try_out(self, bundle: Path) -> int:
        """Answer the test input once, streams too; what RunPod's own try-out would not iterate."""
        import json  # noqa: PLC0415 - loaded with the plan; named for its one use

        from coldstart_sdk.backends.runpod import sample  # noqa: PLC0415 - a worker has no other use for it

        given = sample.in_bundle(bundle)
        life = self._life()
        life.start()
        outputs = self._jobs(life).here_and_now({"id": "local_test", **given})
        for output in outputs:
            sys.stdout.write(json.dumps(output) + "\n")
        life.drain(DRAIN_S)
        failed = any(isinstance(output, dict) and set(output) == {"error"} for output in outputs)
        return FAILED if failed else 0

    def _life(self) -> Lifecycle:
        recorder = self._recorder(self.journal)
        life = Lifecycle(self.plan, self._site(self.journal), switches=Switches.of(os.environ))
        if recorder:
            recorder.follow(life.steps.made, self.plan.spec)
        return life

    def _recorder(self, journal: Journal) -> Recorder | None:
        """What goes on inside steps, unless that is switched off."""
        if not is_on():
            return None
        recorder = Recorder(journal, project=self._project, home=self.site_home, name=self.plan.spec.name)
        journal.also(recorder.hear)
        return recorder

    def _site(self, emit: Emit) -> Site:
        return Site(
            project=self._project,
            home=self.site_home,
            emit=emit,
            image=self.site_home if pins.read(self.site_home) else None,
            volume=volume() if self.plan.volume else None,
            platform_cache=volume() / "huggingface-cache" / "hub",  # docs, serverless/endpoints/model-caching
        )

    def _jobs(self, life: Lifecycle) -> Jobs:
        from coldstart_sdk.backends.runpod import replies  # noqa: PLC0415 - the start is under way before asyncio
        from coldstart_sdk.backends.runpod.jobs import Jobs  # noqa: PLC0415 - as above

        return Jobs(
            life, self.journal, self.progress, replies.keeper(self.plan.spec.results, self.plan.store)
        )

    def _import_runpod(self) -> Any:  # noqa: ANN401 - a package that ships no types
        """RunPod's worker; its seconds are in the trace, beside what goes on meanwhile."""
        self.journal(StepStarted(at_s=now(), step=_IMPORT))
        with _no_cpu_probe():
            import runpod.serverless  # noqa: PLC0415 - the start is under way before the vendor's package loads
        self.journal(StepEnded(at_s=now(), step=_IMPORT, outcome=Outcome.DONE))
        return runpod.serverless

    def _ended(self, status: Status) -> None:
        """A start that failed is tried again, a few times."""
        if (
            status.state is State.FAILED
            and not strikes.is_out(self.strike)
            and not self._tries_again.is_set()
        ):
            self._tries_again.set()
            threading.Thread(
                target=strikes.again,
                args=(self.strike, _is_busy, self._told_to_end.is_set),
                name="coldstart-again",
                daemon=True,
            ).start()

    def _hears(self, wanted: Callable[[int], int]) -> Callable[[int], int]:
        """The same; once RunPod's loop runs, and has its handlers, ours goes before them."""
        listens = functools.lru_cache(maxsize=1)(self._listen_first)

        def asked(current: int) -> int:
            listens()
            return wanted(current)

        return asked

    def _listen_first(self) -> None:
        theirs = signal.getsignal(signal.SIGTERM)

        def signalled(number: int, frame: FrameType | None) -> None:
            self._told_to_end.set()
            if callable(theirs):
                theirs(number, frame)

        signal.signal(signal.SIGTERM, signalled)

    def _remember(self, event: Event) -> None:
        if isinstance(event, StateChanged) and event.state is State.READY and not event.degraded:
            progress.remember(self.site_home, self.plan.spec.name, self.progress.took_s())

    def _say_where_time_starts(self, began_s: float) -> None:
        first = self.strike == 1  # a later try is the same process, which began long before
        process_s = machine.process_start_s() if first else None
        container_s = machine.container_made_for_s(process_s)
        started = {Anchor.CONTAINER: container_s, Anchor.PROCESS: process_s, Anchor.SDK: began_s}
        for anchor, at_s in started.items():
            if at_s is not None:
                self.journal(AnchorSet(at_s=at_s, anchor=anchor))


def _refuse_another_version(plan: Plan) -> None:
    """Asked while the start is under way: to read an installed version takes as long as some imports."""
    from coldstart_sdk import __version__  # noqa: PLC0415 - as above

    if plan.sdk != __version__:
        raise BundleError(
            f"this bundle was made by coldstart {plan.sdk}, and here is {__version__}",
            fix="Build it again, or pin that version in requirements.lock.",
        )


class _no_cpu_probe:  # noqa: N801 - used like a function
    """While `runpod` 1.x is imported, what it knows of the CPU is the kernel's own word for it.

    It asks py-cpuinfo, which takes more than a second for a line that only its debugger shows.
    """

    def __enter__(self) -> None:
        self._known = "cpuinfo" in sys.modules
        if not self._known:
            stand_in: Any = ModuleType("cpuinfo")
            stand_in.get_cpu_info = lambda: {"brand_raw": _cpu()}
            sys.modules["cpuinfo"] = stand_in

    def __exit__(self, *_: object) -> None:
        if not self._known:
            sys.modules.pop("cpuinfo", None)


def _cpu() -> str:
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
        return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    return ""


def _is_busy() -> bool:
    """Whether RunPod's worker holds a job that was not answered yet."""
    from runpod.serverless.modules.worker_state import JobsProgress  # noqa: PLC0415 - the vendor's package

    return bool(JobsProgress().get_job_count())


def _is_http(plan: Plan) -> bool:
    return bool(plan.spec.overrides.get("runpod", {}).get("mode") == "http")


def _set_environment() -> None:
    for name, value in _PLATFORM.items():
        os.environ.setdefault(name, value)
    os.environ.update(machine.boot_env(os.environ))
    os.environ.update(machine.thread_limits(os.environ, machine.cpu_quota(), machine.visible_cores()))


def _until_somebody_listens(life: Lifecycle) -> None:
    """A container's first process ignores a signal that nobody handles; who serves it takes over later."""

    def end() -> None:
        life.drain(DRAIN_S)
        _exit(0)

    def signalled(_number: int, _frame: object) -> None:
        threading.Thread(target=end, name="coldstart-end", daemon=True).start()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signalled)


def _only_answer(error: ColdstartError) -> None:
    """Tell each caller why there will be no worker of this bundle: to end would be to be started again."""
    from coldstart_sdk.backends.runpod import replies  # noqa: PLC0415 - only on the way out

    with _no_cpu_probe():
        import runpod.serverless  # noqa: PLC0415 - the vendor's package

    problem = error.problems[0]

    async def answer(job: Mapping[str, Any]) -> dict[str, str]:
        return replies.not_started(problem, str(job["id"]))

    runpod.serverless.start({"handler": answer})


def _only_tell(port: int, status: Status) -> NoReturn:
    """Say why there is no worker, and that it is none, until the platform takes it away."""
    import json  # noqa: PLC0415 - only on the way out
    from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer  # noqa: PLC0415 - as above

    from coldstart_sdk.redact import redact  # noqa: PLC0415 - as above

    problem = status.problem or Problem(message="it could not start", fix="Look at the worker's log.")
    error = {
        "type": "not_ready",
        "message": f"this worker could not start: {problem.message}",
        "fix": problem.fix,
    }
    body = redact(json.dumps({"error": error})).encode()

    class Tell(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(503)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET  # noqa: N815 - the standard library's names

    with ThreadingHTTPServer(("0.0.0.0", port), Tell) as telling:  # noqa: S104 - as in `serve`
        telling.serve_forever()
    _exit(FAILED)


def _exit(code: int) -> NoReturn:
    """End now: a thread that a hook hangs in must not keep the process, nor a heartbeat outlive it."""
    import multiprocessing  # noqa: PLC0415 - RunPod's heartbeat is a child process of ours

    for child in multiprocessing.active_children():
        child.terminate()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
