"""Endpoints over HTTP: one ASGI app for the server here, for Modal, and for RunPod's load balancer.

    guard ▶ route ▶ body ▶ calls ▶ result, stream or error

A request is refused as early as it can be, and every refusal has one shape.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import aclosing, suppress
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias, TypeVar

from coldstart_sdk.calls import Calls, UnansweredError
from coldstart_sdk.events import State
from coldstart_sdk.lifecycle import Lifecycle, Status
from coldstart_sdk.media import IN_MEMORY_BYTES, Media
from coldstart_sdk.running import OutOfTimeError, within
from coldstart_sdk.serve import accept, bodies, guard, readiness, streams
from coldstart_sdk.serve.asgi import HTML, JSON, TEXT, Header, Message, Receive, Request, Scope, Send
from coldstart_sdk.serve.bodies import Bodies, CallerLeftError
from coldstart_sdk.serve.caller import Caller
from coldstart_sdk.serve.guard import Guard
from coldstart_sdk.serve.options import Options
from coldstart_sdk.serve.streams import write
from coldstart_sdk.serve.witness import Witness
from coldstart_sdk.spec import EndpointSpec
from coldstart_sdk.wire.errors import CallError, ErrorReply, Fault, new_id, reply_to
from coldstart_sdk.wire.results import Answer

T = TypeVar("T")
Answering: TypeAlias = Callable[[Request], Awaitable[None]]

OPEN = frozenset({"/health", "/ready", "/ping"})
"""What a load balancer asks, which has no token; `/ready` then says the state and no more."""
SEND_S = 60.0
"""How long a caller may leave a chunk of its stream unread."""
_LARGE_BYTES = 2**20
"""Above it, base64 and JSON are made off the loop."""
_LINGER_BYTES = 2**20
_LINGER_S = 2.0
"""How much of a refused body is still read: a connection that is closed on it may lose the refusal."""
_WAIT_S = 0.5
"""How long `/ready?watch` waits for the end of a start."""
_NOT_SHOWN = ("text/", "application/", "image/svg")
"""Types that a browser must not take for a page of ours."""


@dataclass(frozen=True, kw_only=True)
class _Route:
    """What may be done at one path."""

    name: str
    get: Answering | None = None
    post: Answering | None = None

    @property
    def methods(self) -> bytes:
        reading = "GET, HEAD, " if self.get else ""
        return f"{reading}{'POST, ' if self.post else ''}OPTIONS".encode()

    def of(self, method: str) -> Answering | None:
        return self.get if method in {"GET", "HEAD"} else self.post if method == "POST" else None


class App:
    """One worker's HTTP side."""

    def __init__(self, life: Lifecycle, calls: Calls, witness: Witness, options: Options) -> None:
        self.life = life
        self.calls = calls
        self.witness = witness
        self.options = options
        self.guard = Guard(options)
        self.bodies = Bodies(options.body_limit_bytes)
        self._routes = self._all_routes()
        self._start_is_over = asyncio.Event()
        life.watch(self._state_changed)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            request = Request(scope, receive, send)
            try:
                await self._answer(request)
            finally:
                self.bodies.room.give_back(request)
                if request.status:
                    self.witness.metrics.replied(request.route or "none", request.status)
        elif scope["type"] == "lifespan":
            await _live(receive, send)
        else:
            await receive()
            await send({"type": "websocket.close", "code": 1008})

    def _all_routes(self) -> Mapping[str, _Route]:
        routes = {
            f"/{endpoint.method}": _Route(name=endpoint.method, post=partial(self._call, endpoint))
            for endpoint in self.life.plan.spec.endpoints
        }
        about = {
            "/health": self._health,
            "/ready": self._ready,
            "/ping": self._ping,
            "/metrics": self._metrics,
            "/trace": self._trace,
            "/openapi.json": self._openapi,
        }
        return {
            **routes,
            **{path: _Route(name=path[1:], get=answer) for path, answer in about.items()},
            "/": _Route(name="/", get=self._page, post=self._call_default),
        }

    def _state_changed(self, status: Status) -> None:
        if status.state is not State.STARTING:
            self.life.lanes.loop.call_soon_threadsafe(self._start_is_over.set)

    async def _answer(self, request: Request) -> None:
        try:
            self.guard.admit(request)
            await self._routed(request)(request)
        except UnansweredError as error:
            await self._refuse(request, error.reply)
        except CallError as error:
            await self._refuse(request, reply_to(error, request.path))
        except CallerLeftError:
            return
        except asyncio.CancelledError:  # the server's deadline is over, and this task ends here in any case
            if not request.has_begun:
                late = CallError(Fault.CANCELLED, "this worker had to stop before it could answer")
                await self._refuse(request, reply_to(late, request.path))

    def _routed(self, request: Request) -> Answering:
        if request.method == "OPTIONS":
            return self._options
        if request.path not in OPEN and not self.guard.knows(request):
            request.extra.append((b"www-authenticate", b"Bearer"))
            if request.path == "/" and _reads_pages(request):
                return self._locked_page
            raise CallError(Fault.UNAUTHORIZED, "send the token as `Authorization: Bearer …`")
        route = self._routes.get(request.path)
        if route is None:
            self.calls.endpoint(request.path[1:])  # raises, with a name that is near
            raise CallError(Fault.UNKNOWN_ENDPOINT, "there is nothing at this path")
        request.route = route.name
        if answering := route.of(request.method):
            return answering
        request.extra.append((b"allow", route.methods))
        raise CallError(Fault.WRONG_METHOD, f"{request.path[:60]} takes {route.methods.decode()}")

    # ---- endpoints

    async def _call_default(self, request: Request) -> None:
        await self._call(self.calls.endpoint(None), request)

    async def _call(self, endpoint: EndpointSpec, request: Request) -> None:
        name = new_id()
        self.calls.turn_away(endpoint, request=name)
        arguments = await self._arguments(endpoint, request)
        with Caller(request):
            if endpoint.streams:
                await self._stream(endpoint, arguments, request, name)
            else:
                answer = await self.calls.answer(endpoint, arguments, request=name)
                await self._send(answer, request, name)

    async def _arguments(self, endpoint: EndpointSpec, request: Request) -> dict[str, object]:
        said = request.text(b"content-type")
        kind = said.partition(";")[0].strip().lower()
        if request.headers.get(b"content-encoding", b"identity") != b"identity":
            raise CallError(Fault.WRONG_TYPE, "send the body as it is, without Content-Encoding")
        if kind == "multipart/form-data":
            from coldstart_sdk.serve import uploads  # noqa: PLC0415 - only a caller with a file pays for it

            return await uploads.arguments(said, self.bodies.chunks(request), endpoint)
        if kind == "application/json":
            body = await self.bodies.whole(request)
            if len(body) > _LARGE_BYTES:
                return await _aside(bodies.json_object, body)
            return bodies.json_object(body)
        if not said and not request.is_unread:
            return {}
        raise CallError(
            Fault.WRONG_TYPE,
            "send a JSON object as application/json, or files and fields as multipart/form-data",
        )

    async def _send(self, answer: Answer, request: Request, name: str) -> None:
        media = answer.media
        if media is not None and accept.wants_raw(request.text(b"accept"), media.type):
            await _send_raw(media, request, name)
        elif media is not None and len(media) > _LARGE_BYTES:
            body = await _aside(lambda: write({"result": answer.value}))
            await request.answer(200, body, JSON, _named(name))
        else:
            await request.answer(200, write({"result": answer.value}), JSON, _named(name))

    async def _stream(
        self, endpoint: EndpointSpec, arguments: Mapping[str, object], request: Request, name: str
    ) -> None:
        """Its status waits for the first chunk: until then there may still be an error to tell with one."""
        form = streams.form(request.text(b"accept"), None)
        chunks = self.calls.stream(endpoint, arguments, request=name)
        try:
            async with aclosing(chunks):
                async for answer in chunks:
                    if not request.has_begun:
                        form = streams.form(request.text(b"accept"), answer.media)
                        await _begin_stream(form, request, name)
                    await within(request.more(form.chunk(answer)), SEND_S)
        except UnansweredError as error:
            if not request.has_begun:
                raise
            if last := form.error(error.reply):
                await request.end(last)
        except streams.UnlikeError as unlike:
            self.life.steps.log().error("request %s was cut: %s", name, unlike)
        except OutOfTimeError:
            return  # nobody reads: the server closes the connection, since the answer is not whole
        else:
            if not request.has_begun:
                await _begin_stream(form, request, name)
            await request.end(form.end())

    # ---- about the worker

    async def _health(self, request: Request) -> None:
        await request.answer(200, b"ok\n", TEXT)

    async def _ready(self, request: Request) -> None:
        watches = request.query == b"watch"
        if watches and self.life.status.state is State.STARTING:
            with suppress(OutOfTimeError):
                await within(self._start_is_over.wait(), _WAIT_S)
        status, reading = self.life.status, self.witness.progress.read()
        is_ready = status.state is State.READY and not self.calls.gate.is_blocked
        said = readiness.answer(status, reading)
        if self.calls.gate.is_blocked:
            said["reason"] = "code that is past its time keeps every place; the log has its line"
        if not self.guard.knows(request):
            said = {"state": said["state"]}
        elif watches:
            said["version"] = self.life.plan.spec_digest
        retry: tuple[Header, ...] = ()
        if status.state is State.STARTING:
            retry = ((b"retry-after", b"%d" % readiness.retry_after_s(reading)),)
        await request.answer(200 if is_ready or watches else 503, write(said), JSON, *retry, _FRESH)

    async def _ping(self, request: Request) -> None:
        status = 503 if self.calls.gate.is_blocked else readiness.PING.get(self.life.status.state, 503)
        await request.answer(status, b"", TEXT, _FRESH)

    async def _metrics(self, request: Request) -> None:
        from coldstart_sdk.serve import gauges, metrics  # noqa: PLC0415 - only whoever asks pays for it

        read = partial(gauges.read, self.life, self.calls.gate, self.witness.journal)
        page = self.witness.metrics.render(await _aside(read))
        await request.answer(200, page.encode(), metrics.CONTENT_TYPE, _FRESH)

    async def _trace(self, request: Request) -> None:
        from coldstart_sdk.serve import traces  # noqa: PLC0415 - only whoever asks pays for it

        form = traces.form(request.query)
        body = await _aside(traces.spell, self.witness.journal.events, self.life.plan, form)
        await request.answer(200, body, traces.KINDS[form], _FRESH, *traces.HEADERS)

    async def _openapi(self, request: Request) -> None:
        from coldstart_sdk.serve import openapi  # noqa: PLC0415 - as above

        plan = self.life.plan
        document = openapi.describe(
            plan.spec, version=plan.spec_digest, needs_token=self.options.token is not None
        )
        await request.answer(200, write(document), JSON)

    async def _page(self, request: Request) -> None:
        from coldstart_sdk.serve import page  # noqa: PLC0415 - as above

        plan = self.life.plan
        html = page.render(plan.spec, plan.spec_digest, self.life.status, self.witness.progress.read())
        await request.answer(200, html.encode(), HTML, *page.headers())

    async def _locked_page(self, request: Request) -> None:
        """A 401 that a person can read, with a field for the token."""
        from coldstart_sdk.serve import page  # noqa: PLC0415 - as above

        await request.answer(401, page.render_locked(self.life.status).encode(), HTML, *page.headers())

    async def _options(self, request: Request) -> None:
        route = self._routes.get(request.path)
        allow = route.methods if route else b"OPTIONS"
        asked = b"access-control-request-method" in request.headers and request.extra
        await request.begin(204, ((b"allow", allow), *(guard.preflight() if asked else ())))
        await request.end()

    # ---- refusals

    async def _refuse(self, request: Request, reply: ErrorReply) -> None:
        """Say no, in the one shape; a body that nobody will read ends the connection."""
        said = reply.to_data()
        retry_s = reply.retry_after_s
        if reply.fault is Fault.NOT_READY:
            status, reading = self.life.status, self.witness.progress.read()
            if status.state is State.STARTING:
                said["error"] = {**_dict(said["error"]), **readiness.early(status, reading)}
                retry_s = readiness.retry_after_s(reading)
        headers = [(b"content-type", JSON), _named(reply.id)]
        if retry_s is not None:
            headers.append((b"retry-after", b"%d" % max(1, round(retry_s))))
        if request.is_unread or self.life.status.state not in {State.STARTING, State.READY}:
            headers.append((b"connection", b"close"))
        body = write(said)
        await request.begin(reply.fault.status, (*headers, (b"content-length", b"%d" % len(body))))
        if request.is_unread and request.method != "HEAD":
            await request.more(body)
            await _linger(request)
            await request.end()
        else:
            await request.end(body)


async def _aside(function: Callable[..., T], *given: object) -> T:
    """Do it where the loop does not wait for it."""
    return await asyncio.get_running_loop().run_in_executor(None, partial(function, *given))


def _reads_pages(request: Request) -> bool:
    return request.method in {"GET", "HEAD"} and accept.wants(request.text(b"accept"), "text/html")


_FRESH: Header = (b"cache-control", b"no-store")


def _named(name: str) -> Header:
    return b"x-request-id", name.encode()


def _dict(value: object) -> dict[str, object]:
    return value if isinstance(value, dict) else {}


async def _begin_stream(form: streams.Form, request: Request, name: str) -> None:
    headers = [(b"content-type", form.content_type), _FRESH, (b"x-accel-buffering", b"no"), _named(name)]
    if isinstance(form, streams.Raw):
        headers.extend(_as_bytes(form.content_type.decode()))
    await request.begin(200, headers)


def _as_bytes(kind: str) -> tuple[Header, ...]:
    """What keeps a browser from taking a result for a page of ours."""
    shown = () if not kind.startswith(_NOT_SHOWN) else ((b"content-disposition", b"attachment"),)
    return ((b"x-content-type-options", b"nosniff"), *shown)


async def _send_raw(media: Media, request: Request, name: str) -> None:
    """The bytes themselves; a large value goes from its file piece by piece."""
    headers = [
        (b"content-type", media.type.encode()),
        (b"content-length", b"%d" % len(media)),
        _named(name),
        *_as_bytes(media.type),
    ]
    await request.begin(200, headers)
    if len(media) <= IN_MEMORY_BYTES:
        await request.end(media.bytes)
        return
    try:
        with media.path.open("rb") as file:
            while chunk := await _aside(file.read, _LARGE_BYTES):
                await within(request.more(chunk), SEND_S)
    except OutOfTimeError:
        return  # as for a stream
    await request.end()


async def _linger(request: Request) -> None:
    """Read on for a moment, and throw it away: a peer that is still sending would not read the refusal."""
    if b"expect" in request.headers:
        return  # it waits for our word before it sends anything
    left_bytes = _LINGER_BYTES

    async def drop() -> None:
        nonlocal left_bytes
        while request.is_unread and left_bytes > 0:
            message = await request.receive()
            if message["type"] == "http.disconnect":
                return
            left_bytes -= len(message.get("body", b""))
            request.is_unread = message.get("more_body", False)

    try:
        await within(drop(), _LINGER_S)
    except OutOfTimeError:
        return


async def _live(receive: Receive, send: Send) -> None:
    """A server that asks whether we are up is told so: the lifecycle has its own beginning and end."""
    while True:
        message: Message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
