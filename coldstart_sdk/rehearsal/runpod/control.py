"""RunPod's control plane on loopback, REST v2: endpoints, workers, releases, logs, volumes; some GraphQL.

Made from RunPod's REST v2 specification 2.0.0, and from what its server refuses beyond that (migration notes,
2026-08-18). `check` sees every body, and may raise ValueError: a test gives it the specification's schemas.
GraphQL knows three requests, made from the `runpod` package 2.0.0rc2 (its list of secrets) and from runpodctl
2.4 (models of an endpoint, and saving one, which resets whatever is left out).
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from coldstart_sdk.backends.runpod.capabilities import CAPABILITIES
from coldstart_sdk.rehearsal.link import Link
from coldstart_sdk.rehearsal.runpod.jobs import ENDPOINT, Jobs
from coldstart_sdk.rehearsal.serving import Handler, Server

if TYPE_CHECKING:
    from typing_extensions import Self

AT = "2026-08-20T00:00:00Z"
"""One moment for everything: time does not pass here."""
_FIELD = {"image": "template.imageName", "env": "template.env", "args": "template.dockerArgs"}


@dataclass(frozen=True, kw_only=True)
class Asked:
    """One request, and what was answered."""

    method: str
    path: str
    body: Any
    authorization: str
    status: int
    answer: Any


class RefusedError(Exception):
    """The platform says no."""

    def __init__(
        self,
        status: int,
        detail: str,
        errors: tuple[str, ...] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.errors = errors
        self.headers = headers or {}


class Control:
    """A context manager; the requests of its one endpoint go to `jobs`."""

    def __init__(
        self,
        jobs: Jobs,
        *,
        check: Callable[[str, Any], None] | None = None,
        released: Callable[[Mapping[str, Any]], None] | None = None,
    ) -> None:
        self.jobs = jobs
        self.asked: list[Asked] = []
        self.endpoints: dict[str, dict[str, Any]] = {}
        self.releases: dict[str, list[dict[str, Any]]] = {}
        self.volumes: dict[str, dict[str, Any]] = {}
        self.workers: list[dict[str, Any]] = []
        self.log: list[str] = []
        self.secrets: set[str] = set()
        self.has_no_graph = False
        self.is_out_of_stock = False
        self.balanced = ""
        """Where the worker of a load-balanced endpoint listens; empty: nowhere."""
        self.models: dict[str, list[str]] = {}
        """References of cached models, by endpoint."""
        self.refusals: list[tuple[int, Mapping[str, str]]] = []
        """Statuses, with headers, for the requests to come."""
        self._check = check or (lambda *_: None)
        self._released = released or (lambda _: None)
        self._lock = threading.Lock()
        self._server: _ControlServer | None = None

    def __enter__(self) -> Self:
        self._server = _ControlServer(self)
        self._server.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, raised: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server:
            self._server.close()

    @property
    def address(self) -> str:
        if self._server is None:
            raise RuntimeError("the control plane runs only inside its `with` block")
        return self._server.address

    def changes(self) -> list[str]:
        """What was asked that changes something."""
        return [
            f"{asked.method} {asked.path}"
            for asked in self.asked
            if asked.method != "GET"
            and not (asked.path == "/graphql" and "mutation" not in asked.body["query"])
        ]

    def note(self, asked: Asked) -> None:
        with self._lock:
            self.asked.append(asked)

    def refuse_if_told(self) -> Mapping[str, str]:
        """The headers of the answer; or no answer, as a test wants it."""
        with self._lock:
            if not self.refusals:
                return {}
            status, headers = self.refusals.pop(0)
        raise RefusedError(status, "not now", headers=headers)

    # ---- routes

    def create(self, body: dict[str, Any]) -> dict[str, Any]:
        self._valid("CreateEndpointRequest", body)
        _refuse_what_the_schema_lets_pass(body)
        if self.is_out_of_stock:
            raise RefusedError(
                400, "There are no longer any instances available with the requested specifications"
            )
        if self.endpoints:
            raise RefusedError(429, "this double has room for one endpoint")
        made = {
            "id": ENDPOINT,
            "dataCenterIds": [],
            "networkVolumes": [],
            "flashboot": "OFF",
            "timeout": 0,  # what was seen when it is left out, whatever the specification says
            "createdAt": AT,
            "requestUrls": self._urls(body["type"]),
            **_as_read(body),
        }
        self.endpoints[ENDPOINT] = made
        self.releases[ENDPOINT] = [_release(1, {}, made)]
        self._released(made)
        return made

    def update(self, name: str, body: dict[str, Any]) -> dict[str, Any]:
        self._valid("UpdateEndpointRequest", body)
        live = self._endpoint(name)
        merged = {**live, **_as_read(body, live)}
        _refuse_what_the_schema_lets_pass(merged)
        version = self.releases[name][0]["version"] + 1
        if any(live.get(field) != merged.get(field) for field in ("image", "env", "args", "disk", "gpu")):
            self.releases[name].insert(0, _release(version, live, merged))
        rolls = live.get("image") != merged.get("image")
        self.endpoints[name] = merged
        if rolls:
            self._released(merged)
        return merged

    def delete(self, name: str) -> None:
        self._endpoint(name)
        del self.endpoints[name]

    def make_volume(self, body: dict[str, Any]) -> dict[str, Any]:
        self._valid("CreateNetworkVolumeRequest", body)
        made = {"type": "STANDARD", **body, "id": f"vol{len(self.volumes) + 1}"}
        self.volumes[made["id"]] = made
        return made

    def listed_workers(self, name: str) -> dict[str, Any]:
        self._endpoint(name)
        states = [worker["status"] for worker in self.workers]
        kinds = ("running", "idle", "initializing", "throttled", "unhealthy")
        summary = {kind: states.count(kind.upper()) for kind in kinds}
        return {"workers": self.workers, "summary": summary | {"total": len(states)}}

    def listed_releases(self, name: str) -> dict[str, Any]:
        self._endpoint(name)
        known = self.releases[name]
        count = len(self.workers)
        return {
            "endpointVersion": known[0]["version"],
            "rollout": {
                "inProgress": False,
                "workersOnLatest": count,
                "workersTotal": count,
                "percentOnLatest": 100 if count else 0,
            },
            "releases": known,
        }

    def graph(self, body: Any) -> dict[str, Any]:  # noqa: ANN401 - plain JSON
        """One GraphQL request."""
        if self.has_no_graph:
            raise RefusedError(403, "this key is for REST alone")
        query = body["query"]
        if "secrets" in query:
            named = [{"id": name, "name": name} for name in sorted(self.secrets)]
            return {"data": {"myself": {"secrets": named}}}
        if "endpoints" in query:
            return {"data": {"myself": {"endpoints": [self._in_graph(name) for name in self.endpoints]}}}
        return {"data": {"saveEndpoint": self._saved(body["variables"]["input"])}}

    def _in_graph(self, name: str) -> dict[str, Any]:
        """An endpoint as GraphQL reads it."""
        live = self.endpoints[name]
        gpu = live.get("gpu") or {"pools": [], "count": 0}
        excluded = [f"-{each}" for each in gpu.get("excludedTypes") or ()]
        return {
            "id": name,
            "name": live["name"],
            "gpuIds": ",".join((*gpu["pools"], *excluded)),
            "gpuCount": gpu["count"],
            "workersMin": live["workers"]["min"],
            "workersMax": live["workers"]["max"],
            "idleTimeout": live["workers"].get("idleTimeout"),
            "scalerType": live["scaling"]["type"],
            "scalerValue": live["scaling"].get("queueDelay") or live["scaling"].get("requestCount"),
            "executionTimeoutMs": live["timeout"],
            "networkVolumeIds": [
                {"networkVolumeId": each, "dataCenterId": self.volumes[each]["dataCenter"]}
                for each in live["networkVolumes"]
            ],
            "modelReferences": self.models.get(name, []),
        }

    def _saved(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """What is left out is reset to a default, as RunPod has measured of its own server."""
        name = given["id"]
        live = self._endpoint(name)
        live["workers"] = {
            "min": given.get("workersMin", 0),
            "max": given.get("workersMax", 3),
            "idleTimeout": given.get("idleTimeout", 10),
        }
        value = given.get("scalerValue", 4)
        live["scaling"] = {"type": given.get("scalerType", "QUEUE_DELAY"), "queueDelay": value}
        live["timeout"] = given.get("executionTimeoutMs", 0)
        volumes = given.get("networkVolumeIds", [])
        if any(set(each) != {"networkVolumeId"} for each in volumes):
            raise RefusedError(400, "networkVolumeIds holds a field that cannot be written")
        live["networkVolumes"] = [each["networkVolumeId"] for each in volumes]
        self.models[name] = list(given.get("modelReferences", self.models.get(name, [])))
        return {"id": name, "modelReferences": self.models[name]}

    def _endpoint(self, name: str) -> dict[str, Any]:
        if name not in self.endpoints:
            raise RefusedError(404, "endpoint not found")
        return self.endpoints[name]

    def _valid(self, kind: str, body: object) -> None:
        try:
            self._check(kind, body)
        except ValueError as misfit:
            raise RefusedError(422, "the body does not fit", (str(misfit),)) from misfit

    def _urls(self, kind: str) -> dict[str, str]:
        base = f"{self.jobs.address}/v2/{ENDPOINT}"
        if kind == "LOAD_BALANCER":
            base = self.balanced or base
            return {"base": base, "health": f"{base}/ping"}
        plain = {"run": "run", "runSync": "runsync", "purgeQueue": "purge-queue", "health": "health"}
        of_job = ("status", "stream", "cancel", "retry")
        return {name: f"{base}/{route}" for name, route in plain.items()} | {
            name: f"{base}/{name}/{{job_id}}" for name in of_job
        }


class _ControlServer(Server):
    def __init__(self, control: Control) -> None:
        super().__init__("127.0.0.1", _ControlHandler, link=Link())
        self.control = control


class _ControlHandler(Handler):
    def do_PATCH(self) -> None:  # noqa: N802 - the standard library's name
        self._handle()

    def do_DELETE(self) -> None:  # noqa: N802 - as above
        self._handle()

    def answer(self) -> None:
        server = self.server
        if not isinstance(server, _ControlServer):  # pragma: no cover - only ever built with one
            raise TypeError("a control handler needs a control server")
        self._control = server.control
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length)) if length else None
        path = urlsplit(self.path).path
        headers: Mapping[str, str] = {}
        try:
            headers = self._control.refuse_if_told()
            if path == "/graphql":
                status, said = 200, self._control.graph(body)
            else:
                status, said = self._route(path.strip("/").split("/")[1:], body)
        except RefusedError as refused:
            status, headers = refused.status, refused.headers
            said = {"title": "Refused", "status": status, "detail": refused.detail}
            if refused.errors:
                said["errors"] = list(refused.errors)
        self._control.note(
            Asked(
                method=self.command,
                path=path,
                body=body,
                authorization=self.headers.get("Authorization", ""),
                status=status,
                answer=said,
            )
        )
        self._send(status, said, headers)

    def _send(self, status: int, said: object, headers: Mapping[str, str]) -> None:
        if isinstance(said, str):
            self.send_bytes(said.encode(), status=status, headers={"Content-Type": "text/event-stream"})
        elif said is None:
            self.send_nothing(status, headers)
        else:
            kind = "application/json" if status < 400 else "application/problem+json"  # noqa: PLR2004 - from here on refusals
            self.send_bytes(
                json.dumps(said).encode(), status=status, headers={"Content-Type": kind, **headers}
            )

    def _route(self, parts: list[str], body: Any) -> tuple[int, Any]:  # noqa: ANN401, PLR0911 - plain JSON; one return a route
        control = self._control
        match self.command, parts:
            case "GET", ["serverless"]:
                return 200, {"endpoints": list(control.endpoints.values())}
            case "POST", ["serverless"]:
                return 201, control.create(body)
            case "GET", ["serverless", name]:
                return 200, control._endpoint(name)  # noqa: SLF001 - one room
            case "PATCH", ["serverless", name]:
                return 200, control.update(name, body)
            case "DELETE", ["serverless", name]:
                control.delete(name)
                return 204, None
            case "GET", ["serverless", name, "workers"]:
                return 200, control.listed_workers(name)
            case "GET", ["serverless", name, "releases"]:
                return 200, control.listed_releases(name)
            case _:
                return self._rest(parts, body)

    def _rest(self, parts: list[str], body: Any) -> tuple[int, Any]:  # noqa: ANN401 - plain JSON
        control = self._control
        match self.command, parts:
            case "GET", ["serverless", _, "workers", _, "logs"]:
                after = int(self.headers.get("Last-Event-ID") or -1)
                lines = [*enumerate(control.log)][after + 1 :]
                return 200, "".join(_event(number, line) for number, line in lines)
            case "GET", ["network-volumes"]:
                return 200, {"networkVolumes": list(control.volumes.values())}
            case "POST", ["network-volumes"]:
                return 201, control.make_volume(body)
            case _:
                raise RefusedError(404, "no such route")


def _as_read(body: Mapping[str, Any], live: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """A body as the platform gives it back."""
    read = dict(body)
    if gpu := body.get("gpu"):
        before = (live or {}).get("gpu") or {"allowedCudaVersions": [], "minCudaVersion": None, "count": 1}
        # `pools` without `excludedTypes` clears the exclusions; the CUDA fields do not clear each other.
        cleared: dict[str, Any] = {"excludedTypes": []} if "pools" in gpu else {}
        read["gpu"] = {**before, **cleared, **gpu}
    if cpu := body.get("cpu"):
        read["cpu"] = [{**each, "memory": each["vcpuCount"] * 2} for each in cpu]
    return read


def _refuse_what_the_schema_lets_pass(body: Mapping[str, Any]) -> None:
    if (body.get("gpu") is None) == (body.get("cpu") is None):
        raise RefusedError(400, "exactly one of gpu and cpu is required")
    by_count = body["scaling"]["type"] == "REQUEST_COUNT"
    if body["type"] == "QUEUE" and by_count and "idleTimeout" in body.get("workers", {}):
        raise RefusedError(422, "idleTimeout does not apply to QUEUE with REQUEST_COUNT")
    workers = body.get("workers", {})
    if workers.get("min", 0) > workers.get("max", 3):
        raise RefusedError(400, "workers.min is above workers.max")
    if gpu := body.get("gpu"):
        _refuse_gpu(gpu)


def _refuse_gpu(gpu: Mapping[str, Any]) -> None:
    pools: dict[str, set[str]] = {}
    for card in CAPABILITIES.cards or ():
        pools.setdefault(card.pool or "", set()).add(card.sold_as)
    if unknown := [pool for pool in gpu["pools"] if pool not in pools]:
        raise RefusedError(400, f"unknown pool {unknown[0]}")
    members = set().union(*(pools[pool] for pool in gpu["pools"]))
    excluded = set(gpu.get("excludedTypes") or ())
    if excluded - members:
        raise RefusedError(400, f"{min(excluded - members)} is in none of the pools")
    if not members - excluded:
        raise RefusedError(400, "the selection leaves no GPU type")
    if gpu.get("allowedCudaVersions") and gpu.get("minCudaVersion"):
        raise RefusedError(400, "allowedCudaVersions and minCudaVersion exclude each other")


def _release(version: int, live: Mapping[str, Any], made: Mapping[str, Any]) -> dict[str, Any]:
    fields = ("image", "env", "args", "disk", "gpu")
    return {
        "id": f"rel{version}",
        "version": version,
        "source": "MANUAL",
        "buildId": None,
        "createdByUserId": None,
        "workerCount": 0,
        "createdAt": AT,
        "diff": [
            {"field": _FIELD.get(field, field), "old": live.get(field), "new": made.get(field)}
            for field in fields
            if live.get(field) != made.get(field)
        ],
    }


def _event(number: int, line: str) -> str:
    said = json.dumps({"source": "container", "line": line, "ts": AT})
    return f"id: {number}\ndata: {said}\n\n"
