"""Name what a plan asks of Modal that its client or its service would refuse, every case at once."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import PurePosixPath

from coldstart_sdk.errors import BundleError, Problem
from coldstart_sdk.plan import Note, Plan
from coldstart_sdk.spec import Origin, Place

IDLE_S = (2, 1200)
"""What `scaledown_window` takes (docs, guide/cold-start)."""
TAG = r"([A-Za-z_][A-Za-z0-9_]{0,36})\.[0-9a-f]{12}"
"""A release's tag: the class that it serves, and the digest of its bundle. Modal takes 50 characters."""
MOST_CARDS = {"A10": 4}
"""Cards of one worker; 8 of every other (docs, guide/gpu)."""
OLD_PYTHON = "3.10"
"""Warned of since 2026-11 (package, _image)."""
_OURS = frozenset(
    {"HERE", "Path", "app", "compiled", "image", "modal", "prefetch", "secrets", "volume", "worker"}
)
"""Names that `modal_app.py` uses itself."""


def unspeakable(plan: Plan) -> None:
    """Raise when the plan cannot be spelled."""
    problems = (
        *_names(plan),
        *_cards(plan),
        *_idle(plan),
        *_two_homes(plan),
        *_secret_names(plan),
        *_left_here(plan),
    )
    if problems:
        raise BundleError.of(problems)


def notes(plan: Plan) -> tuple[Note, ...]:
    """What Modal takes today, and will refuse."""
    if plan.spec.image.python != OLD_PYTHON:
        return ()
    text = f"Modal's client 1.7 and its image builder 2026.10 refuse Python {OLD_PYTHON}: use 3.11 or later"
    return (Note(about="image", text=text),)


def _names(plan: Plan) -> Iterator[Problem]:
    spec = plan.spec
    where = f"{spec.module}.py:{spec.qualname}"
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,64}", spec.name):
        yield Problem(
            message=f"{spec.name!r} cannot be the name of a Modal app",
            fix="Use at most 64 letters, digits, dots, dashes and underscores.",
            where=where,
        )
    if not re.fullmatch(TAG, f"{spec.qualname.rpartition('.')[2]}.{'0' * 12}"):
        yield Problem(
            message=f"{spec.qualname} cannot stand in a Modal release's tag",
            fix="Give the class a name of at most 37 ASCII letters, digits and underscores.",
            where=where,
        )
    if spec.qualname in _OURS:
        yield Problem(
            message=f"{spec.qualname} is a name that modal_app.py uses itself",
            fix="Give the class another name.",
            where=where,
        )


def _cards(plan: Plan) -> Iterator[Problem]:
    for wanted in plan.gpu:
        name, _, count = wanted.partition(":")
        most = MOST_CARDS.get(name, 8)
        if int(count or 1) > most:
            yield Problem(
                message=f"Modal gives a worker at most {most} cards of {name}, not {count}",
                fix=f'Write gpu="{name}:{most}", or a larger card.',
                where=f"{plan.spec.module}.py:{plan.spec.qualname}",
            )


def _idle(plan: Plan) -> Iterator[Problem]:
    least, most = IDLE_S
    if not least <= plan.spec.scale.idle_s <= most:
        yield Problem(
            message=f"Modal keeps an idle worker {least} to {most} s, not {plan.spec.scale.idle_s:g} s",
            fix=f'Set Scale(idle="{least if plan.spec.scale.idle_s < least else most}s"); '
            "min= keeps workers for longer.",
            where=f"{plan.spec.module}.py:{plan.spec.qualname}",
        )


def _two_homes(plan: Plan) -> Iterator[Problem]:
    if plan.volume and Place.IMAGE in plan.places.values():
        yield Problem(
            message="some weights go into the image, and others on a volume: a worker looks in one of them",
            fix='Put all of them in one place, such as place="volume".',
            where=f"{plan.spec.module}.py:{plan.spec.qualname}",
        )


def _left_here(plan: Plan) -> Iterator[Problem]:
    """A path of this machine means nothing in a container, unless the file goes along."""
    copied = [PurePosixPath(source) for source, _ in plan.spec.image.files]
    for name, weight in plan.spec.weights.items():
        path = PurePosixPath(weight.source)
        goes_along = any(path == source or source in path.parents for source in copied)
        if weight.origin is Origin.LOCAL and not goes_along:
            yield Problem(
                message=f"the weight {name!r} lies on this machine only: {weight.source}",
                fix=f"{_along(path)}, or put it into a store.",
                where=f"{plan.spec.module}.py:{plan.spec.qualname}",
            )


def _along(path: PurePosixPath) -> str:
    """How a file comes into the container, under the name that the declaration gives it."""
    if path.is_absolute() or ".." in path.parts or path.parts[:1] == ("~",):
        copied = f'.copy("{path.name}", "{path.name}")'
        return f"Move it into the project's folder, name it from there, and copy it along with {copied}"
    return f'Copy it along, with .copy("{path}", "{path}")'


def _secret_names(plan: Plan) -> Iterator[Problem]:
    named = plan.spec.overrides.get("modal", {}).get("secrets", {})
    where = f"{plan.spec.module}.py:{plan.spec.qualname}"
    if not isinstance(named, dict) or not all(isinstance(name, str) for name in named.values()):
        yield Problem(
            message="overrides/modal/secrets does not say which Modal secret holds which variable",
            fix='Write {"secrets": {"HF_TOKEN": "my-huggingface-secret"}}.',
            where=where,
        )
        return
    for name in named:
        if name not in plan.spec.secrets:
            yield Problem(
                message=f"overrides/modal/secrets names {name!r}, which secrets= does not",
                fix=f'Add it: secrets=["{name}"].',
                where=where,
            )
