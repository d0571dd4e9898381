"""What a rehearsal on RunPod may be asked for, read from options as people write them."""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from coldstart_sdk.backends.runpod import dockerfile
from coldstart_sdk.backends.runpod.body import is_http
from coldstart_sdk.errors import UsageError
from coldstart_sdk.plan import Plan
from coldstart_sdk.rehearsal.hub import refuse_no_hub
from coldstart_sdk.rehearsal.link import speed

STATES = ("empty", "warm", "volume", "store", "baked")
"""A worker without a file; one on the disk of an earlier one; one with an empty disk beside a volume that an
earlier one has filled, or beside such a store; one with what the bundle's own program has baked."""
FAULTS = ("refused", "terminated", "cancelled")
"""The platform refuses the first result; it ends the worker in its start; the caller gives up in it."""
OPTIONS: Mapping[str, tuple[str, ...]] = {
    "endpoint": (),
    "input": (),
    "requests": (),
    "state": STATES,
    "hub": (),
    "net": (),
    "disk": (),
    "fault": FAULTS,
    "image": (),
    "python": (),
    "skip": (),
    "limit": (),
    "grace": (),
}
"""Each with the values that it may have, where those are few."""


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What a rehearsal was asked for, checked."""

    python: str = sys.executable
    """With `runpod` and what the class needs; another one tries another version."""
    state: str = "empty"
    hub: str | None = None
    net_bytes_s: float | None = None
    """Of that hub's link; without one, of the link to whatever the worker asks."""
    disk_bytes_s: float | None = None
    image: str | None = None
    """Whose root the worker runs in; None: it runs here."""
    fault: str | None = None
    input: Any = None
    """Arguments of the requests; None: those of test_input.json."""
    endpoint: str | None = None
    """None: the default, or the one that the input names itself."""
    requests: int = 1
    """The same one, again and again."""
    skip: str = ""
    """Steps that are left out, as COLDSTART_SKIP says it."""
    limit_s: float = 600.0
    grace_s: float = 10.0
    """Between being told to end and being killed."""


def read(options: Mapping[str, Any], plan: Plan) -> Wish:
    """The options, each of them one that is known."""
    said = {name: str(value) for name, value in options.items()}
    wish = Wish(
        python=said.get("python", sys.executable),
        state=_state(said.get("state"), plan),
        hub=said.get("hub"),
        net_bytes_s=_speed("net", said),
        disk_bytes_s=_speed("disk", said),
        image=said.get("image"),
        fault=_one_of("fault", said.get("fault"), FAULTS),
        input=_input(said.get("input")),
        endpoint=said.get("endpoint"),
        requests=_count(said.get("requests", "1")),
        skip=said.get("skip", ""),
        limit_s=_seconds("limit", said.get("limit", "600")),
        grace_s=_seconds("grace", said.get("grace", "10")),
    )
    _refuse_what_does_not_meet(wish, said, plan)
    return wish


def _state(said: str | None, plan: Plan) -> str:
    """The one that was asked for; without a word, what a first worker on the platform finds."""
    usual = "baked" if dockerfile.baked(plan) else "empty"
    return _one_of("state", said, STATES) or usual


def _refuse_what_does_not_meet(wish: Wish, said: Mapping[str, str], plan: Plan) -> None:
    if wish.hub is not None:
        refuse_no_hub(wish.hub)
    if wish.state == "volume" and plan.volume is None:
        raise UsageError(
            "state=volume, and no volume is declared",
            fix='Declare volume=Volume("models", region="EU-RO-1") and place="volume".',
        )
    if wish.state == "store" and plan.store is None:
        raise UsageError("state=store, and there is no store", fix="Declare store=, or add --store URL.")
    if wish.state == "baked" and not dockerfile.baked(plan):
        raise UsageError("state=baked, and no weight is baked", fix='Declare place="image", or leave it out.')
    if is_http(plan) and wish.fault in {"refused", "cancelled"}:
        raise UsageError(
            f"fault={wish.fault} is of a queue, and this endpoint has none",
            fix="Take fault=terminated, or declare the mode queue.",
        )
    if wish.image and "python" in said:
        raise UsageError(
            "python is of a worker outside of an image",
            fix="Leave out python or image: an image has a Python of its own.",
        )
    if wish.image and wish.disk_bytes_s and os.geteuid():
        raise UsageError(
            "disk with image needs root: nobody else may mount into a root",
            fix="Run it as root, or leave out disk or image.",
        )


def _speed(name: str, said: Mapping[str, str]) -> float | None:
    return speed(name, said[name]) if name in said else None


def _seconds(name: str, text: str) -> float:
    try:
        seconds = float(text.removesuffix("s"))
    except ValueError:
        seconds = -1.0
    if not 0 < seconds < math.inf:
        raise UsageError(f"{name}={text[:40]} is no time", fix=f"Write seconds: {name}=30s.")
    return seconds


def _count(text: str) -> int:
    if not text.isdigit() or not int(text):
        raise UsageError(f"requests={text[:40]} is no number of requests", fix="Write requests=10.")
    return int(text)


def _input(text: str | None) -> Any:  # noqa: ANN401 - plain JSON
    try:
        return None if text is None else json.loads(text)
    except ValueError as exc:
        raise UsageError(
            "input is not JSON", fix="""Write --set 'input={"text": "hi"}', or -i text=hi."""
        ) from exc


def _one_of(name: str, said: str | None, known: tuple[str, ...]) -> Any:  # noqa: ANN401 - one of them, or None
    if said is not None and said not in known:
        raise UsageError(f"{name}={said[:40]} is not known", fix=f"It is one of {', '.join(known)}.")
    return said
