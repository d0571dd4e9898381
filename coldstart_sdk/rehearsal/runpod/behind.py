"""One worker behind RunPod's load balancer, which sends requests to nobody who is not ready.

It asks for `/ping`: 204 is starting, 200 is ready (docs, serverless/load-balancing/overview).
"""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from coldstart_sdk.backends.runpod.balanced import Balanced
from coldstart_sdk.backends.runpod.client import Client
from coldstart_sdk.backends.runpod.sample import READY
from coldstart_sdk.errors import PlatformError
from coldstart_sdk.events import now
from coldstart_sdk.rehearsal.runpod.jobs import KEY
from coldstart_sdk.rehearsal.runpod.process import Process
from coldstart_sdk.spec import Spec

_TICK_S = 0.05


class Behind:
    """What the load balancer and its callers do with one worker."""

    def __init__(self, spec: Spec) -> None:
        self._spec = spec
        with socket.create_server(("127.0.0.1", 0)) as free:
            self._port = free.getsockname()[1]
        url = f"http://127.0.0.1:{self._port}"
        self._endpoint = Balanced(Client(KEY, url), url)
        self.asked_s = now()

    def environment(self) -> dict[str, str]:
        port = str(self._port)
        return {"PORT": port, "PORT_HEALTH": port, "HEALTH_CHECK_PATH": "/ping"}

    def until_ready(self, worker: Process, limit_s: float) -> bool:
        """Whether it became ready; a `PlatformError` where it says that it never will."""
        ends = time.monotonic() + limit_s
        while worker.code is None and time.monotonic() < ends:
            if self._endpoint.is_ready():
                return True
            time.sleep(_TICK_S)
        return False

    def answer(self, given: Mapping[str, Any]) -> Any:  # noqa: ANN401 - plain JSON
        """The result, or the chunks of a stream."""
        if given == READY:
            return {"state": "ready"}  # it has said 200
        name = given.get("endpoint")
        endpoint = self._spec.endpoint(str(name)) if name else self._spec.default_endpoint
        arguments = {argument: value for argument, value in given.items() if argument != "endpoint"}
        said = list(self._endpoint.call(endpoint.method if endpoint else None, arguments))
        return said if endpoint and endpoint.streams else next(iter(said), None)

    def trace(self) -> str | None:
        with suppress(PlatformError):
            told = self._endpoint.trace()
            return json.dumps(told) if told else None
        return None
