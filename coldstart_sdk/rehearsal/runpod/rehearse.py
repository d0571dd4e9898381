"""`coldstart rehearse --target runpod`: the bundle's handler under RunPod's own worker, here.

One request waits when the worker is started, as it does on a cold platform; later ones follow its answer;
then the worker is told to end. The trace of its start is left beside the bundle. A link of a chosen speed is
that of a hub of ours, over a folder of `org/name/files`, or one to whatever the worker asks.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from coldstart_sdk.errors import PlatformError
from coldstart_sdk.events import ignore
from coldstart_sdk.plan import Plan
from coldstart_sdk.rehearsal import hub, proxy, start
from coldstart_sdk.rehearsal.runpod import jobs
from coldstart_sdk.rehearsal.runpod.life import Life
from coldstart_sdk.rehearsal.runpod.room import Folder, Room, Root
from coldstart_sdk.rehearsal.runpod.wish import Wish, read
from coldstart_sdk.spec import Origin, Place
from coldstart_sdk.trace.waterfall import render


def rehearse(plan: Plan, bundle: Path, options: Mapping[str, Any]) -> Mapping[str, Any]:
    """Run it once; what came of it, and what it would have cost."""
    wish = read(options, plan)
    if wish.image is None and wish.python == sys.executable and importlib.util.find_spec("runpod") is None:
        raise PlatformError(
            "RunPod's worker is not installed here",
            fix='pip install "coldstart-sdk[runpod]", or name a Python that has it: --set python=…',
        )
    with tempfile.TemporaryDirectory(prefix="coldstart-rehearsal-") as scratch, ExitStack() as stack:
        folder = Path(scratch)
        room = Root(plan, bundle, folder, wish) if wish.image else Folder(plan, bundle, folder, wish)
        origin = stack.enter_context(hub.named(wish.hub, wish.net_bytes_s))
        link = stack.enter_context(proxy.link(wish.net_bytes_s, hub=wish.hub))
        _prepare(room, plan, bundle, wish, origin)
        through = link.environment((jobs.HOST, *proxy.own_names(plan))) if link else {}
        run = Life(plan, bundle, room, wish, {**origin, **through})
        told = {**run.live(wish.fault), **({"over_net_bytes": link.came()} if link else {})}
        if run.trace is None:
            return told
        sys.stderr.write(render(run.trace, width=100) + "\n")
        notes = (
            {"notes": [f"{note.about}: {note.text}" for note in run.trace.notes]} if run.trace.notes else {}
        )
        return {**told, **notes, "trace": str(start.keep(run.trace, bundle))}


def _prepare(room: Room, plan: Plan, bundle: Path, wish: Wish, origin: Mapping[str, str]) -> None:
    """What the state says that an earlier worker, or the image, has left."""
    if wish.state == "baked" and wish.image is None:
        _bake(bundle, room.home, wish, origin)
    elif wish.state in {"warm", "volume", "store"}:
        earlier = Life(plan, bundle, room, wish, origin)
        told = earlier.live()
        if earlier.trace is None:
            why = told.get("error") or told["worker"]
            raise PlatformError(
                f"the earlier worker, which state={wish.state} needs, did not answer: {why}",
                fix="Rehearse it with --state empty first.",
            )
    if wish.state == "store":
        _fill(plan, bundle, room.home)
    if wish.state in {"volume", "store"}:
        room.empty()


def _bake(bundle: Path, home: Path, wish: Wish, origin: Mapping[str, str]) -> None:
    """As a build of the image does it, into the home of the worker."""
    command = [wish.python, str(bundle / "fetch_weights.py"), str(home)]
    ended = subprocess.run(
        command, env={**os.environ, **origin}, stdout=sys.stderr.fileno(), timeout=wish.limit_s, check=False
    )
    if ended.returncode:
        raise PlatformError("the weights could not be baked", fix="What was said is above.")


def _fill(plan: Plan, bundle: Path, home: Path) -> None:
    """The store, as the upload of an earlier worker does it that is left to end."""
    from coldstart_sdk.storage import uploads  # noqa: PLC0415 - only for this state

    stored = [
        weight
        for name, weight in plan.spec.weights.items()
        if plan.places.get(name) is Place.STORE and weight.origin is not Origin.LOCAL
    ]
    if not stored or plan.store is None:
        return
    filling = uploads.start(
        stored, store=plan.store, home=home, project=bundle / "code", step="fill", emit=ignore
    )
    if filling.wait():
        raise PlatformError("the store could not be filled", fix=f"Try it out: coldstart doctor {plan.store}")
