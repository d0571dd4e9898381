"""From Modal's event loop to ours and back.

Modal runs its loop only while an input is being answered; background hooks and timeouts need one that runs
always. Requests therefore cross over, each with its cancellation.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from typing import Any, TypeVar

from coldstart_sdk.lanes import Lanes
from coldstart_sdk.serve.asgi import Receive, Scope, Send

T = TypeVar("T")
Asgi = Callable[[Scope, Receive, Send], Awaitable[None]]
_END = object()


async def across(lanes: Lanes, awaitable: Awaitable[T]) -> T:
    """Await it on our loop."""

    async def there() -> T:
        return await awaitable

    return await asyncio.wrap_future(lanes.run_async(there()))


async def stream_across(lanes: Lanes, chunks: AsyncGenerator[T, None]) -> AsyncIterator[T]:
    """Each chunk, as it comes on our loop; its end, early or not, happens there too."""

    async def pull() -> Any:  # noqa: ANN401 - a chunk or the end
        return await anext(chunks, _END)

    try:
        while (chunk := await across(lanes, pull())) is not _END:
            yield chunk
    finally:
        await across(lanes, chunks.aclose())


class Bridge:
    """An ASGI app that lives on our loop, as Modal wants to call it."""

    def __init__(self, app: Asgi, lanes: Lanes) -> None:
        self._app = app
        self._lanes = lanes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        theirs = asyncio.get_running_loop()

        async def receive_there() -> Any:  # noqa: ANN401 - a message
            return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(_call(receive), theirs))

        async def send_there(message: Any) -> None:  # noqa: ANN401 - a message
            await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(_call(send, message), theirs))

        await across(self._lanes, self._app(scope, receive_there, send_there))


async def _call(function: Callable[..., Awaitable[T]], *given: object) -> T:
    return await function(*given)
