"""Call a deployed class through Modal's own client, in a process of its own: JSON in, JSON lines out.

Modal's client starts threads and reads its settings once; a process keeps both away from whoever calls.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any

from coldstart_sdk.errors import ColdstartError, LifecycleError, PlatformError, UsageError
from coldstart_sdk.frozen import dataclass


@dataclass(frozen=True, kw_only=True)
class Target:
    """One method of one deployed class."""

    app: str
    name: str
    """Of the class."""
    method: str
    streams: bool


def call(target: Target, arguments: Mapping[str, Any], env: Mapping[str, str] | None = None) -> Iterator[Any]:
    """What the method returns, or each chunk of what it yields."""
    return _ask("call", {"target": vars(target), "arguments": dict(arguments)}, env)


def invoke(app: str, name: str, endpoint: str | None, arguments: Mapping[str, Any]) -> Iterator[Any]:
    """What an endpoint returns, or each chunk of its stream; without a name the default one."""
    target = Target(app=app, name=name, method="coldstart_invoke", streams=True)
    for said in call(target, {"endpoint": endpoint, "arguments": dict(arguments)}):
        yield said["result"] if "result" in said else said["chunk"]


def url(app: str, name: str, *, http: bool) -> str:
    """Where its HTTP app answers."""
    return str(next(_ask("url", {"app": app, "name": name, "method": _http(http=http)})))


def first(app: str, name: str, *, http: bool, asked: Mapping[str, Any] | None) -> dict[str, Any]:
    """`url`, `trace`, and for the arguments of `coldstart_invoke` also the `chunks` or what was `refused`."""
    given = {"app": app, "name": name, "method": _http(http=http), "asked": asked}
    told: dict[str, Any] = next(_ask("first", given))
    return told


def _http(*, http: bool) -> str:
    return "http" if http else "coldstart_http"


def scale(app: str, name: str, *, least: int, most: int) -> None:
    for _ in _ask("scale", {"app": app, "name": name, "least": least, "most": most}):
        pass  # there is nothing to hear but a refusal


def _ask(what: str, given: Mapping[str, Any], env: Mapping[str, str] | None = None) -> Iterator[Any]:
    with subprocess.Popen(
        [sys.executable, "-m", "coldstart_sdk.backends.modal.call"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=dict(env) if env else None,
    ) as process:
        assert process.stdin and process.stdout and process.stderr  # noqa: PT018, S101 - all three are pipes
        process.stdin.write(json.dumps({"what": what, **given}))
        process.stdin.close()
        has_ended = False
        for line in process.stdout:
            said = json.loads(line)
            if "failed" in said:
                raise _refusal(said["failed"], said["kind"])
            has_ended = "ended" in said
            if "value" in said:
                yield said["value"]
        if process.wait() or not has_ended:
            raise PlatformError(
                f"Modal's client ended with {process.returncode}: {process.stderr.read().strip()[-300:]}",
                fix="Try again; `modal app list` says whether the app is there.",
            )


def _refusal(text: str, kind: str) -> ColdstartError:
    """The worker's own words, where these are; otherwise Modal's."""
    with suppress(ValueError, KeyError, TypeError):
        error = json.loads(text)["error"]
        said = f"{error['type']}: {error['message']}"
        if kind == "ValueError":
            return UsageError(said, fix="Call again with what it takes.")
        return LifecycleError(said, fix=f"The worker's log knows more under {error['id']}.")
    message, _, rest = text.partition("\n")
    where, _, fix = (
        rest.partition("\nfix: ") if rest.startswith("at: ") else ("", "", rest.removeprefix("fix: "))
    )
    if fix and kind == "RuntimeError":
        return LifecycleError(message, fix=fix, where=where.removeprefix("at: ") or None)
    mend = "Deploy it: coldstart deploy FILE --target modal" if kind == "NotFoundError" else "See its log."
    return PlatformError(f"{kind}: {message}", fix=mend)


def main() -> None:
    """Answer what stands on standard input."""
    asked = json.loads(sys.stdin.read())
    out = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what the client prints is no answer
    try:
        for value in _VERBS[asked.pop("what")](**asked):
            out.write(json.dumps({"value": value}) + "\n")
        out.write(json.dumps({"ended": True}) + "\n")
    except Exception as raised:  # noqa: BLE001 - whatever the call raised is what is told
        text = str(raised.args[0]) if raised.args else str(raised)
        out.write(json.dumps({"failed": text, "kind": type(raised).__name__}) + "\n")


def _instance(app: str, name: str) -> Any:  # noqa: ANN401 - Modal's
    import modal  # noqa: PLC0415 - this process is for nothing else

    return modal.Cls.from_name(app, name)()


def _call(target: Mapping[str, Any], arguments: Mapping[str, Any]) -> Iterator[Any]:
    method = getattr(_instance(target["app"], target["name"]), target["method"])
    if target["streams"]:
        yield from method.remote_gen(**arguments)
    else:
        yield method.remote(**arguments)


def _url(app: str, name: str, method: str) -> Iterator[Any]:
    yield getattr(_instance(app, name), method).get_web_url()


def _first(app: str, name: str, method: str, asked: Mapping[str, Any] | None) -> Iterator[Any]:
    instance = _instance(app, name)
    told: dict[str, Any] = {"url": getattr(instance, method).get_web_url()}
    if asked:
        began_s = time.monotonic()
        try:
            told["chunks"] = sum(1 for _ in instance.coldstart_invoke.remote_gen(**asked))
        except ValueError as refused:  # what the worker says of arguments that it does not take
            told["refused"] = json.loads(str(refused))["error"]["message"]
        told["answered_s"] = round(time.monotonic() - began_s, 3)
    yield {**told, "trace": instance.trace.remote()}


def _scale(app: str, name: str, least: int, most: int) -> Iterator[Any]:
    _instance(app, name).update_autoscaler(min_containers=least, max_containers=most)
    yield from ()


_VERBS: Mapping[str, Callable[..., Iterator[Any]]] = {
    "call": _call,
    "first": _first,
    "scale": _scale,
    "url": _url,
}


if __name__ == "__main__":
    main()
