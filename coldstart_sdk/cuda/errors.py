"""What can be wrong with a device, each as an error with its fix."""

from __future__ import annotations

from coldstart_sdk.cuda.refusals import Refusal
from coldstart_sdk.errors import LifecycleError


class CudaError(LifecycleError):
    """The device cannot be used."""

    permanent: bool = True
    """Starting again on this machine cannot help."""


class NoDriver(CudaError):  # noqa: N818 - a state of the machine, which callers may accept
    """No NVIDIA driver library that could be loaded."""


class NoDevice(CudaError):  # noqa: N818 - as above
    """A driver, and no card that this process may use."""


class WrongWheel(CudaError):  # noqa: N818 - as above
    """The torch that is installed cannot run on this card, or with this driver."""


class SickDevice(CudaError):  # noqa: N818 - as above
    """A card that does not do as it should; `code` and `name` are the driver's, None where it gave none."""

    def __init__(self, refusal: Refusal, *, doing: str, on: str | None = None) -> None:
        device = on or "the GPU"
        named = f"{refusal.name}, {refusal.code}" if refusal.code is not None else refusal.name
        super().__init__(f"{device} failed at {doing}: {refusal.meaning} ({named})", fix=refusal.fix)
        self.code = refusal.code
        self.name = refusal.name
        self.meaning = refusal.meaning
        self.permanent = refusal.permanent
