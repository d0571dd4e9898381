"""Notice that a caller has left, and end what runs for nobody."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import TYPE_CHECKING

from coldstart_sdk.serve.asgi import Request

if TYPE_CHECKING:
    from typing_extensions import Self

SOON_S = 0.02
"""A request that is over by then is never asked whether its caller is still there: that costs a task."""


class Caller:
    """Cancels the task that it is entered in, once the caller is gone."""

    def __init__(self, request: Request) -> None:
        self.has_left = False
        self._request = request
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.current_task()
        self._watch: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    def __enter__(self) -> Self:
        self._timer = self._loop.call_later(SOON_S, self._begin)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, raised: BaseException | None, trace: TracebackType | None
    ) -> bool:
        """What was cancelled because nobody listens is over, not failed."""
        if self._timer:
            self._timer.cancel()
        if self._watch:
            self._watch.cancel()
        return self.has_left and kind is asyncio.CancelledError

    def _begin(self) -> None:
        self._watch = self._loop.create_task(self._until_gone())

    async def _until_gone(self) -> None:
        while (await self._request.receive())["type"] != "http.disconnect":
            pass
        self.has_left = True
        if self._task:
            self._task.cancel()
