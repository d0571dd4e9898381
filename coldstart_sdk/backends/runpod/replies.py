"""What leaves a job as its output: fit for the wire, within the platform's limits, and mistaken for nothing.

RunPod's worker loses what JSON cannot hold, takes a key called `error` for a failure, and drops an empty
object. Errors go out as the JSON text of `{"type", "message", "id"}`; what is behind them stays in the log.
"""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias

from coldstart_sdk.backends.runpod.capabilities import CAPABILITIES
from coldstart_sdk.errors import Problem
from coldstart_sdk.redact import redact
from coldstart_sdk.wire.errors import CallError, ErrorReply, Fault
from coldstart_sdk.wire.results import Answer

Keep: TypeAlias = Callable[[bytes, str], str]
"""Puts bytes of that type where callers can fetch them, and gives their URL."""

RESULT_BYTES = CAPABILITIES.response_limit_bytes or 0
CHUNK_BYTES = CAPABILITIES.chunk_limit_bytes or 0
_AROUND_BYTES = 1024
"""What the platform's own keys around an output may take."""
_MEANT_FOR_RUNPOD = {"error", "refresh_worker"}


def result(answer: Answer, keep: Keep | None) -> Any:  # noqa: ANN401 - plain JSON has no closer type
    """A job's whole output."""
    return _within(answer.value, RESULT_BYTES, "an answer", keep)


def chunks(answer: Answer, keep: Keep | None) -> tuple[Any, ...]:
    """One chunk of a stream; text that is too long for one goes out as several."""
    value = answer.value
    return (
        tuple(_pieces(value)) if isinstance(value, str) else (_within(value, CHUNK_BYTES, "a chunk", keep),)
    )


class Whole:
    """What a stream's chunks make together: RunPod's worker posts it as one output, so it must fit too."""

    def __init__(self) -> None:
        self._bytes = _AROUND_BYTES

    def add(self, chunk: object) -> None:
        self._bytes += len(json.dumps(chunk, ensure_ascii=False).encode()) + 2
        if self._bytes > RESULT_BYTES:
            raise CallError(
                Fault.TOO_LARGE,
                f"the chunks of this stream are together more than the {RESULT_BYTES} bytes that RunPod "
                "carries as one output",
            )


def error(reply: ErrorReply) -> dict[str, str]:
    """A failed job's output."""
    said: Any = reply.to_data()["error"]
    return {"error": json.dumps(said)}


def not_started(problem: Problem, request: str) -> dict[str, str]:
    """The output of a job that met a worker which could not start: the reason, and the mend."""
    said = {
        "type": Fault.NOT_READY.value,
        "message": redact(f"this worker could not start: {problem.message}"),
        "fix": redact(problem.fix),
        "id": request,
    }
    return {"error": json.dumps(said)}


def _within(value: object, limit: int, what: str, keep: Keep | None) -> object:
    written = json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    if len(written) + _AROUND_BYTES <= limit:
        return _unmistakable(value)
    if keep is None:
        raise CallError(
            Fault.TOO_LARGE,
            f"{what} of {len(written)} bytes is more than the {limit} that RunPod carries; with results= or "
            "store= on S3 it would go there, and its URL to the caller",
        )
    if isinstance(value, Mapping) and "base64" in value:
        kind = str(value["type"])
        return {"url": keep(base64.b64decode(value["base64"]), kind), "type": kind}
    return {"url": keep(written, "application/json"), "type": "application/json"}


def _unmistakable(value: object) -> object:
    if isinstance(value, dict) and (not value or not _MEANT_FOR_RUNPOD.isdisjoint(value)):
        return {"result": value}
    return value


def _pieces(text: str) -> Iterator[str]:
    if len(text) * 6 + _AROUND_BYTES <= CHUNK_BYTES:  # whatever its letters are
        yield text
        return
    step = (CHUNK_BYTES - _AROUND_BYTES) // 6
    for start in range(0, len(text), step):
        yield text[start : start + step]


class Kept:
    """Keeps large results on S3, and signs a URL for each; boto3 is loaded with the first."""

    FOR_S = 24 * 3600
    """How long a URL is good for: longer than the platform keeps the job."""

    def __init__(self, address: str) -> None:
        bucket, _, prefix = address.removeprefix("s3://").partition("/")
        self._bucket = bucket
        self._prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
        self._client: Any = None
        self._lock = threading.Lock()

    def __call__(self, content: bytes, kind: str) -> str:
        import secrets  # noqa: PLC0415 - only a large result needs a name

        client = self._connected()
        key = f"{self._prefix}{secrets.token_urlsafe(24)}"
        client.put_object(Bucket=self._bucket, Key=key, Body=content, ContentType=kind)
        return str(
            client.generate_presigned_url(
                "get_object", Params={"Bucket": self._bucket, "Key": key}, ExpiresIn=self.FOR_S
            )
        )

    def _connected(self) -> Any:  # noqa: ANN401 - a client of a library that ships no types
        with self._lock:
            if self._client is None:
                import boto3  # noqa: PLC0415 - heavy, and only a large result needs it

                self._client = boto3.session.Session().client("s3")
            return self._client


def keeper(results: str | None, store: str | None) -> Keep | None:
    """Where large results of this plan go; None: nowhere."""
    if results and results.startswith("s3://"):
        return Kept(results)
    if store and store.startswith("s3://"):
        return Kept(f"{store.rstrip('/')}/.coldstart/results")  # below a store we write only there
    return None
