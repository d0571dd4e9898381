"""Opening the device, against a stub of libcuda.so.1: the order of calls, and every refusal.

The stub (stub_libcuda.c) proves how we call and what we say. What a card does is in tests/gpu.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from coldstart_sdk import cuda
from coldstart_sdk.cuda.refusals import REFUSALS, Refusal

HERE = Path(__file__).parent

# Runs ACT in a fresh interpreter and prints what it returned or raised.
DRIVER_SCRIPT = """
import dataclasses, json, os, sys
from coldstart_sdk import cuda
try:
    got = ACT
    print(json.dumps(dataclasses.asdict(got) if got else None))
except cuda.CudaError as error:
    keys = ("message", "fix", "permanent", "code", "name", "exit_code")
    said = {key: getattr(error, key, None) for key in keys}
    print(json.dumps({"error": type(error).__name__, **said}))
"""

# Imitates what `launch_kernel` uses of torch: version.cuda, cuda.get_arch_list, ones, and the product of two.
TORCH_DOUBLE = """
import os, types
__version__ = "2.13.0"
version = types.SimpleNamespace(cuda=os.environ.get("DOUBLE_CUDA"))
cuda = types.SimpleNamespace(get_arch_list=lambda: os.environ.get("DOUBLE_ARCHS", "").split())
class AcceleratorError(RuntimeError): pass
class Ones:
    def __matmul__(self, other): return self
    def sum(self): return self
    def item(self): return float(os.environ.get("DOUBLE_TOTAL", 16**3))
def ones(shape, device):
    assert shape == (16, 16) and device == "cuda"
    if text := os.environ.get("DOUBLE_RAISES"):
        error = AcceleratorError(text + chr(10) + "Compile with TORCH_USE_CUDA_DSA ...")
        if code := os.environ.get("DOUBLE_CODE"): error.error_code = int(code)
        raise error
    return Ones()
"""


@dataclass(frozen=True, kw_only=True)
class Answer:
    said: Mapping[str, object]
    calls: tuple[str, ...]


@dataclass(frozen=True)
class Stub:
    """The stub library in a folder, and a way to run against it."""

    folder: Path

    def run(self, act: str, *, before: str = "", **env: str) -> Answer:
        calls = self.folder / "calls"
        calls.write_text("")
        done = subprocess.run(
            [sys.executable, "-c", before + DRIVER_SCRIPT.replace("ACT", act)],
            env={
                **os.environ,
                "LD_LIBRARY_PATH": str(self.folder),
                "PYTHONPATH": os.pathsep.join([str(self.folder), *sys.path]),
                "STUB_CALLS": str(calls),
                **env,
            },
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        return Answer(said=json.loads(done.stdout), calls=tuple(calls.read_text().split()))


@pytest.fixture(scope="session")
def stub_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler to build the stub of libcuda with")
    library = tmp_path_factory.mktemp("stub") / "libcuda.so.1"
    subprocess.run(
        [compiler, "-shared", "-fPIC", "-Wall", "-Werror", "-o", library, HERE / "stub_libcuda.c"], check=True
    )
    return library


@pytest.fixture
def stub(stub_library: Path, tmp_path: Path) -> Stub:
    shutil.copy(stub_library, tmp_path)
    (tmp_path / "torch.py").write_text(TORCH_DOUBLE)
    return Stub(tmp_path)


OPENING = (
    "cuInit",
    "cuDeviceGetCount",
    "cuDeviceGet",
    "cuDeviceGetName",
    "cuDeviceTotalMem_v2",
    "cuDeviceGetAttribute",
    "cuDeviceGetAttribute",
)


def test_a_context_is_opened_once_and_told_as_data(stub: Stub) -> None:
    answer = stub.run("(cuda.open_context(), cuda.open_context())[1]", STUB_COUNT="2", STUB_VERSION="12080")

    assert answer.said == {
        "device": {"index": 0, "name": "NVIDIA L4", "sm": "8.9", "memory_bytes": 24_000_000_000},
        "device_count": 2,
        "cuda": "12.8",
    }
    assert answer.calls[: len(OPENING)] == OPENING
    assert answer.calls.count("cuInit") == 1
    assert answer.calls.count("cuDevicePrimaryCtxRetain") == 1


def test_describing_a_machine_opens_no_context(stub: Stub) -> None:
    answer = stub.run("cuda.describe()", STUB_COUNT="2", STUB_SM="120", STUB_NAME="NVIDIA GeForce RTX 5090")

    assert answer.said["cuda"] == "13.0"
    assert answer.said["devices"] == [
        {"index": n, "name": "NVIDIA GeForce RTX 5090", "sm": "12.0", "memory_bytes": 24_000_000_000 + n}
        for n in range(2)
    ]
    assert "cuDevicePrimaryCtxRetain" not in answer.calls


@pytest.mark.parametrize(
    ("text", "version"),
    [
        (
            "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.183.01  Sun May 12 19:39:15 UTC 2024\n",
            "535.183.01",
        ),
        ("NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build\n", "580.65.06"),
        ("NVRM version: ?\n", None),
        (None, None),
    ],
)
def test_the_drivers_version_is_the_kernel_modules(
    stub: Stub, tmp_path: Path, text: str | None, version: str | None
) -> None:
    if text is not None:
        (tmp_path / "proc/driver/nvidia").mkdir(parents=True)
        (tmp_path / "proc/driver/nvidia/version").write_text(text)

    answer = stub.run(f"cuda.describe(__import__('pathlib').Path({str(tmp_path)!r}))")

    assert answer.said["driver"] == version


def test_other_threads_run_while_a_context_opens(stub: Stub, tmp_path: Path) -> None:
    # The stub waits inside its call for a file that only another thread of the same interpreter makes.
    before = f"""
import threading, time
def release():
    while "Retain" not in open({str(tmp_path / "calls")!r}).read():
        time.sleep(0.001)
    open({str(tmp_path / "released")!r}, "w").close()
threading.Thread(target=release, daemon=True).start()
"""

    answer = stub.run("cuda.open_context()", before=before, STUB_WAIT=str(tmp_path / "released"))

    assert "error" not in answer.said


def test_no_driver_is_what_a_machine_without_one_says(tmp_path: Path) -> None:
    # Nothing to find: a file of that name that is no library is what dlopen is given, on any machine.
    (tmp_path / "libcuda.so.1").write_text("not a library")

    answer = Stub(tmp_path).run("cuda.open_context()")

    assert answer.said["error"] == "NoDriver"
    assert "--gpus" in str(answer.said["fix"])
    assert answer.said["permanent"] is True
    assert answer.said["exit_code"] == 6


def test_the_toolkits_stub_is_no_driver(stub: Stub) -> None:
    answer = stub.run("cuda.open_context()", STUB_FAIL="cuInit=34")

    assert answer.said["error"] == "NoDriver"
    assert "LD_LIBRARY_PATH" in str(answer.said["fix"])


@pytest.mark.parametrize("env", [{"STUB_FAIL": "cuInit=100"}, {"STUB_COUNT": "0"}])
@pytest.mark.parametrize("act", ["cuda.open_context()", "cuda.describe()", "cuda.launch_kernel()"])
def test_a_driver_without_a_device_says_so(stub: Stub, env: dict[str, str], act: str) -> None:
    answer = stub.run(act, **env)

    assert answer.said["error"] == "NoDevice"
    assert "CUDA_VISIBLE_DEVICES" in str(answer.said["fix"])
    assert "cuDevicePrimaryCtxRetain" not in answer.calls


def test_a_failure_is_not_kept(stub: Stub) -> None:
    before = "import os; os.environ['STUB_FAIL'] = 'cuInit=802'\n"
    act = "(first_fails(), os.environ.pop('STUB_FAIL'), cuda.open_context())[2]"
    helper = """
def first_fails():
    try: cuda.open_context()
    except cuda.SickDevice: return
    raise AssertionError
"""

    answer = stub.run(act, before=before + helper)

    assert "error" not in answer.said


@pytest.mark.parametrize(
    ("call", "code", "name", "permanent"),
    [
        ("cuInit", 803, "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH", True),
        ("cuInit", 804, "CUDA_ERROR_COMPAT_NOT_SUPPORTED_ON_DEVICE", True),
        ("cuInit", 802, "CUDA_ERROR_SYSTEM_NOT_READY", False),
        ("cuInit", 304, "CUDA_ERROR_OPERATING_SYSTEM", True),
        ("cuInit", 999, "CUDA_ERROR_UNKNOWN", True),
        ("cuDeviceGet", 101, "CUDA_ERROR_INVALID_DEVICE", True),
        ("cuDevicePrimaryCtxRetain", 2, "CUDA_ERROR_OUT_OF_MEMORY", False),
        ("cuDevicePrimaryCtxRetain", 46, "CUDA_ERROR_DEVICE_UNAVAILABLE", False),
        ("cuDevicePrimaryCtxRetain", 214, "CUDA_ERROR_ECC_UNCORRECTABLE", True),
    ],
)
def test_a_sick_device_is_named_with_what_it_means_and_the_mend(
    stub: Stub, call: str, code: int, name: str, *, permanent: bool
) -> None:
    answer = stub.run("cuda.open_context()", STUB_FAIL=f"{call}={code}")

    assert answer.said["error"] == "SickDevice"
    assert (answer.said["code"], answer.said["name"]) == (code, name)
    assert answer.said["permanent"] is permanent
    assert f"({name}, {code})" in str(answer.said["message"])
    assert answer.said["fix"]
    assert answer.calls[-1] == call


def test_a_device_that_fails_later_is_named(stub: Stub) -> None:
    answer = stub.run("cuda.open_context()", STUB_FAIL="cuDevicePrimaryCtxRetain=214")

    assert str(answer.said["message"]).startswith("NVIDIA L4 failed at opening a context: its memory")


@pytest.mark.parametrize(
    ("code", "words"),
    [(909, "wait operation timed out (CUDA_ERROR_TIMEOUT, 909)"), (12345, "(an unlisted error, 12345)")],
)
def test_a_code_that_is_not_in_the_table_is_told_in_the_drivers_words(
    stub: Stub, code: int, words: str
) -> None:
    answer = stub.run("cuda.open_context()", STUB_FAIL=f"cuInit={code}")

    assert answer.said["error"] == "SickDevice"
    assert words in str(answer.said["message"])


@pytest.mark.parametrize("known", REFUSALS.values(), ids=lambda known: str(known.code))
def test_every_listed_code_says_what_it_means_and_ends_with_a_mend(known: Refusal) -> None:
    said = cuda.SickDevice(known, doing="opening a context")

    assert known.name.lower().startswith("cuda")
    assert said.fix.endswith(".")
    assert known.meaning in said.message
    assert not known.meaning.endswith(".")


KERNEL = (
    "cuCtxPushCurrent_v2",
    "cuModuleLoadData",
    "cuModuleGetFunction",
    "cuMemAlloc_v2",
    "cuLaunchKernel",
    "cuCtxSynchronize",
    "cuMemcpyDtoH_v2",
    "cuMemFree_v2",
    "cuModuleUnload",
    "cuCtxPopCurrent_v2",
)


def test_without_torch_the_driver_launches_a_kernel_and_its_answer_is_read(stub: Stub) -> None:
    answer = stub.run("cuda.launch_kernel()")

    assert answer.said is None
    assert answer.calls[-len(KERNEL) :] == KERNEL


def test_a_kernel_that_writes_a_wrong_number_is_a_sick_device(stub: Stub) -> None:
    answer = stub.run("cuda.launch_kernel()", STUB_ANSWER="41")

    assert answer.said["error"] == "SickDevice"
    assert "gave a wrong result" in str(answer.said["message"])


@pytest.mark.parametrize(
    ("call", "code"),
    [
        ("cuModuleLoadData", 221),
        ("cuModuleLoadData", 218),
        ("cuLaunchKernel", 719),
        ("cuCtxSynchronize", 700),
    ],
)
def test_a_kernel_that_fails_leaves_no_context_pushed(stub: Stub, call: str, code: int) -> None:
    answer = stub.run("cuda.launch_kernel()", STUB_FAIL=f"{call}={code}")

    assert answer.said["code"] == code
    assert "its first kernel" in str(answer.said["message"])
    assert answer.calls[-1] == "cuCtxPopCurrent_v2"


TORCH = "import torch\n"
ARCHS = "sm_75 sm_80 sm_86 sm_90 sm_100 sm_120"


def test_with_torch_the_kernel_is_torchs(stub: Stub) -> None:
    answer = stub.run("cuda.launch_kernel()", before=TORCH, DOUBLE_CUDA="12.9", DOUBLE_ARCHS=ARCHS)

    assert answer.said is None
    assert "cuLaunchKernel" not in answer.calls


def test_torch_without_cuda_is_the_wrong_wheel(stub: Stub) -> None:
    answer = stub.run("cuda.launch_kernel()", before=TORCH)

    assert answer.said["error"] == "WrongWheel"
    assert "was built without CUDA, and NVIDIA L4 needs it" in str(answer.said["message"])
    assert answer.said["permanent"] is True


def test_torch_for_a_newer_cuda_than_the_drivers_is_the_wrong_wheel(stub: Stub) -> None:
    answer = stub.run(
        "cuda.launch_kernel()", before=TORCH, DOUBLE_CUDA="13.0", DOUBLE_ARCHS=ARCHS, STUB_VERSION="12080"
    )

    assert answer.said["error"] == "WrongWheel"
    assert "CUDA 13.0; this driver speaks 12.8" in str(answer.said["message"])


def test_within_one_major_version_an_older_driver_serves(stub: Stub) -> None:
    answer = stub.run(
        "cuda.launch_kernel()", before=TORCH, DOUBLE_CUDA="12.9", DOUBLE_ARCHS=ARCHS, STUB_VERSION="12040"
    )

    assert answer.said is None


def test_a_card_newer_than_the_wheel_is_refused_before_a_kernel_crashes(stub: Stub) -> None:
    answer = stub.run(
        "cuda.launch_kernel()",
        before=TORCH,
        DOUBLE_CUDA="12.6",
        DOUBLE_ARCHS="sm_50 sm_80 sm_90",
        DOUBLE_RAISES="must not be reached",
        STUB_SM="120",
        STUB_NAME="NVIDIA GeForce RTX 5090",
    )

    assert answer.said["error"] == "WrongWheel"
    assert answer.said["message"] == (
        "torch has no code for NVIDIA GeForce RTX 5090 (sm_120): it was built for sm_50, sm_80, sm_90"
    )
    assert "CUDA 12.8 or newer that lists sm_120" in str(answer.said["fix"])


@pytest.mark.parametrize("code", ["209", "98", ""])
def test_no_kernel_image_is_the_wrong_wheel_whatever_the_list_said(stub: Stub, code: str) -> None:
    answer = stub.run(
        "cuda.launch_kernel()",
        before=TORCH,
        DOUBLE_CUDA="12.9",
        DOUBLE_ARCHS=ARCHS,
        DOUBLE_RAISES="CUDA error: no kernel image is available for execution on the device",
        DOUBLE_CODE=code,
    )

    assert answer.said["error"] == "WrongWheel"
    assert "NVIDIA L4 (sm_89)" in str(answer.said["message"])
    assert ARCHS.replace(" ", ", ") in str(answer.said["message"])


@pytest.mark.parametrize(
    ("code", "text", "words"),
    [
        ("700", "CUDA error: an illegal memory access was encountered", "(CUDA_ERROR_ILLEGAL_ADDRESS, 700)"),
        ("", "cuBLAS error: CUBLAS_STATUS_ALLOC_FAILED", "CUBLAS_STATUS_ALLOC_FAILED (AcceleratorError)"),
    ],
)
def test_an_error_of_torchs_becomes_one_line_without_its_advice(
    stub: Stub, code: str, text: str, words: str
) -> None:
    answer = stub.run(
        "cuda.launch_kernel()",
        before=TORCH,
        DOUBLE_CUDA="12.9",
        DOUBLE_ARCHS=ARCHS,
        DOUBLE_RAISES=text,
        DOUBLE_CODE=code,
    )

    assert answer.said["error"] == "SickDevice"
    assert words in str(answer.said["message"])
    assert "TORCH_USE_CUDA_DSA" not in str(answer.said["message"])


def test_a_wrong_product_is_a_sick_device(stub: Stub) -> None:
    answer = stub.run(
        "cuda.launch_kernel()", before=TORCH, DOUBLE_CUDA="12.9", DOUBLE_ARCHS=ARCHS, DOUBLE_TOTAL="4095"
    )

    assert answer.said["error"] == "SickDevice"


def test_naming_the_module_loads_no_ctypes() -> None:
    code = "import sys; from coldstart_sdk import cuda; print('ctypes' in sys.modules)"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "False"
