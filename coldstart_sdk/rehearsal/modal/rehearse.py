"""`coldstart rehearse --target modal`: Modal's own client deploys the bundle here, and its container runs it.

A cold worker answers a request; what it said, what an image would have been built of, and both waterfalls
lie beside the bundle afterwards.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from coldstart_sdk import record
from coldstart_sdk.backends.modal import log, sample
from coldstart_sdk.backends.modal.call import Target, call
from coldstart_sdk.backends.modal.compile import class_name
from coldstart_sdk.backends.modal.lint import lint
from coldstart_sdk.errors import ColdstartError, PlatformError, UsageError
from coldstart_sdk.events import Anchor, AnchorSet, Event, Noted, now
from coldstart_sdk.logs import show_end
from coldstart_sdk.plan import Plan, Stage
from coldstart_sdk.rehearsal import hub, proxy, start
from coldstart_sdk.rehearsal.link import speed
from coldstart_sdk.spec import EndpointSpec, Place, Snapshot, Spec
from coldstart_sdk.trace.build import build
from coldstart_sdk.trace.model import Trace
from coldstart_sdk.trace.waterfall import render

if TYPE_CHECKING:
    from coldstart_sdk.rehearsal.modal.plane import Plane

PROVED = ("1.4.3", "1.5.5", "1.6.4")
"""Versions of Modal's package that the plane was held against."""
STATES = ("empty", "warm", "store", "restore")
"""Empty volumes; those that an earlier container left; empty ones, and a store that an earlier one filled;
from the snapshot, whatever came before it."""
OPTIONS: Mapping[str, tuple[str, ...]] = {
    "endpoint": (),
    "input": (),
    "requests": (),
    "state": STATES,
    "hub": (),
    "net": (),
    "restores": (),
    "skip": (),
}
"""Each with the values that it may have, where those are few."""
_HEADS = {
    "start": "on each cold start",
    "before": "before the snapshot, once (READY comes after it)",
    "after": "after the restore, on each cold start",
}


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What a rehearsal was asked for, checked."""

    endpoint: EndpointSpec | None
    """None: there is none that can be called without arguments of the user's; the worker is only started."""
    arguments: Mapping[str, Any]
    restores: int = 2
    """Forks of the process at its snapshot, each restored."""
    requests: int = 1
    """The same one, again and again."""
    state: str = ""
    """One of STATES; empty: what callers meet, the snapshot where one is taken."""
    skip: str = ""
    """Steps that are left out, as COLDSTART_SKIP says it."""
    hub: str | None = None
    net_bytes_s: float | None = None
    """Of that hub's link; without one, of the link to whatever a container asks."""


def rehearse(plan: Plan, bundle: Path, options: Mapping[str, Any]) -> Mapping[str, Any]:
    """Deploy it, call it, end it; what came of it."""
    wish = read(options, plan.spec)
    _state(wish, plan)
    if importlib.util.find_spec("modal") is None:
        raise PlatformError("Modal's package is not installed here", fix='pip install "coldstart-sdk[modal]"')
    from coldstart_sdk.rehearsal.modal.plane import Plane  # noqa: PLC0415 - stands on Modal's package

    if missing := [name for name in plan.spec.secrets if name not in os.environ]:
        raise _unset(missing, plan.spec)
    secrets = {
        plan.spec.overrides.get("modal", {}).get("secrets", {}).get(name, name): {name: os.environ[name]}
        for name in plan.spec.secrets
    }
    forks = wish.restores if plan.snapshot is not Snapshot.NONE else 0
    env = {"COLDSTART_REHEARSE_RESTORES": str(forks), "COLDSTART_SKIP": wish.skip}
    with (
        hub.named(wish.hub, wish.net_bytes_s) as origin,
        proxy.link(wish.net_bytes_s, hub=wish.hub) as link,
        Plane(secrets=secrets, env={**env, **origin, **_through(link, plan)}) as plane,
    ):
        _deploy(plane, bundle)
        try:
            if wish.state in {"warm", "store"}:
                _live(plane, plan.spec, replace(wish, requests=1))
            if wish.state == "store":
                _empty_volumes(plane)
            if link:
                link.forget()
            life = _live(plane, plan.spec, wish)
        except ColdstartError:
            text = _write_log(bundle / start.FOLDER, plane.world.lines.chunks)
            show_end(log.read(text.splitlines()))
            raise
        told = _told(plan, plane, bundle / start.FOLDER, life, state=_state(wish, plan))
        return {**told, **({"over_net_bytes": link.came()} if link else {})}


def _unset(missing: Sequence[str], spec: Spec) -> PlatformError:
    name = missing[0]
    secret = spec.overrides.get("modal", {}).get("secrets", {}).get(name, name)
    return PlatformError(
        f"the class asks for {', '.join(missing)}, which is not set here",
        fix=f"Set it for the rehearsal: export {name}=…; on Modal: modal secret create {secret} {name}=VALUE",
    )


@dataclass(frozen=True, kw_only=True)
class _Life:
    """One container's, from the call that brought it up to its end."""

    results: Sequence[Any]
    asked_s: float
    """On the boot clock."""
    answered_s: float
    """How long its first caller waited."""
    lines: Sequence[Any]
    """Of the log."""


def _live(plane: Plane, spec: Spec, wish: Wish) -> _Life:
    before, asked_s = len(plane.world.lines.chunks), now()
    results = [_ask(plane, spec, wish)]
    answered_s = now() - asked_s
    results += [_ask(plane, spec, wish) for _ in range(1, wish.requests)]
    if app := plane.world.app_named(spec.name):
        plane.do(plane.containers.stop_app(app))
    lines = plane.world.lines.chunks[before:]
    return _Life(results=results, asked_s=asked_s, answered_s=answered_s, lines=lines)


def _empty_volumes(plane: Plane) -> None:
    for volume in plane.world.volumes.values():
        for path in volume.folder.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def _state(wish: Wish, plan: Plan) -> str:
    """The one that was asked for; without a word, what callers meet."""
    if wish.state == "restore" and plan.snapshot is Snapshot.NONE:
        raise UsageError(
            "state=restore asks for a snapshot, and none is taken",
            fix="Take one: --snapshot cpu, or measure state=empty.",
        )
    return wish.state or ("empty" if plan.snapshot is Snapshot.NONE else "restore")


def read(options: Mapping[str, Any], spec: Spec) -> Wish:
    """The options as they were written; every one that is not known is named."""
    said = dict(options)
    name, given = said.pop("endpoint", None), said.pop("input", None)
    folder, net = said.pop("hub", None), said.pop("net", None)
    measured = bool({"requests", "state"} & said.keys())  # a fork takes time from whoever becomes ready
    restores = _count("restores", said.pop("restores", "0" if measured else "2"))
    requests = max(1, _count("requests", said.pop("requests", "1")))
    state, skip = str(said.pop("state", "")), str(said.pop("skip", ""))
    if state not in {"", *STATES}:
        raise UsageError(f"state={state[:40]} is not known", fix=f"It is one of {', '.join(STATES)}.")
    if folder is not None:
        hub.refuse_no_hub(str(folder))
    if said:
        raise UsageError(
            f"a rehearsal on Modal has no option {next(iter(said))!r}",
            fix=f"It takes {', '.join(OPTIONS)}.",
        )
    endpoint, arguments = _asked(spec, name, given)
    return Wish(
        endpoint=endpoint,
        arguments=arguments,
        restores=restores,
        requests=requests,
        state=state,
        skip=skip,
        hub=folder,
        net_bytes_s=None if net is None else speed("net", str(net)),
    )


def _count(name: str, text: object) -> int:
    if not str(text).isdigit():
        raise UsageError(f"{name}={str(text)[:40]} is no number", fix=f"Write {name}=2.")
    return int(str(text))


def _object(text: object) -> dict[str, Any]:
    try:
        given = json.loads(str(text))
    except ValueError:
        given = None
    if not isinstance(given, dict):
        raise UsageError("input= is not a JSON object", fix="""Write --set 'input={"text": "hi"}'.""")
    return given


def _asked(spec: Spec, name: object, given: object) -> tuple[EndpointSpec | None, dict[str, Any]]:
    """The endpoint and its arguments; none where only the user can know any."""
    if name is None and given is None:
        made = sample.of(spec)
        return (spec.endpoint(made.endpoint), dict(made.arguments)) if made else (None, {})
    endpoint = spec.endpoint(str(name)) if name else (spec.default_endpoint or spec.endpoints[0])
    if endpoint is None:
        have = ", ".join(each.method for each in spec.endpoints)
        raise UsageError(f"no endpoint is called {name!r}", fix=f"There are {have}.")
    arguments = sample.arguments_of(endpoint) if given is None else _object(given)
    return (None, {}) if arguments is None else (endpoint, arguments)


def _through(link: proxy.Proxy | None, plan: Plan) -> dict[str, str]:
    """For containers: all that they ask goes over the link, but what they ask Modal."""
    return {**link.environment(proxy.own_names(plan)), "MODAL_DISABLE_API_PROXY": "1"} if link else {}


def _deploy(plane: Plane, bundle: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "modal", "deploy", "modal_app.py"],
        cwd=bundle,
        env={**os.environ, **plane.env},
        capture_output=True,
        text=True,
        check=False,
    )
    if ended.returncode:
        said = " ".join((ended.stderr or ended.stdout).split())
        raise PlatformError(
            f"modal deploy refused the bundle: {said[-400:]}",
            fix="Read what it says; `coldstart build` writes the module anew.",
        )


def _ask(plane: Plane, spec: Spec, wish: Wish) -> Any:  # noqa: ANN401 - plain JSON
    """The answer of the endpoint; where none can be asked, that the worker has started."""
    endpoint = wish.endpoint
    target = Target(
        app=spec.name,
        name=class_name(spec),
        method=endpoint.method if endpoint else "trace",
        streams=bool(endpoint and endpoint.streams),
    )
    chunks = list(call(target, wish.arguments, {**os.environ, **plane.env}))
    if endpoint is None:
        return "not asked: its arguments are yours to give, with --set input=…"
    return chunks if endpoint.streams else chunks[0]


# ---- what is told


def _told(plan: Plan, plane: Plane, folder: Path, life: _Life, *, state: str) -> dict[str, Any]:
    lines = life.lines
    _write_log(folder, lines)
    (folder / "image.txt").write_text("\n".join(_image(plane)) + "\n", encoding="utf-8")
    starts = [_events(lines, task) for task in dict.fromkeys(line.task for line in lines)]
    traces = _traces(plan, [events for events in starts if events], life)
    for name, trace in traces.items():
        (folder / f"{name}.trace.json").write_text(trace.to_json(), encoding="utf-8")
        if len(traces) == 1 or name != "start":  # its two parts tell the same
            sys.stderr.write(f"{_HEADS[name]}\n{render(trace, width=100)}\n")
    met = "after" if state == "restore" else "start"
    told: dict[str, Any] = {
        "result": life.results[0],
        "first_answer_s": round(life.answered_s, 3),
        "ready_s": traces[met].anchors.ready_s if met in traces else None,
        "snapshot": plan.snapshot.value,
        "modal": stated(metadata.version("modal")),
        "files": str(folder),
    }
    if len(life.results) > 1:
        told["results"] = life.results
    if met in traces:
        told["trace"] = str(folder / f"{met}.trace.json")
    restores = [said for said in map(_said, lines) if "restore" in said]
    if restores:
        told["restores"] = _restored(restores)
    notes = [event.message for events in starts for event in events if isinstance(event, Noted)]
    notes += plane.world.lost
    if Place.IMAGE in plan.places.values():
        notes.append('what place="image" bakes was fetched by this start: no image is built in a rehearsal')
    if notes:
        told["notes"] = sorted(dict.fromkeys(notes), key=lambda note: "the snapshot" not in note)
    if problems := lint(plan, folder.parent / "code"):
        told["lint"] = [f"{problem.where}: {problem.message}" for problem in problems]
    if plane.world.unimplemented:
        told["unanswered"] = sorted(plane.world.unimplemented)
    return told


def stated(version: str) -> str:
    """The version of Modal's package, and whether the plane was held against it."""
    return version if version in PROVED else f"{version}, not one of those proved: {', '.join(PROVED)}"


def _write_log(folder: Path, lines: Sequence[Any]) -> str:
    folder.mkdir(exist_ok=True)
    text = "".join(line.text for line in lines)
    (folder / "log.txt").write_text(text, encoding="utf-8")
    return text


def _traces(plan: Plan, starts: Sequence[Sequence[Event]], life: _Life) -> dict[str, Trace]:
    """`start` is the whole of it; a cut makes two parts of one."""
    if not starts:
        return {}
    asked = AnchorSet(at_s=life.asked_s, anchor=Anchor.REQUEST)
    whole = build([asked, *(event for events in starts for event in events)], plan, wall_start=None)
    if plan.snapshot is Snapshot.NONE:
        return {"start": whole}
    stages = {
        "before": (Stage.BEFORE_SNAPSHOT,),
        "after": (Stage.AFTER_SNAPSHOT, Stage.BACKGROUND, Stage.CLOSE),
    }
    parts = {
        name: build(events, replace(plan, steps=plan.steps_in(*cut)), wall_start=None)
        for (name, cut), events in zip(stages.items(), starts, strict=False)
    }
    return {**parts, "start": whole} if len(parts) > 1 else parts


def _restored(restores: Sequence[Mapping[str, Any]]) -> str:
    good = sum(bool(each["ok"]) for each in restores)
    bad = next((f"; {each['reason']}" for each in restores if not each["ok"]), "")
    return f"{good} of {len(restores)} forks of the snapshot became ready{bad}"


def _events(lines: Sequence[Any], task: str) -> list[Event]:
    said = [_said(line) for line in lines if line.task == task]
    return [record.from_data(Event, data) for data in said if "is" in data]  # type: ignore[arg-type] # a union is a type to record


def _said(line: Any) -> dict[str, Any]:  # noqa: ANN401 - a line of the plane's log
    """What a worker said in this line; empty where it was somebody else."""
    if not line.text.startswith("coldstart {"):
        return {}
    said: dict[str, Any] = json.loads(line.text.partition(" ")[2])
    return said


def _image(plane: Plane) -> list[str]:
    """What would have been built."""
    functions = list(plane.world.functions.values())
    return plane.world.commands_of(functions[0].definition.image_id) if functions else []
