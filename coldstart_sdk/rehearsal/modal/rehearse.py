"""`coldstart rehearse --target modal`: Modal's own client deploys the bundle here, and its container runs it.

A cold worker answers one request; what it said, what an image would have been built of, and both waterfalls
lie beside the bundle afterwards.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from coldstart_sdk import record
from coldstart_sdk.backends.modal.call import Target, call
from coldstart_sdk.backends.modal.compile import class_name
from coldstart_sdk.backends.modal.lint import lint
from coldstart_sdk.errors import PlatformError, UsageError
from coldstart_sdk.events import Event, Noted
from coldstart_sdk.plan import Plan, Stage
from coldstart_sdk.rehearsal.hub import Hub
from coldstart_sdk.spec import EndpointSpec, Snapshot, Spec
from coldstart_sdk.trace.build import build
from coldstart_sdk.trace.model import Trace
from coldstart_sdk.trace.waterfall import render

if TYPE_CHECKING:
    from coldstart_sdk.rehearsal.modal.plane import Plane

PROVED = ("1.4.3", "1.5.5", "1.6.4")
"""Versions of Modal's package that the plane was held against."""
_RATES = {"kbit": 1e3 / 8, "mbit": 1e6 / 8, "gbit": 1e9 / 8, "kb/s": 1e3, "mb/s": 1e6, "gb/s": 1e9}
_SAMPLES: Mapping[str, object] = {
    "string": "hello",
    "integer": 1,
    "number": 1.0,
    "boolean": True,
    "array": [],
}


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What a rehearsal was asked for, checked."""

    endpoint: EndpointSpec | None
    """None: there is none that can be called without arguments of the user's; the worker is only started."""
    arguments: Mapping[str, Any]
    restores: int = 2
    """Forks of the process at its snapshot, each restored."""
    hub: str | None = None
    net_bytes_s: float | None = None


def rehearse(plan: Plan, bundle: Path, options: Mapping[str, Any]) -> Mapping[str, Any]:
    """Deploy it, call it once, end it; what came of it."""
    wish = read(options, plan.spec)
    if importlib.util.find_spec("modal") is None:
        raise PlatformError("Modal's package is not installed here", fix='pip install "coldstart-sdk[modal]"')
    from coldstart_sdk.rehearsal.modal.plane import Plane  # noqa: PLC0415 - stands on Modal's package

    secrets = {
        plan.spec.overrides.get("modal", {}).get("secrets", {}).get(name, name): {name: os.environ[name]}
        for name in plan.spec.secrets
        if name in os.environ
    }
    forks = wish.restores if plan.snapshot is not Snapshot.NONE else 0
    with (
        _origin(wish) as origin,
        Plane(secrets=secrets, env={"COLDSTART_REHEARSE_RESTORES": str(forks), **origin}) as plane,
    ):
        _deploy(plane, bundle)
        asked_s = time.monotonic()
        result = _ask(plane, plan.spec, wish)
        answered_s = time.monotonic() - asked_s
        app = plane.world.app_named(plan.spec.name)
        if app:
            plane.do(plane.containers.stop_app(app))
        return _told(plan, plane, bundle / "rehearsal", result=result, answered_s=answered_s)


def read(options: Mapping[str, Any], spec: Spec) -> Wish:
    """The options as `--set` gives them; every one that is not known is named."""
    said = dict(options)
    name, given = said.pop("endpoint", None), said.pop("input", None)
    hub, net = said.pop("hub", None), said.pop("net", None)
    restores = _count(said.pop("restores", "2"))
    if said:
        raise UsageError(
            f"a rehearsal on Modal has no option {next(iter(said))!r}",
            fix="It takes endpoint, hub, input, net and restores.",
        )
    endpoint = spec.endpoint(name) if name else (spec.default_endpoint or spec.endpoints[0])
    if endpoint is None:
        have = ", ".join(each.method for each in spec.endpoints)
        raise UsageError(f"no endpoint is called {name!r}", fix=f"There are {have}.")
    if net is not None and hub is None:
        raise UsageError(
            "net= needs a hub of ours to be the speed of",
            fix="Add --set hub=DIR, a folder of org/name/files with the weights.",
        )
    arguments = _sample(endpoint) if given is None else _object(given)
    return Wish(
        endpoint=None if arguments is None else endpoint,
        arguments=arguments or {},
        restores=restores,
        hub=hub,
        net_bytes_s=None if net is None else _rate(str(net)),
    )


def _count(text: object) -> int:
    if not str(text).isdigit():
        raise UsageError(f"restores={str(text)[:40]} is no number", fix="Write restores=2, or restores=0.")
    return int(str(text))


def _rate(text: str) -> float:
    """`100MB/s` or `1Gbit` as bytes a second."""
    found = re.fullmatch(r"([0-9.]+)\s*(" + "|".join(_RATES) + ")", text.strip().lower())
    try:
        speed = float(found[1]) * _RATES[found[2]] if found else 0.0
    except ValueError:
        speed = 0.0
    if not speed > 0:
        raise UsageError(f"net={text[:40]} is no speed", fix="Write 1Gbit, 300Mbit or 100MB/s.")
    return speed


def _object(text: object) -> dict[str, Any]:
    try:
        given = json.loads(str(text))
    except ValueError:
        given = None
    if not isinstance(given, dict):
        raise UsageError("input= is not a JSON object", fix="""Write --set 'input={"text": "hi"}'.""")
    return given


def _sample(endpoint: EndpointSpec) -> dict[str, Any] | None:
    """Arguments that the endpoint should take; None where only the user can know any."""
    sample: dict[str, Any] = {}
    for parameter in endpoint.parameters:
        if parameter.required:
            kind = str(parameter.schema.get("type"))
            if parameter.medium or kind not in _SAMPLES:
                return None
            sample[parameter.name] = _SAMPLES[kind]
    return sample


@contextmanager
def _origin(wish: Wish) -> Iterator[dict[str, str]]:
    if wish.hub is None:
        yield {}
        return
    with Hub(wish.hub, rate_bytes_s=wish.net_bytes_s, process=True) as hub:
        yield {"HF_ENDPOINT": hub.endpoint}


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
        raise PlatformError(f"modal deploy refused the bundle: {said[-400:]}", fix=_mend(said))


def _mend(said: str) -> str:
    if "Secret" in said:
        return "Set the variable here for a rehearsal; on Modal: modal secret create NAME NAME=VALUE"
    return "Read what it says; `coldstart build` writes the module anew."


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


def _told(
    plan: Plan,
    plane: Plane,
    folder: Path,
    *,
    result: Any,  # noqa: ANN401 - plain JSON
    answered_s: float,
) -> dict[str, Any]:
    folder.mkdir(exist_ok=True)
    lines = plane.world.lines.chunks
    (folder / "log.txt").write_text("".join(line.text for line in lines), encoding="utf-8")
    (folder / "image.txt").write_text("\n".join(_image(plane)) + "\n", encoding="utf-8")
    starts = [_events(lines, task) for task in dict.fromkeys(line.task for line in lines)]
    parts = _parts(plan)
    traces = [
        build(events, part, wall_start=None)
        for events, part in zip(filter(None, starts), parts.values(), strict=False)
    ]
    for name, trace in zip(parts, traces, strict=False):
        (folder / f"{name}.trace.json").write_text(trace.to_json(), encoding="utf-8")
        sys.stderr.write(_headed(name, trace))
    version = metadata.version("modal")
    told: dict[str, Any] = {
        "result": result,
        "first_answer_s": round(answered_s, 3),
        "ready_s": traces[-1].anchors.ready_s if traces else None,
        "snapshot": plan.snapshot.value,
        "modal": version if version in PROVED else f"{version}, not one of those proved: {', '.join(PROVED)}",
        "files": str(folder),
    }
    restores = [said for said in map(_said, lines) if "restore" in said]
    if restores:
        told["restores"] = _restored(restores)
    notes = [event.message for events in starts for event in events if isinstance(event, Noted)]
    if notes:
        told["notes"] = list(dict.fromkeys(notes))
    if problems := lint(plan, folder.parent / "code"):
        told["lint"] = [f"{problem.where}: {problem.message}" for problem in problems]
    if plane.world.unimplemented:
        told["unanswered"] = sorted(plane.world.unimplemented)
    return told


def _parts(plan: Plan) -> dict[str, Plan]:
    """What each trace is of: a cut makes two of one start."""
    if plan.snapshot is Snapshot.NONE:
        return {"start": plan}
    return {
        "before": replace(plan, steps=plan.steps_in(Stage.BEFORE_SNAPSHOT)),
        "after": replace(plan, steps=plan.steps_in(Stage.AFTER_SNAPSHOT, Stage.BACKGROUND, Stage.CLOSE)),
    }


def _restored(restores: Sequence[Mapping[str, Any]]) -> str:
    good = sum(bool(each["ok"]) for each in restores)
    bad = next((f"; {each['reason']}" for each in restores if not each["ok"]), "")
    return f"{good} of {len(restores)} forks of the snapshot became ready{bad}"


def _headed(name: str, trace: Trace) -> str:
    heading = {
        "before": "before the snapshot, once",
        "after": "after the restore, on each cold start",
    }.get(name, "on each cold start")
    return f"{heading}\n{render(trace, width=100)}\n"


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
