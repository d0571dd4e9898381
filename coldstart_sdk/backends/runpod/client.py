"""RunPod's REST v2, as far as we use it: one request at a time, every refusal in a person's words.

Standard library only. What the platform says is kept as it came; the few fields that we look at are read
where they are needed. A key never stands in a message.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from http.client import HTTPException
from typing import Any
from urllib import error, request
from urllib.parse import urlsplit

from coldstart_sdk.errors import PlatformError
from coldstart_sdk.redact import redact, safe_url

BASE = "https://api.runpod.io"
_TRIES = 4
_LONGEST_WAIT_S = 30.0
_TIMEOUT_S = 60.0
_MENDS = {
    400: "Change what it names in the declaration or in overrides={'runpod': …}.",
    401: "Set RUNPOD_API_KEY to a key of your account: https://console.runpod.io/user/settings",
    403: "Give that key the scope for serverless endpoints, or take another one.",
    404: "Look at what there is: coldstart status.",
    422: "Change what it names in the declaration or in overrides={'runpod': …}.",
    429: "Wait a minute, then try again.",
}


@dataclass(frozen=True, kw_only=True)
class Answered:
    """One answer: its status, and its JSON where there is any."""

    status: int
    body: Any


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What an endpoint of ours said, whatever its status."""

    status: int
    content: bytes

    def lines(self) -> Iterator[Any]:
        """One object, or one on each line; nothing that is no JSON."""
        with suppress(ValueError):
            yield json.loads(self.content)
            return
        for line in self.content.splitlines():
            with suppress(ValueError):
                yield json.loads(line)


class Client:
    """The control plane, and the callers' side of an endpoint, with one key."""

    def __init__(self, key: str, base: str = BASE) -> None:
        self._key = key
        self._base = base.rstrip("/")

    @classmethod
    def of_environment(cls) -> Client:
        key = os.environ.get("RUNPOD_API_KEY", "").strip()
        if not key:
            raise PlatformError("RUNPOD_API_KEY is not set", fix=_MENDS[401])
        return cls(key, os.environ.get("RUNPOD_API_BASE_URL") or BASE)

    def get(self, path: str) -> Any:  # noqa: ANN401 - plain JSON
        return self._asked("GET", path).body

    def find(self, path: str) -> Any:  # noqa: ANN401 - as above
        """What is there, or None."""
        answered = self._asked("GET", path, allowed=(HTTPStatus.NOT_FOUND,))
        return None if answered.status == HTTPStatus.NOT_FOUND else answered.body

    def post(self, path: str, body: Mapping[str, Any]) -> Any:  # noqa: ANN401 - as above
        return self._asked("POST", path, body).body

    def patch(self, path: str, body: Mapping[str, Any]) -> Any:  # noqa: ANN401 - as above
        return self._asked("PATCH", path, body).body

    def delete(self, path: str) -> None:
        """Gone afterwards, whether or not it was there."""
        self._asked("DELETE", path, allowed=(HTTPStatus.NOT_FOUND,))

    def reply(self, method: str, url: str, body: Mapping[str, Any] | None = None, *, limit_s: float) -> Reply:
        """Of a worker, asked once: what it refuses is its own business to explain."""
        try:
            with self._open(method, url, body, {}, limit_s) as answer:
                return Reply(status=answer.status, content=answer.read())
        except error.HTTPError as refused:
            with refused:
                return Reply(status=refused.code, content=refused.read())
        except HTTPException as cut:
            raise PlatformError(
                "the answer broke off",
                fix="Look at what its workers said: coldstart logs.",
                where=safe_url(url),
            ) from cut
        except (error.URLError, TimeoutError, ConnectionError) as lost:
            raise _unreachable(lost, url) from lost

    def lines(self, path: str, last: str, *, quiet_s: float) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """Server-sent events of a log as they come, each with where to go on from; until it falls quiet."""
        headers = {"Accept": "text/event-stream", **({"Last-Event-ID": last} if last else {})}
        try:
            with self._open("GET", path, None, headers, quiet_s) as stream:
                at = last
                for raw in stream:
                    name, _, value = raw.decode("utf-8", "replace").rstrip("\r\n").partition(":")
                    if name == "id":
                        at = value.strip()
                    elif name == "data":
                        yield at, json.loads(value)
        except error.HTTPError as refused:
            with refused:
                raise _refused(refused, "GET", self._url(path)) from None
        except TimeoutError:
            return
        except (error.URLError, ConnectionError) as lost:
            raise _unreachable(lost, self._url(path)) from lost

    def _asked(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, *, allowed: tuple[int, ...] = ()
    ) -> Answered:
        """The answer; asked again where the platform says when, and where nothing can have happened yet."""
        for tried in range(1, _TRIES):
            answered = self._tried(method, path, body, allowed, again=tried)
            if answered is not None:
                return answered
        last = self._tried(method, path, body, allowed, again=None)
        assert last is not None  # noqa: S101 - the last try answers or raises
        return last

    def _tried(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None,
        allowed: tuple[int, ...],
        *,
        again: int | None,
    ) -> Answered | None:
        """One try; None after a wait, where another one is worth while and `again` counts it."""
        try:
            with self._open(method, path, body, {}, _TIMEOUT_S) as answer:
                content = answer.read()
                return Answered(status=answer.status, body=json.loads(content) if content else None)
        except error.HTTPError as refused:
            with refused:
                if refused.code in allowed:
                    return Answered(status=refused.code, body=None)
                if again is None or not _may_ask_again(method, refused.code):
                    raise _refused(refused, method, self._url(path)) from None
                time.sleep(_wait_s(refused.headers.get("Retry-After"), again))
        except (error.URLError, TimeoutError, ConnectionError) as lost:
            if again is None or method != "GET":
                raise _unreachable(lost, self._url(path)) from lost
            time.sleep(_wait_s(None, again))
        return None

    def _open(
        self, method: str, path: str, body: Mapping[str, Any] | None, more: Mapping[str, str], limit_s: float
    ) -> Any:  # noqa: ANN401 - the library's response has no public type
        data = None if body is None else json.dumps(body).encode()
        asked = request.Request(  # noqa: S310 - our own base, or one that the user set
            self._url(path),
            data=data,
            method=method,
            headers={
                "Authorization": f"Bearer {self._key}",
                "Content-Type": "application/json",
                "User-Agent": "coldstart",
                **more,
            },
        )
        return request.urlopen(asked, timeout=limit_s)  # noqa: S310 - as above

    def _url(self, path: str) -> str:
        return path if urlsplit(path).scheme else f"{self._base}{path}"


def _may_ask_again(method: str, status: int) -> bool:
    """429 and 503 are said before anything is done; after another failure only reading is safe."""
    return status in {429, 503} or (status >= 500 and method == "GET")  # noqa: PLR2004 - the server's own


def _wait_s(told: str | None, tried: int) -> float:
    try:
        wanted = float(told) if told else 0.5 * 2**tried
    except ValueError:
        wanted = 0.5 * 2**tried
    return min(_LONGEST_WAIT_S, max(0.0, wanted))


def _refused(refused: error.HTTPError, method: str, url: str) -> PlatformError:
    """A problem of RFC 9457, of which the deepest complaint says the most."""
    try:
        problem = json.loads(refused.read())
        said = _deepest(problem.get("errors")) or problem.get("detail") or problem.get("title") or ""
    except (ValueError, AttributeError):
        said = ""
    return PlatformError(
        redact(f"RunPod answered {refused.code}" + (f": {said}" if said else "")),
        fix=_MENDS.get(refused.code, "Try again; if it stays, look at https://uptime.runpod.io"),
        where=f"{method} {safe_url(url)}",
    )


def _deepest(errors: object) -> str | None:
    """Of several complaints about one body the longest path; the others often only follow from it."""
    said = [str(item) for item in errors] if isinstance(errors, list) else []
    return max(said, key=lambda item: (item.partition(":")[0].count("."), len(item))) if said else None


def _unreachable(lost: Exception, url: str) -> PlatformError:
    return PlatformError(
        redact(f"RunPod cannot be reached: {getattr(lost, 'reason', None) or lost}"),
        fix="Look at the network, and at RUNPOD_API_BASE_URL if it is set.",
        where=safe_url(url),
    )
