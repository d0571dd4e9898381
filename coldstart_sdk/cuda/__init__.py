"""Open the device early, through the driver alone, and say plainly what is wrong with it.

The seconds that a context takes pass beside the fetch and the imports; torch, imported later, works in the
same primary context. After that the process may not use the device in a fork of itself, nor be part of a
CPU-only snapshot.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from coldstart_sdk import gpu
from coldstart_sdk.cuda.driver import Device, driver
from coldstart_sdk.cuda.errors import CudaError, NoDevice, NoDriver, SickDevice, WrongWheel
from coldstart_sdk.cuda.refusals import ANOTHER_MACHINE, NO_CODE, WRONG_ANSWER, Refusal, refusal

if TYPE_CHECKING:
    from types import ModuleType

__all__ = [
    "CudaError",
    "Described",
    "Device",
    "NoDevice",
    "NoDriver",
    "Opened",
    "SickDevice",
    "WrongWheel",
    "check_torch",
    "check_wheel",
    "describe",
    "launch_kernel",
    "open_context",
    "refusal",
]


@dataclass(frozen=True, kw_only=True)
class Opened:
    """A context that this process holds from now on."""

    device: Device
    device_count: int
    cuda: str
    """The newest CUDA version that the driver speaks."""


@dataclass(frozen=True, kw_only=True)
class Described:
    """What a machine has, found out without holding a context on it."""

    driver: str | None
    """The kernel module's version; None where the system does not show it."""
    cuda: str
    devices: tuple[Device, ...]


def open_context() -> Opened:
    """Hold the primary context of the first device, the one that torch will work in."""
    libcuda = driver()
    devices = libcuda.devices(limit=1)
    libcuda.retain(devices[0])
    return Opened(device=devices[0], device_count=libcuda.device_count(), cuda=libcuda.cuda())


def describe(root: Path = Path("/")) -> Described:
    """Driver and devices; no context is created, so nothing is taken on them."""
    libcuda = driver()
    return Described(driver=_kernel_module(root), cuda=libcuda.cuda(), devices=libcuda.devices())


def launch_kernel() -> None:
    """Run one real kernel and check its result: through torch where it is imported, else by the driver."""
    libcuda = driver()
    device = libcuda.devices(limit=1)[0]
    if "torch" in sys.modules:
        import torch  # noqa: PLC0415 - waits for the thread that is importing it

        check_torch(torch, device, cuda=libcuda.cuda())
        _launch_by_torch(torch, device)
    else:
        libcuda.launch(device)


def check_torch(torch: ModuleType, device: Device, *, cuda: str) -> None:
    """Refuse a torch that cannot work with this card, or with a driver that speaks `cuda`."""
    if torch.version.cuda is None:
        raise WrongWheel(
            f"torch {torch.__version__} was built without CUDA, and {device.name} needs it",
            fix="Install a torch built for CUDA: on Linux the one that plain `pip install torch` gives.",
        )
    if _major(torch.version.cuda) > _major(cuda):
        raise WrongWheel(
            f"torch {torch.__version__} is built for CUDA {torch.version.cuda}; this driver speaks {cuda}",
            fix=f"Install a torch built for CUDA {_major(cuda)}, or ask for a machine with a newer driver.",
        )
    check_wheel(device, torch.cuda.get_arch_list())


def check_wheel(device: Device, archs: Iterable[str]) -> None:
    """Refuse a wheel that holds no code for this card, before a kernel crashes on it."""
    built_for = tuple(archs)
    if not gpu.runs_on(device.sm, built_for):
        raise _no_code(device, built_for)


def _no_code(device: Device, archs: Iterable[str]) -> WrongWheel:
    known = gpu.FIRST_CUDA.get(device.sm)
    wheel = f"a torch built with CUDA {known} or newer" if known else "a torch"
    return WrongWheel(
        f"torch has no code for {device.name} ({gpu.arch(device.sm)}): it was built for "
        + (", ".join(archs) or "no card at all"),
        fix=f"Install {wheel} that lists {gpu.arch(device.sm)}, or declare another card in gpu=.",
    )


def _launch_by_torch(torch: ModuleType, device: Device) -> None:
    try:
        ones = torch.ones((_SIDE, _SIDE), device="cuda")
        total = float((ones @ ones).sum().item())  # .item() waits until it is done
    except RuntimeError as exc:
        raise _of_torch(exc, device, torch.cuda.get_arch_list()) from exc
    if total != float(_SIDE**3):
        raise SickDevice(WRONG_ANSWER, doing="a matrix product of ones", on=device.name)


def _of_torch(exc: RuntimeError, device: Device, archs: Iterable[str]) -> CudaError:
    """One of ours for torch's, whose text has many lines of advice for other readers."""
    first = str(exc).partition("\n")[0] or "torch does not say more"
    code: int | None = getattr(exc, "error_code", None)
    if code in NO_CODE or "no kernel image" in first:
        return _no_code(device, archs)
    if code is None:
        seen = Refusal(code=None, name=type(exc).__name__, meaning=first, fix=ANOTHER_MACHINE)
    else:
        seen = refusal(code, type(exc).__name__, first)
    return SickDevice(seen, doing="its first kernel", on=device.name)


def _kernel_module(root: Path) -> str | None:
    try:
        text = (root / "proc/driver/nvidia/version").read_text()
    except OSError:
        return None
    match = re.search(r"\b\d{3,}\.\d+(\.\d+)?\b", text)
    return match[0] if match else None


def _major(version: str) -> int:
    return int(version.partition(".")[0])


_SIDE = 16
