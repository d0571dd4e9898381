"""The driver library by ctypes, which lets other threads run while a call takes its time."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING

from coldstart_sdk.cuda.errors import NoDevice, NoDriver, SickDevice
from coldstart_sdk.cuda.refusals import WRONG_ANSWER, refusal

if TYPE_CHECKING:
    import ctypes


@dataclass(frozen=True, kw_only=True)
class Device:
    index: int
    name: str
    sm: str
    """Compute capability, `major.minor`."""
    memory_bytes: int


class Driver:
    """The driver library after `cuInit`; every refusal of it is raised."""

    def __init__(self) -> None:
        import ctypes  # noqa: PLC0415 - only where a GPU was asked for

        self._c = ctypes
        self._held: dict[int, ctypes.c_void_p] = {}
        try:
            self._lib = ctypes.CDLL("libcuda.so.1")
        except OSError as exc:
            raise NoDriver(
                f"no NVIDIA driver here: {exc}",
                fix="Start the container with its GPUs (docker: --gpus all), or install the NVIDIA driver.",
            ) from exc
        self._call("cuInit", 0, doing="opening the driver")

    def cuda(self) -> str:
        version = self._c.c_int()
        self._call("cuDriverGetVersion", self._c.byref(version), doing="asking the driver's version")
        return f"{version.value // 1000}.{version.value % 1000 // 10}"

    def device_count(self) -> int:
        number = self._c.c_int()
        self._call("cuDeviceGetCount", self._c.byref(number), doing="counting devices")
        if number.value == 0:
            raise _no_device()
        return number.value

    def devices(self, *, limit: int | None = None) -> tuple[Device, ...]:
        """The devices that this process may use; there is at least one."""
        return tuple(self._device(index) for index in range(self.device_count())[:limit])

    def retain(self, device: Device) -> ctypes.c_void_p:
        """The device's primary context; the process holds it until it ends."""
        if device.index not in self._held:
            context = self._c.c_void_p()
            self._call(
                "cuDevicePrimaryCtxRetain",
                self._c.byref(context),
                self._handle(device.index),
                doing="opening a context",
                on=device.name,
            )
            self._held[device.index] = context
        return self._held[device.index]

    def launch(self, device: Device) -> None:
        """Run a kernel that writes one number, and read the number back.

        Assembled by NVIDIA's ptxas for every architecture in the GPU table; not yet run on a card.
        """
        call = functools.partial(self._call, doing="its first kernel", on=device.name)
        call("cuCtxPushCurrent_v2", self.retain(device))
        try:
            self._write_and_read(call, device)
        finally:  # unchecked: what failed before it is the error to tell
            self._lib.cuCtxPopCurrent_v2(self._c.byref(self._c.c_void_p()))

    def _write_and_read(self, call: functools.partial[None], device: Device) -> None:
        c = self._c
        module, function, memory = c.c_void_p(), c.c_void_p(), c.c_uint64()
        answer = c.c_uint32()
        call("cuModuleLoadData", c.byref(module), c.c_char_p(_PTX))
        call("cuModuleGetFunction", c.byref(function), module, c.c_char_p(b"coldstart_probe"))
        call("cuMemAlloc_v2", c.byref(memory), c.c_size_t(c.sizeof(answer)))
        arguments = (c.c_void_p * 1)(c.addressof(memory))
        one = [c.c_uint(1)] * 3
        call("cuLaunchKernel", function, *one, *one, c.c_uint(0), None, arguments, None)
        call("cuCtxSynchronize")
        call("cuMemcpyDtoH_v2", c.byref(answer), memory, c.c_size_t(c.sizeof(answer)))
        call("cuMemFree_v2", memory)
        call("cuModuleUnload", module)
        if answer.value != _ANSWER:
            raise SickDevice(WRONG_ANSWER, doing="writing one number", on=device.name)

    def _device(self, index: int) -> Device:
        c, handle = self._c, self._handle(index)
        name, memory = c.create_string_buffer(256), c.c_size_t()
        self._call("cuDeviceGetName", name, len(name), handle, doing="asking a device's name")
        self._call("cuDeviceTotalMem_v2", c.byref(memory), handle, doing="asking a device's memory")
        major, minor = (self._attribute(which, handle) for which in (_SM_MAJOR, _SM_MINOR))
        return Device(index=index, name=name.value.decode(), sm=f"{major}.{minor}", memory_bytes=memory.value)

    def _handle(self, index: int) -> ctypes.c_int:
        handle = self._c.c_int()
        self._call("cuDeviceGet", self._c.byref(handle), index, doing="finding a device")
        return handle

    def _attribute(self, which: int, handle: ctypes.c_int) -> int:
        value = self._c.c_int()
        self._call(
            "cuDeviceGetAttribute", self._c.byref(value), which, handle, doing="asking what a device can"
        )
        return value.value

    def _call(self, function: str, *arguments: object, doing: str, on: str | None = None) -> None:
        code = getattr(self._lib, function)(*arguments)
        if code == _NO_DEVICE:
            raise _no_device()
        if code == _STUB:
            raise NoDriver(
                "the libcuda.so.1 that was loaded is the CUDA toolkit's stub, not a driver",
                fix="Take the toolkit's lib/stubs off LD_LIBRARY_PATH, so that the driver's own is found.",
            )
        if code:
            raise SickDevice(
                refusal(code, self._text("Name", code), self._text("String", code)), doing=doing, on=on
            )

    def _text(self, kind: str, code: int) -> str | None:
        """The driver's own word for a code; None for one that it does not know either."""
        text = self._c.c_char_p()
        getattr(self._lib, f"cuGetError{kind}")(code, self._c.byref(text))
        return text.value.decode() if text.value else None


@functools.cache
def driver() -> Driver:
    """The one driver of this process. A failure is not kept: the next call tries again."""
    return Driver()


def _no_device() -> NoDevice:
    return NoDevice(
        "the NVIDIA driver shows this process no GPU",
        fix="Give the container its GPUs, and see that CUDA_VISIBLE_DEVICES does not hide them.",
    )


_SM_MAJOR, _SM_MINOR = 75, 76  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_*
_STUB, _NO_DEVICE = 34, 100
_ANSWER = 42

# The oldest target that its form needs, so that every driver of ours can compile it for every card.
_PTX = b"""
.version 4.0
.target sm_50
.address_size 64
.visible .entry coldstart_probe(.param .u64 out)
{
    .reg .u64 %rd<3>;
    .reg .u32 %r<2>;
    ld.param.u64 %rd1, [out];
    cvta.to.global.u64 %rd2, %rd1;
    mov.u32 %r1, 42;
    st.global.u32 [%rd2], %r1;
    ret;
}
"""
