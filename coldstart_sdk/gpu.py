"""The GPUs that people rent, as a table, and what compiled code runs on which of them.

Facts only. Which of these a platform sells, and in what words, is that backend's `Capabilities`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from coldstart_sdk.frozen import dataclass


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """One card, by the name that a declaration gives it."""

    name: str
    sm: str
    """Compute capability, `major.minor`."""
    vram_gb: int
    """As it is sold, in whichever giga its maker prints: for choosing a card, not for arithmetic."""
    aliases: tuple[str, ...] = ()
    """Other words for it, a driver's among them. Case, spaces, dashes and `NVIDIA` never matter."""

    @property
    def cuda(self) -> str:
        """The first CUDA version whose compiler knows this card."""
        return FIRST_CUDA[self.sm]

    @property
    def driver(self) -> str:
        """The Linux driver that came with that CUDA version; an older one does not know the card."""
        return FIRST_DRIVER[self.cuda]


# From the release notes of each toolkit.
FIRST_CUDA: Mapping[str, str] = {
    "7.5": "10.0",
    "8.0": "11.0",
    "8.6": "11.1",
    "8.9": "11.8",
    "9.0": "11.8",
    "10.0": "12.8",
    "10.3": "12.9",
    "12.0": "12.8",
}
FIRST_DRIVER: Mapping[str, str] = {
    "10.0": "410.48",
    "11.0": "450.51.05",
    "11.1": "455.23",
    "11.8": "520.61.05",
    "12.8": "570.26",
    "12.9": "575.51.03",
}

GPUS: tuple[Gpu, ...] = (
    Gpu(name="T4", sm="7.5", vram_gb=16, aliases=("Tesla T4",)),
    Gpu(name="A10", sm="8.6", vram_gb=24),
    Gpu(name="A10G", sm="8.6", vram_gb=24),
    Gpu(name="A30", sm="8.0", vram_gb=24),
    Gpu(name="A40", sm="8.6", vram_gb=48),
    Gpu(name="L4", sm="8.9", vram_gb=24),
    Gpu(name="L40", sm="8.9", vram_gb=48),
    Gpu(name="L40S", sm="8.9", vram_gb=48),
    Gpu(name="RTX 3090", sm="8.6", vram_gb=24, aliases=("3090", "GeForce RTX 3090")),
    Gpu(name="RTX 4090", sm="8.9", vram_gb=24, aliases=("4090", "GeForce RTX 4090")),
    Gpu(name="RTX 5090", sm="12.0", vram_gb=32, aliases=("5090", "GeForce RTX 5090")),
    Gpu(name="RTX A4000", sm="8.6", vram_gb=16, aliases=("A4000",)),
    Gpu(name="RTX A4500", sm="8.6", vram_gb=20, aliases=("A4500",)),
    Gpu(name="RTX A5000", sm="8.6", vram_gb=24, aliases=("A5000",)),
    Gpu(name="RTX A6000", sm="8.6", vram_gb=48, aliases=("A6000",)),
    Gpu(name="RTX 2000 Ada", sm="8.9", vram_gb=16, aliases=("2000 Ada", "RTX 2000 Ada Generation")),
    Gpu(name="RTX 4000 Ada", sm="8.9", vram_gb=20, aliases=("4000 Ada", "RTX 4000 Ada Generation")),
    Gpu(name="RTX 6000 Ada", sm="8.9", vram_gb=48, aliases=("6000 Ada", "RTX 6000 Ada Generation")),
    Gpu(
        name="RTX PRO 6000",
        sm="12.0",
        vram_gb=96,
        aliases=(
            "RTX PRO 6000 Blackwell",
            "RTX PRO 6000 Blackwell Server Edition",
            "RTX PRO 6000 Blackwell Workstation Edition",
            "RTX PRO 6000 Blackwell Max-Q Workstation Edition",
        ),
    ),
    Gpu(name="A100-40GB", sm="8.0", vram_gb=40, aliases=("A100 SXM4 40GB", "A100 PCIE 40GB")),
    # Plain "A100" is the larger one: whoever sells an A100 sells this, and it holds what fits the smaller.
    Gpu(
        name="A100-80GB",
        sm="8.0",
        vram_gb=80,
        aliases=("A100", "A100 SXM", "A100 SXM4 80GB", "A100 PCIe", "A100 80GB PCIe"),
    ),
    Gpu(name="H100", sm="9.0", vram_gb=80, aliases=("H100 SXM", "H100 SXM5", "H100 80GB", "H100 80GB HBM3")),
    Gpu(name="H100 PCIe", sm="9.0", vram_gb=80, aliases=("H100 80GB PCIe",)),
    Gpu(name="H100 NVL", sm="9.0", vram_gb=94),
    Gpu(name="H200", sm="9.0", vram_gb=141, aliases=("H200 SXM", "H200 NVL")),
    Gpu(name="GH200", sm="9.0", vram_gb=96, aliases=("GH200 480GB", "GH200 96GB")),
    Gpu(name="B200", sm="10.0", vram_gb=180, aliases=("B200 SXM",)),
    Gpu(name="B300", sm="10.3", vram_gb=288, aliases=("B300 SXM6", "B300 SXM6 AC")),
)


MARKED: Mapping[str, str] = {"H100!": "H100", "B200+": "B200"}
"""Wishes in Modal's words, and the card in each: that one and no better; that one or a better."""


def find(name: str) -> Gpu | None:
    """The card that `name` means, with or without a count (`H100:2`); None if the table has none."""
    model, _, _ = name.partition(":")
    mark = _mark(model)
    gpu = _BY_KEY.get(_key(model.strip().removesuffix(mark)))
    is_known = gpu is not None and (not mark or gpu.name + mark in MARKED)
    return gpu if is_known and count(name) else None


def unmarked(model: str) -> str:
    """`H100` of `H100!`: what a platform sells that makes no difference between the two."""
    return MARKED.get(model, model)


def count(name: str) -> int | None:
    """How many cards `H100:2` asks for: one without a number, None if it is not a positive whole one."""
    _, colon, number = name.partition(":")
    if not colon:
        return 1
    return int(number) if re.fullmatch(r"[1-9][0-9]{0,2}", number) else None


def canonical(name: str) -> str | None:
    """The one spelling of a card and its count: `nvidia h100:1` and `H100` are the same wish."""
    gpu, many = find(name), count(name)
    if gpu is None or many is None:
        return None
    model = gpu.name + _mark(name.partition(":")[0])
    return model if many == 1 else f"{model}:{many}"


def nearest(name: str) -> tuple[str, ...]:
    """Names that whoever wrote `name` may have meant, the likeliest first; empty when none is near."""
    import difflib  # noqa: PLC0415 - only for a name that is wrong

    model, _, _ = name.partition(":")
    keys = difflib.get_close_matches(_key(model), _BY_KEY, n=6, cutoff=0.6)
    return tuple(dict.fromkeys(_BY_KEY[key].name for key in keys))[:3]


def runs_on(sm: str, archs: Iterable[str]) -> bool:
    """Whether a card of capability `sm` runs code that was built for `archs` (`sm_90`, `compute_90`, …)."""
    return any(_runs(_version(sm), built_for) for built_for in archs)


def arch_list(gpus: Iterable[Gpu]) -> str:
    """`TORCH_CUDA_ARCH_LIST` for exactly these cards: no PTX, so nothing is compiled on a cold start."""
    return ";".join(sorted({gpu.sm for gpu in gpus}, key=_version))


def arch(sm: str) -> str:
    """`8.9` as compilers and wheels spell it: `sm_89`."""
    return "sm_" + sm.replace(".", "")


def _runs(card: tuple[int, int], built_for: str) -> bool:
    """One entry of an architecture list against one card.

    A cubin (`sm_`) runs within its major version, from its minor version up. PTX (`compute_`) is compiled on
    the spot for anything as new or newer. A final `a` is one chip alone, `f` its family, in PTX too.
    """
    match = _ARCH.fullmatch(built_for)
    if match is None:
        return False
    built = (int(match["major"]), int(match["minor"]))
    if match["suffix"] == "a":
        return card == built
    if match["kind"] == "compute" and not match["suffix"]:
        return card >= built
    return card[0] == built[0] and card >= built


def _version(sm: str) -> tuple[int, int]:
    major, _, minor = sm.partition(".")
    return int(major), int(minor)


def _mark(model: str) -> str:
    last = model.strip()[-1:]
    return last if last in {"!", "+"} else ""


def _key(name: str) -> str:
    return re.sub(r"[\s_-]+", "", name.casefold()).removeprefix("nvidia")


_ARCH = re.compile(r"(?P<kind>sm|compute)_(?P<major>[0-9]+)(?P<minor>[0-9])(?P<suffix>[af]?)")
_BY_KEY: Mapping[str, Gpu] = {_key(word): gpu for gpu in GPUS for word in (gpu.name, *gpu.aliases)}
