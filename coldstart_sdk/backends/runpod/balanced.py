"""An endpoint behind RunPod's load balancer, as its callers have it: our own HTTP app, and no queue."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

from coldstart_sdk.backends.runpod import limits
from coldstart_sdk.backends.runpod.client import Client, Reply
from coldstart_sdk.errors import PlatformError
from coldstart_sdk.redact import redact, safe_url

ANSWER_S = 330.0
"""As long as the load balancer lets a request run (docs, serverless/load-balancing/overview)."""
PING_S = 10.0


class Balanced:
    """One endpoint."""

    def __init__(self, client: Client, base: str) -> None:
        self._client = client
        self._base = base.rstrip("/")

    def is_ready(self) -> bool:
        """Whether a worker has said 200; one that says that it never will is an error."""
        try:
            reply = self._client.reply("GET", f"{self._base}/ping", limit_s=PING_S)
        except PlatformError:  # nobody is there yet
            return False
        said = _error_of(reply)
        if (said.get("type") == "not_ready" and "fix" in said) or reply.status in _KEY:
            raise self._refused(reply, "/ping")
        return reply.status == HTTPStatus.OK

    def call(self, endpoint: str | None, arguments: Mapping[str, Any]) -> Iterator[Any]:
        """The result, or a stream's chunks."""
        limits.refuse_large(arguments, http=True)
        path = f"/{quote(endpoint or '')}"
        reply = self._client.reply("POST", f"{self._base}{path}", arguments, limit_s=ANSWER_S)
        if reply.status != HTTPStatus.OK:
            raise self._refused(reply, path)
        for said in reply.lines():
            if not isinstance(said, Mapping):
                continue
            if "error" in said:
                raise self._refused(reply, path, said["error"])
            yield said["chunk"] if "chunk" in said else said.get("result")

    def trace(self) -> Any:  # noqa: ANN401 - plain JSON
        """How the worker started; None where nobody tells."""
        reply = self._client.reply("GET", f"{self._base}/trace", limit_s=PING_S)
        return next(reply.lines(), None) if reply.status == HTTPStatus.OK else None

    def _refused(self, reply: Reply, path: str, said: Mapping[str, Any] | None = None) -> PlatformError:
        error = said or _error_of(reply)
        message = f"the endpoint answered {reply.status}" + (
            f": {error['message']}" if "message" in error else ""
        )
        by_status = _KEY.get(reply.status, "Look at what its workers said: coldstart logs.")
        return PlatformError(
            redact(message), fix=str(error.get("fix") or by_status), where=safe_url(f"{self._base}{path}")
        )


_KEY: Mapping[int, str] = {
    HTTPStatus.UNAUTHORIZED: "Set RUNPOD_API_KEY to a key that may call this endpoint.",
    HTTPStatus.FORBIDDEN: "Set RUNPOD_API_KEY to a key that may call this endpoint.",
}


def _error_of(reply: Reply) -> Mapping[str, Any]:
    """Our own app's error; empty where the load balancer spoke for itself."""
    try:
        said = json.loads(reply.content)["error"]
    except (ValueError, KeyError, TypeError):
        return {}
    return said if isinstance(said, Mapping) else {}
