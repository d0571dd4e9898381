"""CUDA's error codes, and what each means to whoever runs a worker.

Driver and runtime share one numbering, but for 35 and 98, which the runtime alone gives (driver_types.h).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """What one error of CUDA's means to whoever runs a worker."""

    code: int | None
    name: str
    meaning: str
    fix: str
    permanent: bool = True
    """Starting again on this machine cannot help."""


def refusal(code: int, name: str | None = None, meaning: str | None = None) -> Refusal:
    """What a code means; `name` and `meaning` serve for one that is not in the table."""
    return REFUSALS.get(code) or Refusal(
        code=code,
        name=name or "an unlisted error",
        meaning=meaning or "the driver does not say more",
        fix=ANOTHER_MACHINE,
    )


NO_CODE = frozenset({98, 209})
ANOTHER_MACHINE = "Start the worker on another machine; report this one to whoever runs it."
_NEWER_DRIVER = "Ask for a machine with a newer driver, or install libraries built for an older CUDA."
_OTHER_WHEEL = "Install a build of the library that lists this card's architecture, or declare another card."
_AGAIN = "Start the worker again; if it comes back on other machines too, the fault is in the code that ran."

WRONG_ANSWER = Refusal(
    code=None, name="wrong result", meaning="it ran and gave a wrong result", fix=ANOTHER_MACHINE
)

REFUSALS: Mapping[int, Refusal] = {
    known.code: known
    for known in (
        Refusal(
            code=2,
            name="CUDA_ERROR_OUT_OF_MEMORY",
            meaning="its memory is full before anything was loaded",
            fix="See which other process holds the device (nvidia-smi), or wait for the one before to end.",
            permanent=False,
        ),
        Refusal(
            code=3,
            name="CUDA_ERROR_NOT_INITIALIZED",
            meaning="it was used before it was opened, or in a fork of a process that had opened it",
            fix="Start processes with the spawn method, or open the device only after the fork.",
        ),
        Refusal(
            code=4,
            name="CUDA_ERROR_DEINITIALIZED",
            meaning="the driver is shutting down in this process",
            fix="Use the device before the process ends; close hooks run in time for that.",
            permanent=False,
        ),
        Refusal(
            code=35,
            name="cudaErrorInsufficientDriver",
            meaning="the driver is older than the CUDA that the library was built for",
            fix=_NEWER_DRIVER,
        ),
        Refusal(
            code=36,
            name="CUDA_ERROR_CALL_REQUIRES_NEWER_DRIVER",
            meaning="the driver is too old for what the library asks of it",
            fix=_NEWER_DRIVER,
        ),
        Refusal(
            code=46,
            name="CUDA_ERROR_DEVICE_UNAVAILABLE",
            meaning="another process has it to itself, or a fault took it out of service",
            fix="See which process holds the device (nvidia-smi); otherwise start on another machine.",
            permanent=False,
        ),
        Refusal(
            code=98,
            name="cudaErrorInvalidDeviceFunction",
            meaning="the library has no code for this card",
            fix=_OTHER_WHEEL,
        ),
        Refusal(
            code=101,
            name="CUDA_ERROR_INVALID_DEVICE",
            meaning="there is no device of that number, or it is split and no part of it was given",
            fix="Check CUDA_VISIBLE_DEVICES against the devices that nvidia-smi -L lists.",
        ),
        Refusal(
            code=102,
            name="CUDA_ERROR_DEVICE_NOT_LICENSED",
            meaning="the virtual GPU has no licence for compute",
            fix=ANOTHER_MACHINE,
        ),
        Refusal(
            code=209,
            name="CUDA_ERRORNO_BINARY_FOR_GPU",
            meaning="the library has no code for this card",
            fix=_OTHER_WHEEL,
        ),
        Refusal(
            code=214,
            name="CUDA_ERROR_ECC_UNCORRECTABLE",
            meaning="its memory has an error that it could not correct",
            fix=ANOTHER_MACHINE,
        ),
        Refusal(
            code=217,
            name="CUDA_ERROR_PEER_ACCESS_UNSUPPORTED",
            meaning="two devices of this machine cannot reach each other's memory",
            fix="Set NCCL_P2P_DISABLE=1, or ask for a machine whose devices are linked.",
        ),
        Refusal(
            code=218,
            name="CUDA_ERROR_INVALID_PTX",
            meaning="the driver could not compile a kernel for this card",
            fix=_OTHER_WHEEL,
        ),
        Refusal(
            code=220,
            name="CUDA_ERROR_NVLINK_UNCORRECTABLE",
            meaning="the link between devices has an error that it could not correct",
            fix=ANOTHER_MACHINE,
        ),
        Refusal(
            code=221,
            name="CUDA_ERROR_JIT_COMPILER_NOT_FOUND",
            meaning="the driver's compiler, libnvidia-ptxjitcompiler, is not in this container",
            fix="Give the container the driver's compute part: NVIDIA_DRIVER_CAPABILITIES=compute,utility.",
        ),
        Refusal(
            code=222,
            name="CUDA_ERROR_UNSUPPORTED_PTX_VERSION",
            meaning="a kernel was written by a newer CUDA than the driver speaks",
            fix=_NEWER_DRIVER,
        ),
        Refusal(
            code=223,
            name="CUDA_ERROR_JIT_COMPILATION_DISABLED",
            meaning="compiling kernels on the spot is switched off",
            fix="Unset CUDA_DISABLE_PTX_JIT.",
        ),
        Refusal(
            code=304,
            name="CUDA_ERROR_OPERATING_SYSTEM",
            meaning="a call to the system failed: a device file is missing or closed to this container",
            fix="Give the container /dev/nvidia-uvm and the other device files, or start on another machine.",
        ),
        Refusal(
            code=700,
            name="CUDA_ERROR_ILLEGAL_ADDRESS",
            meaning="a kernel touched memory that is not its own; the process cannot use the device any more",
            fix=_AGAIN,
            permanent=False,
        ),
        Refusal(
            code=702,
            name="CUDA_ERROR_LAUNCH_TIMEOUT",
            meaning="a kernel took longer than a device with a display allows",
            fix=ANOTHER_MACHINE,
        ),
        Refusal(
            code=719,
            name="CUDA_ERROR_LAUNCH_FAILED",
            meaning="a kernel crashed; the process cannot use the device any more",
            fix=_AGAIN,
            permanent=False,
        ),
        Refusal(
            code=802,
            name="CUDA_ERROR_SYSTEM_NOT_READY",
            meaning="the machine's devices are still being linked, or the service that links them is down",
            fix="Try again in a minute; then see that nvidia-fabricmanager runs on the host.",
            permanent=False,
        ),
        Refusal(
            code=803,
            name="CUDA_ERROR_SYSTEM_DRIVER_MISMATCH",
            meaning="libcuda and the kernel's driver are of different versions",
            fix="Take libcuda and cuda-compat out of the image: the host mounts its own.",
        ),
        Refusal(
            code=804,
            name="CUDA_ERROR_COMPAT_NOT_SUPPORTED_ON_DEVICE",
            meaning="the image brings cuda-compat, which works on data-centre cards only",
            fix="Take cuda-compat out of the image, or declare a data-centre card in gpu=.",
        ),
        Refusal(
            code=807,
            name="CUDA_ERROR_MPS_SERVER_NOT_READY",
            meaning="the service that shares the device among processes is not ready",
            fix="Try again in a minute, or see that nvidia-cuda-mps-control runs on the host.",
            permanent=False,
        ),
        Refusal(
            code=999,
            name="CUDA_ERROR_UNKNOWN",
            meaning="the driver failed and does not know why; its modules on the host are often half loaded",
            fix=ANOTHER_MACHINE,
        ),
    )
    if known.code is not None
}
