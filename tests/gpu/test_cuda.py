"""What a real card does: the context, the kernel, and whether torch works in the context that we opened.

Each test runs in a process of its own, because a process has one context and keeps it.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from importlib import metadata
from typing import Any

import pytest

from coldstart_sdk import gpu

pytestmark = pytest.mark.gpu
needs_torch = pytest.mark.skipif(
    importlib.util.find_spec("torch") is None or "+cpu" in metadata.version("torch"),
    reason="no torch with CUDA here",
)

PRELUDE = """
import ctypes, dataclasses, json, time
from coldstart_sdk import cuda

def tell(**said):
    print(json.dumps(said))

def primary_is_active():
    flags, active = ctypes.c_uint(), ctypes.c_int()
    libcuda = ctypes.CDLL("libcuda.so.1")
    assert libcuda.cuDevicePrimaryCtxGetState(0, ctypes.byref(flags), ctypes.byref(active)) == 0
    return bool(active.value)

def first_result_s():
    start = time.perf_counter()
    torch.ones(1, device="cuda").sum().item()
    return time.perf_counter() - start
"""


def in_a_fresh_process(code: str) -> Any:  # noqa: ANN401 - whatever the code told as JSON
    done = subprocess.run(
        [sys.executable, "-c", PRELUDE + code], capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_a_context_opens_on_a_card_that_the_table_knows_rightly() -> None:
    opened = in_a_fresh_process("""
opened = cuda.open_context()
tell(active=primary_is_active(), **dataclasses.asdict(opened))
""")
    device = opened["device"]
    known = gpu.find(device["name"])

    assert opened["active"]
    assert opened["device_count"] >= 1
    assert device["memory_bytes"] > 1 << 30
    assert known is None or known.sm == device["sm"]
    assert known is None or abs(device["memory_bytes"] / 1e9 / known.vram_gb - 1) < 0.15


def test_describing_a_machine_leaves_its_device_alone() -> None:
    described = in_a_fresh_process("""
described = cuda.describe()
tell(active=primary_is_active(), **dataclasses.asdict(described))
""")

    assert not described["active"]
    assert described["devices"]


def test_the_driver_runs_our_kernel_without_torch() -> None:
    assert in_a_fresh_process("""
import sys
cuda.launch_kernel()
tell(torch="torch" in sys.modules)
""") == {"torch": False}


@needs_torch
def test_torch_works_in_the_context_that_we_opened(capsys: pytest.CaptureFixture[str]) -> None:
    alone = in_a_fresh_process("""
import torch
tell(first_s=first_result_s())
""")
    opened = in_a_fresh_process("""
from coldstart_sdk.cuda.driver import driver
start = time.perf_counter()
cuda.open_context()
opening_s = time.perf_counter() - start
ours = driver().retain(driver().devices(limit=1)[0]).value
import torch
first_s = first_result_s()
cuda.launch_kernel()
current = ctypes.c_void_p()
assert ctypes.CDLL("libcuda.so.1").cuCtxGetCurrent(ctypes.byref(current)) == 0
tell(ours=ours, torchs=current.value, opening_s=opening_s, first_s=first_s)
""")

    with capsys.disabled():
        sys.stderr.write(
            f"\ntorch's first result {alone['first_s']:.2f} s; in an open context {opened['first_s']:.2f} s,"
            f" which took {opened['opening_s']:.2f} s to open; one run each\n"
        )
    assert opened["ours"]
    assert opened["torchs"] == opened["ours"]


def test_this_card_is_refused_by_a_wheel_that_is_too_old_for_it() -> None:
    said = in_a_fresh_process("""
device = cuda.open_context().device
try:
    cuda.check_wheel(device, ["sm_50"])
except cuda.WrongWheel as error:
    tell(message=error.message, name=device.name)
""")

    assert said["name"] in said["message"]
