"""Choose the image that a worker's image is built on, and say why.

Everything is decided from the declaration: cards, torch's version, what is compiled while the image is built.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from coldstart_sdk import gpu
from coldstart_sdk.backends.runpod import digests
from coldstart_sdk.backends.runpod.capabilities import CAPABILITIES
from coldstart_sdk.errors import BundleError
from coldstart_sdk.plan import Card, Note, Plan

PYTHON = "3.11"
"""Where the declaration names none: the oldest that every library of note still serves and tests first."""

# The CUDA that PyPI's Linux wheels of torch are built for, from each release's notes
# (https://github.com/pytorch/pytorch/releases). What is not listed is not guessed at.
TORCH_CUDA: Mapping[str, str] = {
    "2.4": "12.1",
    "2.5": "12.4",
    "2.6": "12.4",
    "2.7": "12.6",
    "2.8": "12.8",
    "2.9": "12.8",
}
_DEVEL: Mapping[str, tuple[str, str]] = {
    # CUDA → (tag of nvidia/cuda, its distribution); Ubuntu 22.04 brings Python 3.10, 24.04 brings 3.12.
    "12.1": ("12.1.1-cudnn8-devel", "ubuntu22.04"),
    "12.4": ("12.4.1-cudnn-devel", "ubuntu22.04"),
    "12.6": ("12.6.3-cudnn-devel", "ubuntu24.04"),
    "12.8": ("12.8.1-cudnn-devel", "ubuntu24.04"),
}
_PYTHON_OF = {"ubuntu22.04": "3.10", "ubuntu24.04": "3.12"}
_TORCH = re.compile(r"torch\s*==\s*(?P<version>\d+\.\d+)")


@dataclass(frozen=True, kw_only=True)
class Base:
    """The image to start from."""

    image: str
    cuda: str | None
    """What a host's driver has to know, `major.minor`; None: no GPU is declared."""
    shares_packages: bool
    """Whether it brings Python packages that the worker shall see."""
    reasons: tuple[str, ...]


def choose(plan: Plan) -> Base:
    """The base of this plan's image; a `BundleError` where wheels and cards cannot meet."""
    container = plan.spec.image
    cards = declared_cards(plan)
    torch = torch_version(plan)
    cuda = _cuda(cards, torch, plan)
    why = tuple(_driver_reasons(cards, torch, cuda))
    if container.base:
        return Base(
            image=container.base, cuda=cuda, shares_packages=True, reasons=("the declaration names it", *why)
        )
    python = container.python or PYTHON
    if cuda and any(command.gpu for command in container.run):
        return _with_compiler(python, cuda, why, plan)
    reasons = [f"Python {python} and no more: what is not in an image is not pulled"]
    if cards:
        reasons.append("wheels of torch bring their own CUDA, and the driver is the host's")
    return Base(
        image=f"python:{python}-slim-bookworm", cuda=cuda, shares_packages=False, reasons=(*reasons, *why)
    )


def notes(plan: Plan, project: Path) -> tuple[Note, ...]:
    """The same for a reader of the plan."""
    base = choose(plan)
    image = digests.pinned(base.image, project)
    pinned = (
        "" if "@" in image else "; no digest is known: coldstart build FILE --target runpod --pin asks for it"
    )
    return (
        Note(about="base", text=f"{image}{pinned}"),
        *(Note(about="base", text=reason) for reason in base.reasons),
    )


def declared_cards(plan: Plan) -> tuple[Card, ...]:
    """The cards of the plan, in order of preference."""
    sold = {card.sold_as: card for card in CAPABILITIES.cards or ()}
    return tuple(sold[name.partition(":")[0]] for name in plan.gpu)


def torch_version(plan: Plan) -> str | None:
    """`major.minor` where the declaration pins torch."""
    pins = (_TORCH.match(requirement) for requirement in plan.spec.image.pip)
    return next((pin["version"] for pin in pins if pin), None)


def _cuda(cards: tuple[Card, ...], torch: str | None, plan: Plan) -> str | None:
    if not cards:
        return None
    needed = [found.cuda for card in cards if (found := gpu.find(card.gpu))]
    first = max(needed, key=_version)
    built = TORCH_CUDA.get(torch or "")
    if built is None:
        return max(first, "12.1", key=_version)
    if _version(built) < _version(first):
        card = next(card for card in cards if (found := gpu.find(card.gpu)) and found.cuda == first)
        able = next(version for version, cuda in TORCH_CUDA.items() if _version(cuda) >= _version(first))
        raise BundleError(
            f"torch {torch} is built with CUDA {built}, and {card.gpu} needs {first}",
            fix=f"Pin torch=={able} or later, or take {card.gpu} out of gpu=.",
            where=f"{plan.spec.module}.py:{plan.spec.qualname}",
        )
    return built


def _driver_reasons(cards: tuple[Card, ...], torch: str | None, cuda: str | None) -> Iterator[str]:
    if not cards:
        return
    names = ", ".join(dict.fromkeys(card.gpu for card in cards))
    archs = gpu.arch_list([found for card in cards if (found := gpu.find(card.gpu))])
    if torch in TORCH_CUDA:
        yield f"torch {torch} is built with CUDA {cuda}: hosts need a driver that knows it"
    elif torch:
        yield f"torch {torch} is not in our table; {names} needs a driver of CUDA {cuda} or later"
    else:
        yield f"torch is not pinned; {names} needs a driver of CUDA {cuda} or later"
    yield f"compiled code is for {names}: {archs}"


def _with_compiler(python: str, cuda: str, why: tuple[str, ...], plan: Plan) -> Base:
    fits = [
        (tag, system)
        for version, (tag, system) in _DEVEL.items()
        if _version(version) >= _version(cuda) and _PYTHON_OF[system] == python
    ]
    if not fits:
        able = sorted({_PYTHON_OF[system] for _, system in _DEVEL.values()}, key=_version)
        raise BundleError(
            f"no image with CUDA {cuda}'s compiler has Python {python}",
            fix=f"Declare Container.python with {' or '.join(able)}, or name an image with Container.base.",
            where=f"{plan.spec.module}.py:{plan.spec.qualname}",
        )
    tag, system = fits[0]
    return Base(
        image=f"nvidia/cuda:{tag}-{system}",
        cuda=cuda,
        shares_packages=False,
        reasons=("a command with gpu=True compiles for a GPU, and needs CUDA's compiler", *why),
    )


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split("."))
