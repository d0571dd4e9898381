"""An endpoint on RunPod, from its first deploy to its end. The name of the declaration is its name."""

from __future__ import annotations

import json
import queue
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from coldstart_sdk.backends.runpod import diff, dockerfile, limits, models
from coldstart_sdk.backends.runpod.balanced import Balanced
from coldstart_sdk.backends.runpod.client import Client
from coldstart_sdk.backends.runpod.diff import Change
from coldstart_sdk.backends.runpod.graph import Graph
from coldstart_sdk.backends.runpod.image import Builder, build_and_push
from coldstart_sdk.backends.runpod.smoke import LIMIT_S, OVER, Smoke, fix, of_job, reason
from coldstart_sdk.errors import ColdstartError, PlatformError
from coldstart_sdk.plan import Plan
from coldstart_sdk.redact import redact

POLL_S = 1.0
QUIET_S = 5.0
"""A log that says nothing for so long has told what there was."""
LOOK_POLLS = 5
"""How often a followed log looks for new workers, in polls."""
_ENDPOINTS = "/v2/serverless"
_VOLUMES = "/v2/network-volumes"
_MODELS = "modelReferences"
_SECRET = re.compile(r"\{\{ RUNPOD_SECRET_(\w+) \}\}")


@dataclass(frozen=True, kw_only=True)
class _Compared:
    """What is wanted, what is live, and where they differ."""

    wanted: Mapping[str, Any]
    live: Mapping[str, Any] | None
    changed: tuple[Change, ...]


class Platform:
    """One account."""

    def __init__(self, client: Client, *, builder: Builder = build_and_push, poll_s: float = POLL_S) -> None:
        self._client = client
        self._graph = Graph(client)
        self._builder = builder
        self._poll_s = poll_s

    # ---- deploy

    def changes(self, plan: Plan, bundle: Path) -> tuple[str, ...]:
        """What a deploy would change, field by field."""
        return tuple(map(str, self._compared(plan, bundle, make=False).changed))

    def deploy(self, plan: Plan, bundle: Path, *, smoke_s: float = LIMIT_S) -> Mapping[str, Any]:
        """Make what is live equal to the bundle; a second time there is nothing to do."""
        found = self._compared(plan, bundle, make=True)
        if not found.changed and found.live is not None:
            return _told(found.live, found.changed, "nothing to change")
        if found.live is None or found.live.get("image") != found.wanted["image"]:
            self._builder(bundle, found.wanted["image"], dockerfile.build_secrets(plan))
        return self._rolled_out(found.wanted, found.live, found.changed, bundle, smoke_s)

    def _compared(self, plan: Plan, bundle: Path, *, make: bool) -> _Compared:
        """The bundle's body against what is live; a volume that is not there is made where `make` says so."""
        wanted = json.loads((bundle / "endpoint.json").read_text(encoding="utf-8"))
        _refuse_without_registry(wanted["image"])
        live = self._find(plan.spec.name)
        if live is not None:
            _refuse_another_kind(wanted, live)
        self._refuse_unknown_secrets(wanted["env"])
        wanted |= self._volumes(bundle, make=make)
        wanted[_MODELS] = _models(bundle)
        known = {_MODELS: self._attached(live, wanted), **(live or {})}
        return _Compared(wanted=wanted, live=live and known, changed=diff.changes(wanted, known))

    def _attached(self, live: Mapping[str, Any] | None, wanted: Mapping[str, Any]) -> list[str]:
        """The models in hosts' caches; asked for only where there can be any."""
        if live is None or "gpu" not in wanted:
            return []
        try:
            return list(self._graph.models(live["id"]))
        except PlatformError as refused:
            if wanted[_MODELS]:
                _say_uncached(refused)
            return list(wanted[_MODELS])  # who cannot ask cannot change it either

    def _attach(self, endpoint: str, models: Sequence[str]) -> None:
        """It saves a fetch; without it a worker fetches."""
        try:
            self._graph.attach(endpoint, models)
        except PlatformError as refused:
            _say_uncached(refused)

    def _refuse_unknown_secrets(self, env: Mapping[str, str]) -> None:
        """What RunPod makes of a reference to a secret that is not there is not known: none is sent."""
        named = {found[1] for value in env.values() if (found := _SECRET.fullmatch(value))}
        if not named:
            return
        try:
            missing = sorted(named - self._graph.secrets())
        except PlatformError as refused:  # a key may be for REST alone
            sys.stderr.write(f"secrets are not verified: {refused.message}\n")
            return
        if missing:
            raise PlatformError(
                f"the account has no secret {' and none '.join(missing)}",
                fix=f"Make it: https://console.runpod.io/user/secrets, with the name {missing[0]}.",
            )

    def _rolled_out(
        self,
        wanted: Mapping[str, Any],
        live: Mapping[str, Any] | None,
        changed: tuple[Change, ...],
        bundle: Path,
        smoke_s: float,
    ) -> Mapping[str, Any]:
        asked = {field: value for field, value in wanted.items() if field != _MODELS}
        rest = tuple(change for change in changed if change.field != _MODELS)
        with _named_places(asked):
            if live is None:
                made = self._client.post(_ENDPOINTS, asked)
            elif rest:
                made = self._client.patch(f"{_ENDPOINTS}/{live['id']}", diff.patch(asked, rest, live))
            else:
                made = live
        try:
            if len(rest) < len(changed):
                self._attach(made["id"], wanted[_MODELS])
            smoke = self._smoke(smoke_s).ask(made, bundle)
        except KeyboardInterrupt:
            sys.stderr.write(f"it stays deployed, and its first answer was not waited for: {made['id']}\n")
            raise
        except ColdstartError as failed:
            self._back(made, live, changed)
            back = "what was live before is live again" if live else "the new endpoint was removed"
            raise PlatformError(
                f"{failed.message}; {back}", fix=failed.fix, where=failed.where or made["id"]
            ) from failed
        return _told(made, changed, "created" if live is None else "updated") | smoke

    def _back(
        self, made: Mapping[str, Any], live: Mapping[str, Any] | None, changed: tuple[Change, ...]
    ) -> None:
        if live is None:
            self._client.delete(f"{_ENDPOINTS}/{made['id']}")
            return
        rest = tuple(change for change in changed if change.field != _MODELS)
        if rest:
            self._client.patch(f"{_ENDPOINTS}/{live['id']}", diff.undo(live, rest))
        if len(rest) < len(changed):
            self._attach(live["id"], live[_MODELS])

    def _volumes(self, bundle: Path, *, make: bool) -> dict[str, Any]:
        """The id of the volume that the bundle asks for, made where there is none of that name."""
        file = bundle / "volume.json"
        if not file.exists():
            return {}
        body = json.loads(file.read_text(encoding="utf-8"))
        known = self._client.get(_VOLUMES)["networkVolumes"]
        found = [volume for volume in known if volume["name"] == body["name"]]
        elsewhere = [volume for volume in found if volume["dataCenter"] != body["dataCenter"]]
        if elsewhere:
            raise PlatformError(
                f"the volume {body['name']!r} lies in {elsewhere[0]['dataCenter']}, not in "
                f"{body['dataCenter']}",
                fix="Declare the data centre where it lies, or give the volume another name.",
            )
        if not found and not make:
            return {"networkVolumes": [f"(a new one, {body['size']} GB)"]}
        made = found[0] if found else self._client.post(_VOLUMES, body)
        return {"networkVolumes": [made["id"]]}

    def _smoke(self, limit_s: float) -> Smoke:
        return Smoke(client=self._client, workers=self._workers_line, poll_s=self._poll_s, limit_s=limit_s)

    # ---- the other verbs

    def status(self, app: str) -> Mapping[str, Any]:
        live = self._live(app)
        workers = self._client.get(f"{_ENDPOINTS}/{live['id']}/workers")
        rollout = self._client.get(f"{_ENDPOINTS}/{live['id']}/releases")["rollout"]
        told = {
            "name": live["name"],
            "id": live["id"],
            "type": live.get("type"),
            "image": live.get("image"),
            "scale": live["workers"],
            "urls": live.get("requestUrls"),
            "workers": [
                {
                    "id": worker["id"],
                    "status": worker["status"],
                    "gpu": worker.get("gpuTypeId"),
                    "uptime_s": worker.get("uptimeSeconds"),
                    "stale": worker["isStale"],
                }
                for worker in workers["workers"]
            ],
            "summary": workers["summary"],
            "rollout_percent": rollout["percentOnLatest"],
        }
        urls = live.get("requestUrls") or {}
        return told | ({"queue": self._client.get(urls["health"]).get("jobs")} if "run" in urls else {})

    def logs(self, app: str, *, follow: bool) -> Iterator[str]:
        """Lines of every worker that there is; RunPod lists none that was scaled down."""
        at = f"{_ENDPOINTS}/{self._live(app)['id']}/workers"
        if follow:
            yield from self._followed(at)
            return
        for name in self._workers(at):
            for _, line in self._lines(at, name, ""):
                yield line

    def _followed(self, at: str) -> Iterator[str]:
        """Of the workers that come later too, without end."""
        said: queue.SimpleQueue[str] = queue.SimpleQueue()
        known: set[str] = set()
        looks = time.monotonic()
        while True:
            if time.monotonic() >= looks:
                for name in sorted({*self._workers(at)} - known):
                    threading.Thread(target=self._follow, args=(at, name, said.put), daemon=True).start()
                    known.add(name)
                looks = time.monotonic() + LOOK_POLLS * self._poll_s
            with suppress(queue.Empty):
                yield said.get(timeout=self._poll_s)

    def _workers(self, at: str) -> list[str]:
        return [str(worker["id"]) for worker in self._client.get(at)["workers"]]

    def _follow(self, at: str, worker: str, say: Callable[[str], None]) -> None:
        seen = ""
        with suppress(PlatformError):  # a worker that is gone has no log any more
            while True:
                for last, line in self._lines(at, worker, seen):
                    seen = last
                    say(line)
                self._pause()

    def _lines(self, at: str, worker: str, seen: str) -> Iterator[tuple[str, str]]:
        path = f"{at}/{quote(worker)}/logs?source=container"
        for last, event in self._client.lines(path, seen, quiet_s=QUIET_S):
            yield last, redact(f"{worker}  {event['line']}")

    def invoke(self, app: str, endpoint: str | None, arguments: Mapping[str, Any]) -> Iterator[Any]:
        """Chunks as they come, or the one output; who stops listening cancels it."""
        urls = self._live(app).get("requestUrls") or {}
        if "run" not in urls:
            yield from Balanced(self._client, urls["base"]).call(endpoint, arguments)
            return
        job = self._queued(urls, endpoint, arguments)
        try:
            yield from self._answers(urls, job)
        except (GeneratorExit, KeyboardInterrupt):
            self._client.post(of_job(urls["cancel"], job), {})
            raise

    def submit(self, app: str, endpoint: str | None, arguments: Mapping[str, Any]) -> str:
        """Put it into the queue; the job's id."""
        return self._queued(self._queue(app), endpoint, arguments)

    def collect(self, app: str, job: str) -> Iterator[Any]:
        """What a submitted job has given and still gives."""
        return self._answers(self._queue(app), job)

    def _queue(self, app: str) -> Mapping[str, str]:
        urls: Mapping[str, str] = self._live(app).get("requestUrls") or {}
        if "run" not in urls:
            raise PlatformError(
                f"{app} is behind a load balancer, and has no queue", fix="Call it, and wait for the answer."
            )
        return urls

    def _queued(self, urls: Mapping[str, str], endpoint: str | None, arguments: Mapping[str, Any]) -> str:
        named = dict(arguments) if endpoint is None else {"endpoint": endpoint, **arguments}
        limits.refuse_large(named)
        return str(self._client.post(urls["run"], {"input": named})["id"])

    def _answers(self, urls: Mapping[str, str], job: str) -> Iterator[Any]:
        chunks = 0
        while True:
            told = self._client.get(of_job(urls["stream"], job))
            for chunk in told.get("stream") or ():
                chunks += 1
                yield chunk["output"]
            if told["status"] in OVER and not told.get("stream"):
                break
            if not told.get("stream"):
                self._pause()
        told = self._client.get(of_job(urls["status"], job))
        if told["status"] != "COMPLETED":
            raise PlatformError(
                redact(f"the request ended as {told['status']}: {reason(told)}"),
                fix=fix(told) or "Look at what its workers said: coldstart logs.",
                where=job,
            )
        if not chunks:
            yield told.get("output")

    def history(self, app: str) -> tuple[Mapping[str, Any], ...]:
        """Newest first."""
        live = self._live(app)
        listed = self._client.get(f"{_ENDPOINTS}/{live['id']}/releases")
        return tuple(
            {
                "release": str(release.get("version")),
                "at": release["createdAt"],
                "source": release["source"],
                "live": release.get("version") == listed.get("endpointVersion"),
                "changed": sorted(entry["field"] for entry in release["diff"]),
                "image": _image_of(release),
            }
            for release in listed["releases"]
        )

    def rollback(self, app: str, release: str) -> Mapping[str, Any]:
        """Roll the image of that release out again; what else it had is the declaration's business."""
        live = self._live(app)
        known = self.history(app)
        at = next((place for place, each in enumerate(known) if each["release"] == release), None)
        if at is None:
            raise PlatformError(
                f"{app} has no release {release!r}",
                fix=f"It has {', '.join(each['release'] for each in known) or 'none'}.",
            )
        # The release itself may not have changed the image: then an older one says which it had.
        image = next((each["image"] for each in known[at:] if each["image"]), None)
        if image is None:
            raise PlatformError(
                f"nothing says which image release {release} had", fix="Name a release that changed it."
            )
        changed = diff.changes({"image": image}, live)
        if changed:
            live = self._client.patch(f"{_ENDPOINTS}/{live['id']}", {"image": image})
        return _told(live, changed, f"release {release}")

    def scale(self, app: str, *, least: int, most: int) -> Mapping[str, Any]:
        """The whole object goes: what RunPod does with a part of it is not known."""
        live = self._live(app)
        wanted = {"workers": {**live["workers"], "min": least, "max": most}}
        changed = diff.changes(wanted, live)
        if changed:
            live = self._client.patch(f"{_ENDPOINTS}/{live['id']}", wanted)
        return _told(live, changed, "scaled")

    def delete(self, app: str) -> None:
        """Gone for good, with its queue; a volume stays, and is billed until it is deleted too."""
        path = f"{_ENDPOINTS}/{self._live(app)['id']}"
        self._client.delete(path)
        if self._client.find(path) is not None:
            raise PlatformError(
                f"{app} is still there after RunPod deleted it", fix="Look at it in RunPod's console."
            )

    def _find(self, name: str) -> Mapping[str, Any] | None:
        listed = self._client.get(_ENDPOINTS)["endpoints"]
        same: list[Mapping[str, Any]] = [each for each in listed if _bare(each["name"]) == name]
        if len(same) > 1:
            raise PlatformError(
                f"{len(same)} endpoints are called {name!r}",
                fix=f"Rename or delete all but one: {', '.join(each['id'] for each in same)}.",
            )
        return same[0] if same else None

    def _live(self, app: str) -> Mapping[str, Any]:
        found = self._find(app)
        if found is None:
            raise PlatformError(
                f"RunPod has no endpoint called {app!r}",
                fix="Deploy it: coldstart deploy FILE --target runpod",
            )
        return found

    def _workers_line(self, endpoint: str) -> str:
        summary = self._client.get(f"{_ENDPOINTS}/{endpoint}/workers")["summary"]
        return (
            ", ".join(f"{count} {name}" for name, count in summary.items() if count and name != "total")
            or "none"
        )

    def _pause(self) -> None:
        time.sleep(self._poll_s)


@contextmanager
def _named_places(asked: Mapping[str, Any]) -> Iterator[None]:
    """Where the data centres have no such card, RunPod says that there are no instances, and not why."""
    try:
        yield
    except PlatformError as refused:
        places = ", ".join(asked.get("dataCenterIds") or ())
        if not places or "instances" not in refused.message:
            raise
        raise PlatformError(
            f"{refused.message} (in {places}, where alone workers may start)",
            fix="Declare another data centre, or one more card in gpu=.",
            where=refused.where,
        ) from refused


def _say_uncached(refused: PlatformError) -> None:
    sys.stderr.write(f"models in hosts' caches stay as they are: {refused.message}\n")


def _models(bundle: Path) -> list[str]:
    file = bundle / models.FILE
    return list(json.loads(file.read_text(encoding="utf-8"))[_MODELS]) if file.exists() else []


def _bare(name: str) -> str:
    """RunPod's console appends this to the name of an endpoint whose FlashBoot is on."""
    return name.removesuffix(" -fb")


def _refuse_without_registry(image: str) -> None:
    if "/" not in image:
        raise PlatformError(
            f"{image!r} names no registry to push it to",
            fix="Write overrides={'runpod': {'image': 'docker.io/you/name'}}, without a tag.",
        )


def _refuse_another_kind(wanted: Mapping[str, Any], live: Mapping[str, Any]) -> None:
    for field in diff.IMMUTABLE:
        if live.get(field) not in {None, wanted[field]}:
            raise PlatformError(
                f"the endpoint is a {live[field]} and shall become a {wanted[field]}, which RunPod cannot",
                fix=f"Delete it first, or give the declaration another name: coldstart delete {live['name']}",
            )
    if ("gpu" in wanted) != (live.get("gpu") is not None):
        raise PlatformError(
            "an endpoint cannot change between GPU and CPU",
            fix=f"Delete it first, or give the declaration another name: coldstart delete {live['name']}",
        )


def _told(live: Mapping[str, Any] | None, changed: tuple[Change, ...], what: str) -> dict[str, Any]:
    known = live or {}
    urls = known.get("requestUrls") or {}
    return {
        "did": what,
        "id": known.get("id"),
        "url": urls.get("run") or urls.get("base"),
        "image": known.get("image"),
        "changed": [str(change) for change in changed],
    }


def _image_of(release: Mapping[str, Any]) -> str | None:
    images = [entry["new"] for entry in release["diff"] if entry["field"] == "template.imageName"]
    return str(images[0]) if images and images[0] else None
