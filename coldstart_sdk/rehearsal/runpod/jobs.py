"""The two sides of a queue endpoint on loopback: what its workers ask, and what its callers ask.

Imitates what the `runpod` package 1.12.0 and 2.0.0rc2 sends (job-take, job-take-batch, job-stop, job-done,
job-stream, ping), and the callers' routes of docs, serverless/endpoints/operation-reference: run, runsync,
status, stream, cancel, health. How long the real one holds a poll is not known.
"""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from coldstart_sdk.events import now
from coldstart_sdk.rehearsal.link import Link
from coldstart_sdk.rehearsal.serving import Handler, Server

if TYPE_CHECKING:
    from typing_extensions import Self

HOST = "127.0.0.3" if sys.platform == "linux" else "127.0.0.1"
"""The platform's own, where loopback has more than one address: what is asked of it goes over no link."""
ENDPOINT = "ep123"
WORKER = "pod-abc"
KEY = "rpa_" + "x" * 24
"""What a worker sends, raw, as its authorization; good for nothing anywhere else."""
OVER = frozenset({"COMPLETED", "FAILED", "CANCELLED", "TIMED_OUT"})


@dataclass(kw_only=True)
class Job:
    """One request and all that became of it."""

    id: str
    input: Any
    submitted_s: float
    status: str = "IN_QUEUE"
    worker: str | None = None
    taken_s: float | None = None
    done_s: float | None = None
    output: Any = None
    error: Any = None
    chunks: list[Any] = field(default_factory=list)
    read: int = 0
    """Chunks that a caller has fetched."""
    progress: list[Any] = field(default_factory=list)
    after_result: list[Any] = field(default_factory=list)
    """Progress that came too late, and undid the result where nothing watches."""
    is_stream: bool | None = None


@dataclass(frozen=True, kw_only=True)
class Seen:
    """One request of a worker."""

    at_s: float
    method: str
    route: str
    query: Mapping[str, str]
    body: str
    authorization: str
    status: int


class Jobs:
    """A context manager: the endpoint, its queue, and everything that was asked of it."""

    def __init__(self, *, hold_s: float = 1.0, done_faults: Iterable[int] = ()) -> None:
        self.hold_s = hold_s
        """How long a poll without a job is held."""
        self.chunks_pass = threading.Event()
        """Cleared, a chunk is taken and its sender left without an answer."""
        self.chunks_pass.set()
        self.seen: list[Seen] = []
        self._jobs: dict[str, Job] = {}
        self._stops: list[str] = []
        self._lost: set[str] = set()
        self._done_faults = list(done_faults)
        self._changed = threading.Condition()
        self._server: _JobServer | None = None

    def __enter__(self) -> Self:
        self._server = _JobServer(self)
        self._server.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, raised: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server:
            with self._changed:
                self._server.closing.set()
                self.chunks_pass.set()
                self._changed.notify_all()
            self._server.close()

    @property
    def address(self) -> str:
        if self._server is None:
            raise RuntimeError("the endpoint runs only inside its `with` block")
        return self._server.address

    def environment(self, worker: str = WORKER) -> dict[str, str]:
        """What the platform tells a worker; `$ID` and `$RUNPOD_POD_ID` are for the worker to fill in."""
        base, query = f"{self.address}/v2/{ENDPOINT}", "?gpu=NVIDIA+L4"
        return {
            "RUNPOD_WEBHOOK_GET_JOB": f"{base}/job-take/$ID{query}",
            "RUNPOD_WEBHOOK_POST_OUTPUT": f"{base}/job-done/$RUNPOD_POD_ID/$ID{query}",
            "RUNPOD_WEBHOOK_POST_STREAM": f"{base}/job-stream/$RUNPOD_POD_ID/$ID{query}",
            "RUNPOD_WEBHOOK_PING": f"{base}/ping/$RUNPOD_POD_ID{query}",
            "RUNPOD_PING_INTERVAL": "1000",
            "RUNPOD_AI_API_KEY": KEY,
            "RUNPOD_POD_ID": worker,
            "RUNPOD_ENDPOINT_ID": ENDPOINT,
            "RUNPOD_TEST": "1",
        }

    # ---- what callers ask

    def submit(self, arguments: Any, *, job: str | None = None) -> Job:  # noqa: ANN401 - plain JSON
        with self._changed:
            made = Job(id=job or f"job-{len(self._jobs) + 1}", input=arguments, submitted_s=now())
            self._jobs[made.id] = made
            self._changed.notify_all()
        return made

    def cancel(self, job: Job) -> None:
        """Before it is taken it is only dropped; after that its worker is told to stop it."""
        with self._changed:
            if job.status in OVER:
                return
            if job.taken_s is not None:
                self._stops.append(job.id)
            job.status, job.done_s = "CANCELLED", now()
            self._changed.notify_all()

    def refuse_results(self, *statuses: int) -> None:
        """Answer the next results with these."""
        with self._changed:
            self._done_faults += statuses

    def find(self, job: str) -> Job | None:
        return self._jobs.get(job)

    @property
    def jobs(self) -> tuple[Job, ...]:
        return tuple(self._jobs.values())

    def wait(self, until: Callable[[], object], timeout_s: float = 60.0) -> bool:
        """Wait until something holds; it is looked at after each request."""
        with self._changed:
            return bool(self._changed.wait_for(until, timeout_s))

    def result(self, job: Job, timeout_s: float = 60.0) -> Job:
        """The job once it is over, or as it is when the time is up."""
        self.wait(lambda: job.status in OVER, timeout_s)
        return job

    def lose(self, worker: str) -> None:
        """That worker is dead: what it held waits again, and what it still asks for is not given to it."""
        with self._changed:
            self._lost.add(worker)
            for job in self._jobs.values():
                if job.worker == worker and job.status == "IN_PROGRESS":
                    job.status, job.worker, job.taken_s = "IN_QUEUE", None, None
            self._changed.notify_all()

    # ---- what workers ask

    def take(self, worker: str, most: int) -> list[Job]:
        """Up to so many jobs; none when nothing comes while the poll is held."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting() or self._is_closing(), self.hold_s)
            taken = [] if worker in self._lost else self._waiting()[:most]
            for job in taken:
                job.status, job.worker, job.taken_s = "IN_PROGRESS", worker, now()
            self._changed.notify_all()
        return taken

    def stops(self) -> list[str]:
        with self._changed:
            self._changed.wait_for(lambda: self._stops or self._is_closing(), self.hold_s)
            told, self._stops = self._stops, []
        return told

    def done(self, job: str, body: Mapping[str, Any], *, is_stream: bool) -> int:
        """A result, or a word on the way to it; what to answer."""
        with self._changed:
            if self._done_faults:
                return self._done_faults.pop(0)
            found = self._jobs.get(job)
            if found is None:
                return 404
            if body.get("status") == "IN_PROGRESS":
                (found.after_result if found.status in OVER else found.progress).append(body.get("output"))
            elif found.status not in OVER:
                found.output, found.error = body.get("output"), body.get("error")
                found.status = "FAILED" if "error" in body else "COMPLETED"
                found.done_s, found.is_stream = now(), is_stream
            self._changed.notify_all()
        return 200

    def chunk(self, job: str, body: Mapping[str, Any]) -> int:
        with self._changed:
            found = self._jobs.get(job)
            if found is None:
                return 404
            found.chunks.append(body.get("output"))
            self._changed.notify_all()
        self.chunks_pass.wait()
        return 200

    def note(self, seen: Seen) -> None:
        with self._changed:
            self.seen.append(seen)
            self._changed.notify_all()

    def seen_on(self, route: str) -> list[Seen]:
        return [seen for seen in self.seen if seen.route.startswith(route)]

    def _waiting(self) -> list[Job]:
        return [job for job in self._jobs.values() if job.status == "IN_QUEUE"]

    def _is_closing(self) -> bool:
        return self._server is None or self._server.closing.is_set()


class _JobServer(Server):
    def __init__(self, jobs: Jobs) -> None:
        super().__init__(HOST, _JobHandler, link=Link())
        self.jobs = jobs


class _JobHandler(Handler):
    def answer(self) -> None:
        server = self.server
        if not isinstance(server, _JobServer):  # pragma: no cover - only ever built with one
            raise TypeError("a job handler needs a job server")
        self.jobs = server.jobs
        length = int(self.headers.get("Content-Length") or 0)
        self._body = self.rfile.read(length).decode() if length else ""
        # RunPod's worker sends a raw "$"-free path: nothing in it is percent-encoded.
        parts = urlsplit(self.path).path.strip("/").split("/")[2:]
        query = {name: values[-1] for name, values in parse_qs(urlsplit(self.path).query).items()}
        status, said = self._route(parts, query)
        self.jobs.note(
            Seen(
                at_s=now(),
                method=self.command,
                route="/".join(parts),
                query=query,
                body=self._body,
                authorization=self.headers.get("Authorization", ""),
                status=status,
            )
        )
        if said is None:
            self.send_nothing(status)
        else:
            self.send_bytes(
                json.dumps(said).encode(), status=status, headers={"Content-Type": "application/json"}
            )

    def _route(self, parts: list[str], query: Mapping[str, str]) -> tuple[int, Any]:
        match parts:
            case [("job-take" | "job-take-batch") as what, worker]:
                batch = [_offered(job) for job in self.jobs.take(worker, int(query.get("batch_size", "1")))]
                return (200, batch if what == "job-take-batch" else batch[0]) if batch else (204, None)
            case ["job-stop", _]:
                told = self.jobs.stops()
                return (200, {"jobsToStop": told}) if told else (204, None)
            case ["ping", _]:
                return 200, {}
            case ["job-done", _, job]:
                return self.jobs.done(
                    job, json.loads(self._body), is_stream=query.get("isStream") == "true"
                ), {}
            case ["job-stream", _, job]:
                return self.jobs.chunk(job, json.loads(self._body)), {}
            case _:
                return self._called(parts)

    def _called(self, parts: list[str]) -> tuple[int, Any]:
        match parts:
            case ["run"]:
                job = self.jobs.submit(json.loads(self._body).get("input"))
                return 200, {"id": job.id, "status": job.status}
            case ["runsync"]:
                job = self.jobs.result(self.jobs.submit(json.loads(self._body).get("input")))
                return 200, _told(job)
            case ["health"]:
                return 200, _health(self.jobs)
            case [("status" | "stream" | "cancel") as what, name] if known := self.jobs.find(name):
                return 200, self._about(what, known)
            case _:
                return 404, {"error": "not found"}

    def _about(self, what: str, job: Job) -> dict[str, Any]:
        if what == "cancel":
            self.jobs.cancel(job)
        if what == "stream":
            self.jobs.wait(lambda: len(job.chunks) > job.read or job.status in OVER, self.jobs.hold_s)
            fresh, job.read = job.chunks[job.read :], len(job.chunks)
            return {"status": job.status, "stream": [{"output": chunk} for chunk in fresh]}
        return _told(job)


def _offered(job: Job) -> dict[str, Any]:
    return {"id": job.id, "input": job.input}


def _told(job: Job) -> dict[str, Any]:
    told: dict[str, Any] = {"id": job.id, "status": job.status}
    if job.taken_s is not None:
        told |= {"delayTime": _ms(job.taken_s - job.submitted_s), "workerId": job.worker}
    if job.done_s is not None and job.taken_s is not None:
        told["executionTime"] = _ms(job.done_s - job.taken_s)
    if job.status == "IN_PROGRESS" and job.progress:
        told["output"] = job.progress[-1]
    if job.status == "COMPLETED":
        told["output"] = job.output
    if job.status == "FAILED":
        told["error"] = job.error
    return told


def _health(jobs: Jobs) -> dict[str, Any]:
    states = [job.status for job in jobs.jobs]
    pinged = bool(jobs.seen_on("ping"))
    return {
        "jobs": {
            "completed": states.count("COMPLETED"),
            "failed": states.count("FAILED"),
            "inProgress": states.count("IN_PROGRESS"),
            "inQueue": states.count("IN_QUEUE"),
            "retried": 0,
        },
        "workers": {"idle": int(pinged), "initializing": 0, "ready": int(pinged), "running": 0},
    }


def _ms(seconds: float) -> int:
    return round(seconds * 1000)
