"""Answer requests on a lifecycle: who may come in, how long they wait, where their code runs.

The same on every target. A call waits for READY and for a free place, each within bounds; its arguments are
checked; it runs where its style of method asks to; and it ends as an answer or as one of the errors that a
caller may be told.
"""

from __future__ import annotations

import asyncio
import difflib
import functools
from collections.abc import AsyncGenerator, Callable, Generator, Mapping
from contextlib import aclosing
from dataclasses import replace
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any, TypeVar, cast

from coldstart_sdk.events import Anchor, AnchorSet, Emit, Outcome, RequestEnded, State, now
from coldstart_sdk.gate import FullError, Gate
from coldstart_sdk.lanes import Thread
from coldstart_sdk.lifecycle import Lifecycle, Status
from coldstart_sdk.running import OutOfTimeError, Threads, on_thread, watch_loop, within
from coldstart_sdk.spec import CallStyle, EndpointSpec, Spec
from coldstart_sdk.steps import from_their_line, standing_in, user_line
from coldstart_sdk.wire.arguments import Endpoint
from coldstart_sdk.wire.errors import CallError, ErrorReply, Fault, ResultError, reply_to
from coldstart_sdk.wire.results import Answer

if TYPE_CHECKING:
    from typing_extensions import Self

T = TypeVar("T")
_END = object()
_OUTCOMES = {
    Fault.FAILED: Outcome.FAILED,
    Fault.TIMEOUT: Outcome.TIMED_OUT,
    Fault.CANCELLED: Outcome.CANCELLED,
}
_NOT_READY = {
    State.STARTING: "this worker is still starting",
    State.DRAINING: "this worker is stopping",
    State.STOPPED: "this worker has stopped",
    State.FAILED: "this worker could not start; its log says why",
}


class UnansweredError(Exception):
    """There is no answer; `reply` is what the caller is told instead."""

    def __init__(self, reply: ErrorReply) -> None:
        super().__init__(reply.message)
        self.reply = reply


class Calls:
    """The way in to one worker. Belongs to the worker's loop."""

    def __init__(self, life: Lifecycle, *, emit: Emit, waits: bool = True) -> None:
        scale = life.plan.spec.scale
        self.life = life
        self.emit = emit
        self.gate = Gate(places=scale.concurrency, queue=scale.queue)
        self.threads = Threads(life.lanes, scale.concurrency)
        self._waits = waits
        self._has_answered = False
        self._start_is_over = asyncio.Event()
        life.watch(self._state_changed)

    def watch_loop(self, *, thread_id: int | None = None) -> None:
        """Warn once of each async method that holds up the loop, and with it every answer and `/ready`."""
        spec = self.life.plan.spec
        styles = {CallStyle.ASYNC, CallStyle.ASYNC_GENERATOR}
        methods = {endpoint.method for endpoint in spec.endpoints if endpoint.style in styles}
        methods |= {hook.method for hook in spec.hooks if hook.is_async}
        told: set[str] = set()

        def held_up(frame: FrameType) -> None:
            steps = self.life.steps
            method, line = standing_in(frame, methods, steps.site.project)
            if method and method not in told:
                told.add(method)
                steps.log().warning(
                    "%s holds up the loop on %s: nothing else is answered meanwhile. Make it a plain def, "
                    "which has a thread, or await what it waits for.",
                    method,
                    line,
                )

        if methods:
            watch_loop(self.life.lanes, held_up, thread_id=thread_id)

    def endpoint(self, name: str | None) -> EndpointSpec:
        """The endpoint of that name, or without one the default."""
        spec = self.life.plan.spec
        if found := spec.default_endpoint if name is None else spec.endpoint(name):
            return found
        raise UnansweredError(reply_to(_unknown(name, spec), name or "the call"))

    def turn_away(self, endpoint: EndpointSpec, *, request: str) -> None:
        """Refuse at once what would not get in; nobody need read its arguments for that."""
        try:
            self._refuse_unless_open()
            self.gate.check()
        except (CallError, FullError) as refused:
            raise _Visit(self, endpoint, request).unanswered(refused) from refused

    async def answer(
        self, endpoint: EndpointSpec, arguments: Mapping[str, object], *, request: str
    ) -> Answer:
        """What the endpoint returns; an `UnansweredError` when it does not."""
        async with _Visit(self, endpoint, request) as visit:
            bound = await self._admit(visit, arguments)
            method = getattr(self.life.steps.made.instance, endpoint.method)
            if endpoint.style is CallStyle.ASYNC:
                value = await within(method(**bound), visit.timeout_s)
            else:
                value = await visit.on_thread(lambda: method(**bound))
            answer = self._checks(endpoint).answer(value)
            visit.first_byte()
        return answer

    async def stream(
        self, endpoint: EndpointSpec, arguments: Mapping[str, object], *, request: str
    ) -> AsyncGenerator[Answer, None]:
        """What the endpoint yields, as it comes; each chunk has the endpoint's time to come in."""
        async with _Visit(self, endpoint, request) as visit:
            bound = await self._admit(visit, arguments)
            produced = getattr(self.life.steps.made.instance, endpoint.method)(**bound)
            chunks = produced if endpoint.style is CallStyle.ASYNC_GENERATOR else visit.pull(produced)
            async with aclosing(chunks):
                while (chunk := await within(anext(chunks, _END), visit.timeout_s)) is not _END:
                    answer = self._checks(endpoint).answer(chunk)
                    visit.first_byte()
                    yield answer

    def first_byte(self, at_s: float) -> None:
        """Of the worker's first answer."""
        if not self._has_answered:
            self._has_answered = True
            self.emit(AnchorSet(at_s=at_s, anchor=Anchor.FIRST_BYTE))

    async def _admit(self, visit: _Visit, arguments: Mapping[str, object]) -> dict[str, Any]:
        """Wait for READY, check the arguments, wait for a place."""
        await self._until_ready()
        checks = self._checks(visit.endpoint)
        if checks.takes_media:
            bound = await asyncio.get_running_loop().run_in_executor(None, checks.bind, arguments)
        else:
            bound = checks.bind(arguments)
        if not self.gate.take():
            await within(self.gate.place(), self.life.plan.spec.timeout_s)
        visit.begin()
        return bound

    async def _until_ready(self) -> None:
        self._refuse_unless_open()
        if self.life.status.state is State.STARTING:
            await within(self._start_is_over.wait(), self.life.plan.spec.timeout_s)
            self._refuse_unless_open()

    def _refuse_unless_open(self) -> None:
        state = self.life.status.state
        if state is not State.READY and not (state is State.STARTING and self._waits):
            raise CallError(Fault.NOT_READY, _NOT_READY[state])

    def _checks(self, endpoint: EndpointSpec) -> Endpoint:
        return self.life.steps.made.endpoints[endpoint.method]

    def _state_changed(self, status: Status) -> None:
        if status.state is not State.STARTING:
            self.life.lanes.loop.call_soon_threadsafe(self._start_is_over.set)


class _Visit:
    """One request on its way through: counted, timed, and ended exactly once."""

    def __init__(self, calls: Calls, endpoint: EndpointSpec, request: str) -> None:
        self.endpoint = endpoint
        self.request = request
        self.timeout_s = endpoint.timeout_s or calls.life.plan.spec.timeout_s
        self._calls = calls
        self._accepted_s = now()
        self._started_s: float | None = None
        self._first_s: float | None = None
        self._thread: Thread | None = None
        self._thread_is_busy = False

    async def __aenter__(self) -> Self:
        self._calls.life.request_begins()
        try:
            self._calls.gate.enter()
        except FullError as full:
            self._calls.life.request_ends()
            raise self.unanswered(full) from full
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, raised: BaseException | None, _: TracebackType | None
    ) -> None:
        self._leave_when_free(is_late=isinstance(raised, OutOfTimeError))
        match raised:
            case None:
                self._say(Outcome.DONE)
            case GeneratorExit():
                self._say(Outcome.CANCELLED, "the caller left")
            case asyncio.CancelledError() if _is_asked_to_end():
                self._say(Outcome.CANCELLED, "the caller left")
            case _:
                raise self.unanswered(raised) from raised

    def unanswered(self, raised: BaseException) -> UnansweredError:
        """What the caller is told; the log and the events get theirs."""
        where = None
        if isinstance(raised, OutOfTimeError):
            where = self._tell_what_goes_on()
            raised = CallError(Fault.TIMEOUT, f"{self.endpoint.method} did not answer in time")
        elif isinstance(raised, FullError):
            raised = CallError(Fault.BUSY, f"too many requests; {raised}", retry_after_s=raised.retry_after_s)
        reply = replace(reply_to(raised, self.endpoint.method), id=self.request, where=where)
        if reply.fault is Fault.FAILED:
            reply = replace(reply, where=self._line_of(raised))
            self._log(raised, reply)
        self._say(_OUTCOMES.get(reply.fault, Outcome.REFUSED), reply.message)
        return UnansweredError(reply)

    def _tell_what_goes_on(self) -> str | None:
        """The line of the user's on which code stands that is past its time and cannot be ended."""
        frame = self._thread.frame if self._thread and self._thread_is_busy else None
        if frame is None:
            return None
        steps = self._calls.life.steps
        _, line = standing_in(frame, (), steps.site.project)
        if line:
            steps.log().warning(
                "request %s: %s is past its time on %s, and keeps its place until it returns",
                self.request,
                self.endpoint.method,
                line,
            )
        return line

    def _line_of(self, raised: BaseException) -> str | None:
        """Of what an endpoint returned its own line; of what it raised the line that did."""
        if isinstance(raised, ResultError):
            line = f":{self.endpoint.line}" if self.endpoint.line else ""
            return f"{self._calls.life.plan.spec.module}.py{line}, in {self.endpoint.method}"
        return user_line(raised, self._calls.life.steps.site.project)

    def _log(self, raised: BaseException, reply: ErrorReply) -> None:
        """Under the request's id; a wrong result needs no traceback, for all of it would be ours."""
        log = self._calls.life.steps.log()
        if isinstance(raised, ResultError):
            log.error("request %s failed: %s: %s. %s", self.request, reply.where, reply.message, reply.fix)
        else:
            log.error("request %s failed", self.request, exc_info=from_their_line(raised))

    def begin(self) -> None:
        """It has a place; and the thread that goes with it, where the method needs one."""
        self._started_s = now()
        if self.endpoint.style in {CallStyle.PLAIN, CallStyle.GENERATOR}:
            self._thread = self._calls.threads.take()

    async def on_thread(self, function: Callable[[], T]) -> T:
        self._thread_is_busy = True
        try:
            result = await on_thread(cast("Thread", self._thread), function, self.timeout_s)
        except (OutOfTimeError, asyncio.CancelledError):
            raise
        except BaseException:
            self._thread_is_busy = False
            raise
        self._thread_is_busy = False
        return result

    async def pull(self, produced: Generator[object, None, None]) -> AsyncGenerator[object, None]:
        """Each step of a plain generator on the visit's own thread, and its end there too."""
        try:
            while (chunk := await self.on_thread(lambda: next(produced, _END))) is not _END:
                yield chunk
        finally:
            self._thread_is_busy = True  # with the generator's own `finally`, which the place must wait for
            cast("Thread", self._thread).call(lambda: self._close(produced))

    def _close(self, produced: Generator[object, None, None]) -> None:
        try:
            produced.close()
        except BaseException:  # noqa: BLE001 - a thread must outlive what a method does when it is ended
            self._calls.life.steps.log().exception("%s did not end well", self.endpoint.method)

    def first_byte(self) -> None:
        """The answer begins."""
        if self._first_s is None:
            self._first_s = now()
            self._calls.first_byte(self._first_s)

    def _leave_when_free(self, *, is_late: bool) -> None:
        """A thread that is still busy keeps the place until its code returns."""
        if self._thread and self._thread_is_busy:
            loop = asyncio.get_running_loop()
            self._calls.life.request_is_answered()
            self._calls.gate.late(int(is_late))
            leave = functools.partial(self._leave, was_answered=True, is_late=is_late)
            self._thread.call(lambda: cast("None", loop.call_soon_threadsafe(leave)))
        else:
            self._leave()

    def _leave(self, *, was_answered: bool = False, is_late: bool = False) -> None:
        self._calls.gate.late(-int(is_late))
        if self._thread:
            self._calls.threads.give_back(self._thread)
        if self._started_s is not None:
            self._calls.gate.free(now() - self._started_s)
        self._calls.gate.leave()
        self._calls.life.request_ends(was_answered=was_answered)

    def _say(self, outcome: Outcome, reason: str | None = None) -> None:
        ended_s = now()
        self._calls.emit(
            RequestEnded(
                at_s=ended_s,
                id=self.request,
                endpoint=self.endpoint.method,
                started_s=self._accepted_s,
                queued_s=(self._started_s or ended_s) - self._accepted_s,
                first_s=self._first_s and self._first_s - self._accepted_s,
                outcome=outcome,
                reason=reason,
            )
        )


def _unknown(name: str | None, spec: Spec) -> CallError:
    have = [endpoint.method for endpoint in spec.endpoints]
    if name is None:
        return CallError(Fault.UNKNOWN_ENDPOINT, f"name one of the endpoints: {', '.join(have)}")
    near = difflib.get_close_matches(name[:60], have, n=1)
    mend = f"did you mean {near[0]}?" if near else f"there are {', '.join(have)}"
    return CallError(Fault.UNKNOWN_ENDPOINT, f"no endpoint is called {name[:60]}; {mend}")


def _is_asked_to_end() -> bool:
    """Whether this task is being cancelled; otherwise a method's code met a cancellation of its own."""
    cancelling = getattr(asyncio.current_task(), "cancelling", None)  # from Python 3.11 on
    return cancelling is None or cancelling() > 0
