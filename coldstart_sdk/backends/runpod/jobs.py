"""RunPod's jobs on one lifecycle: the handler that its worker is given.

Its loop only waits: everything that takes time runs on the lifecycle's own loop and threads. A job that comes
while the worker starts waits for READY, and its caller is told how far the start is.
"""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

from coldstart_sdk.backends.runpod import replies
from coldstart_sdk.backends.runpod.dispatch import Dispatch
from coldstart_sdk.backends.runpod.replies import Keep
from coldstart_sdk.calls import Calls, UnansweredError
from coldstart_sdk.events import State, now
from coldstart_sdk.journal import Journal
from coldstart_sdk.lifecycle import Lifecycle
from coldstart_sdk.progress import Progress
from coldstart_sdk.spec import EndpointSpec
from coldstart_sdk.wire.errors import CallError, ErrorReply, Fault, reply_to

if TYPE_CHECKING:
    from typing_extensions import Self

Job: TypeAlias = Mapping[str, Any]
Tell: TypeAlias = Callable[[Job, Mapping[str, Any]], None]
"""Posts a job's progress, on a thread of its own."""

TRACE, READY = "trace", "ready"
"""Names that no endpoint can have: how the worker started, and whether it did; with `wait`, once it has."""
PROGRESS_S = 2.0
LAST_PROGRESS_S = 5.0
"""How long a result waits for progress that is on its way: told afterwards, it would undo the result."""
_END = object()


class Jobs:
    """Every job of one worker."""

    def __init__(self, life: Lifecycle, journal: Journal, progress: Progress, keep: Keep | None) -> None:
        spec = life.plan.spec
        self.dispatch = Dispatch(spec.scale.concurrency, spec.scale.queue)
        self._life = life
        self._journal = journal
        self._progress = progress
        self._keep = keep
        self._calls = Calls(life, emit=journal)

    @property
    def streams(self) -> bool:
        """RunPod decides once for all jobs whether its worker streams."""
        return any(endpoint.streams for endpoint in self._life.plan.spec.endpoints)

    @property
    def aggregates(self) -> bool:
        """Whether a stream's chunks are also its output: sound and pictures may be too large for that."""
        endpoints = self._life.plan.spec.endpoints
        return any(not endpoint.streams or endpoint.medium is None for endpoint in endpoints)

    def handler(self, tell: Tell) -> Callable[[Job], Any]:
        """What RunPod's worker calls; it looks at the function itself to see whether it streams."""

        async def answer(job: Job) -> Any:  # noqa: ANN401 - plain JSON has no closer type
            async with _Telling(self, job, tell) as telling:
                return await telling.until(self._here(self._answer(job)))

        async def stream(job: Job) -> AsyncGenerator[Any, None]:
            chunks = self._stream(job)
            # A job that is stopped while a chunk of it is on its way leaves this generator as it is, and
            # nobody closes it: what ends for certain is the task that runs the job.
            if task := asyncio.current_task():
                task.add_done_callback(lambda _: self._life.lanes.run_async(_close(chunks)))
            try:
                async with _Telling(self, job, tell) as telling:
                    chunk = await telling.until(self._here(_next(chunks)))
                while chunk is not _END:
                    yield chunk
                    chunk = await self._here(_next(chunks))
            finally:
                await self._here(_close(chunks))

        return stream if self.streams else answer

    def percent(self) -> Mapping[str, Any] | None:
        """How far the start is; None once there is nothing to tell."""
        if self._life.status.state is not State.STARTING:
            return None
        read = self._progress.read()
        eta_s = None if read.eta_s is None else round(read.eta_s, 1)
        return {"state": "starting", "percent": read.percent, "eta_s": eta_s, "steps": list(read.running)}

    def here_and_now(self, job: Job) -> list[Any]:
        """Every chunk of one job, or its one output: for a try-out without a platform."""

        async def collected() -> list[Any]:
            if self.streams:
                return [chunk async for chunk in self._stream(job)]
            return [await self._answer(job)]

        return self._life.lanes.run_async(collected()).result()

    def _here(self, work: Any) -> Awaitable[Any]:  # noqa: ANN401 - a coroutine of any result
        """The work on the lifecycle's loop, awaited on RunPod's; a job that is cancelled here ends there."""
        return asyncio.wrap_future(self._life.lanes.run_async(work))

    async def _answer(self, job: Job) -> Any:  # noqa: ANN401 - plain JSON has no closer type
        try:
            name, arguments = _read(job)
            if name in {TRACE, READY}:
                return await self._about(name, arguments)
            return await self._one(self._calls.endpoint(name), arguments, job)
        except Exception as raised:  # noqa: BLE001 - whatever it is, the caller gets an answer
            return self._unanswered(raised, job)

    async def _stream(self, job: Job) -> AsyncGenerator[Any, None]:
        try:
            name, arguments = _read(job)
            if name in {TRACE, READY}:
                yield await self._about(name, arguments)
                return
            endpoint = self._calls.endpoint(name)
            if not endpoint.streams:
                yield await self._one(endpoint, arguments, job)
                return
            whole = replies.Whole() if self.aggregates else None
            async with aclosing(self._calls.stream(endpoint, arguments, request=str(job["id"]))) as chunks:
                async for chunk in chunks:
                    for piece in await self._off_loop(partial(replies.chunks, chunk, self._keep)):
                        if whole:
                            whole.add(piece)
                        yield piece
        except Exception as raised:  # noqa: BLE001 - as above
            yield self._unanswered(raised, job)

    async def _one(self, endpoint: EndpointSpec, arguments: Mapping[str, Any], job: Job) -> Any:  # noqa: ANN401 - plain JSON has no closer type
        began_s = now()
        answer = await self._calls.answer(endpoint, arguments, request=str(job["id"]))
        self.dispatch.took(now() - began_s)
        return await self._off_loop(partial(replies.result, answer, self._keep))

    async def _off_loop(self, function: Callable[[], Any]) -> Any:  # noqa: ANN401 - whatever it returns
        """Base64, JSON and an upload hold up no other job."""
        return await asyncio.get_running_loop().run_in_executor(None, function)

    def _unanswered(self, raised: Exception, job: Job) -> dict[str, str]:
        problem = self._life.status.problem
        if self._life.status.state is State.FAILED and problem:
            return replies.not_started(problem, str(job["id"]))
        if isinstance(raised, UnansweredError):
            return replies.error(raised.reply)
        reply = reply_to(raised, "the call")
        said = ErrorReply(fault=reply.fault, message=reply.message, id=str(job["id"]), fields=reply.fields)
        if not isinstance(raised, CallError):
            logging.getLogger("coldstart").error("request %s failed", job["id"], exc_info=raised)
        return replies.error(said)

    async def _about(self, name: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        if name == READY:
            if arguments.get("wait"):
                await self._until_started()
            return {"state": self._life.status.state.value, "degraded": list(self._life.status.degraded)}
        from coldstart_sdk.serve.traces import spell  # noqa: PLC0415 - only who asks for it pays

        made: dict[str, Any] = json.loads(spell(self._journal.events, self._life.plan, "json"))
        return made

    async def _until_started(self) -> None:
        limit_s = self._life.plan.spec.timeout_s
        status = await self._off_loop(partial(self._life.wait, limit_s))
        if status.state is not State.READY:
            raise CallError(Fault.NOT_READY, f"the worker is {status.state.value}, and not ready")


class _Telling:
    """Tells a job's caller how far the start is, for as long as it lasts and never after the result."""

    def __init__(self, jobs: Jobs, job: Job, tell: Tell) -> None:
        self._jobs = jobs
        self._job = job
        self._tell = tell
        self._threads: list[threading.Thread] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        alive = [thread for thread in self._threads if thread.is_alive()]
        for thread in alive:
            await asyncio.get_running_loop().run_in_executor(None, thread.join, LAST_PROGRESS_S)

    async def until(self, work: Awaitable[Any]) -> Any:  # noqa: ANN401 - the result of the work
        """The work's result; told of meanwhile."""
        done = asyncio.ensure_future(work)
        try:
            while (said := self._jobs.percent()) is not None and not done.done():
                self._say(said)
                await asyncio.wait({done}, timeout=PROGRESS_S)
            return await done
        except asyncio.CancelledError:
            done.cancel()
            raise

    def _say(self, said: Mapping[str, Any]) -> None:
        before = set(threading.enumerate())
        self._tell(self._job, said)
        self._threads += [
            thread for thread in threading.enumerate() if thread not in before and _posts(thread)
        ]


async def _close(chunks: AsyncGenerator[Any, None]) -> None:
    with suppress(RuntimeError):  # still running: then it is being cancelled already
        await chunks.aclose()


def _posts(thread: threading.Thread) -> bool:
    """Whether it is one that RunPod's `progress_update` started: only its target's name tells."""
    return "_thread_target" in thread.name


async def _next(chunks: AsyncGenerator[Any, None]) -> Any:  # noqa: ANN401 - a chunk, or the end
    return await anext(chunks, _END)


def _read(job: Job) -> tuple[str | None, dict[str, Any]]:
    """The endpoint that a job names, and the arguments for it."""
    given = job.get("input")
    if not isinstance(given, Mapping):
        raise CallError(Fault.BAD_REQUEST, 'the job\'s "input" is not an object of arguments')
    arguments = dict(given)
    name = arguments.pop("endpoint", None)
    if name is not None and not isinstance(name, str):
        raise CallError(Fault.BAD_REQUEST, '"endpoint" is not a name')
    return name, arguments
