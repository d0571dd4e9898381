"""Variables that a library reads when it is imported: which were set too late, and what a cache's key was."""

from __future__ import annotations

import json
import os
import sys
from contextlib import suppress
from pathlib import Path

from coldstart_sdk.recorder.names import KEY, KEY_BEFORE, LATE_ENV

_READ_BY = {
    "torch": (
        "OMP_NUM_THREADS",
        "TORCHINDUCTOR_CACHE_DIR",
        "TRITON_CACHE_DIR",
        "TORCH_EXTENSIONS_DIR",
        "CUDA_CACHE_PATH",
        "CUDA_MODULE_LOADING",
        "PYTORCH_CUDA_ALLOC_CONF",
    ),
    "huggingface_hub": ("HF_HOME", "HF_HUB_CACHE", "HF_HUB_OFFLINE", "HF_ENDPOINT", "HF_TOKEN"),
    "transformers": ("HF_HOME", "TRANSFORMERS_CACHE", "TRANSFORMERS_OFFLINE"),
    "numpy": ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"),
    "vllm": ("VLLM_CACHE_ROOT",),
}


class Environment:
    """What each library found when it was imported."""

    def __init__(self) -> None:
        self._found: dict[str, dict[str, str | None]] = {}

    def importing(self, package: str) -> None:
        if (names := _READ_BY.get(package)) and package not in self._found:
            self._found[package] = {name: os.environ.get(name) for name in names}

    def late(self) -> dict[str, str]:
        """Variables that are another now; torch itself sets some, which is not late."""
        pairs = [
            f"{name}>{package}"
            for package, found in self._found.items()
            for name, value in found.items()
            if (is_now := os.environ.get(name)) not in {None, value} and not _is_its_own(name, is_now)
        ]
        return {LATE_ENV: ",".join(pairs)} if pairs else {}


def _is_its_own(name: str, value: str | None) -> bool:
    """Whether torch has filled it in by itself: its own folder for caches is called `torchinductor_USER`."""
    return name == "CUDA_MODULE_LOADING" or "torchinductor_" in (value or "")


def cache_key(home: Path, name: str) -> dict[str, str]:
    """What compile caches are keyed by, now and at the last start here; nothing where none is used."""
    torch = sys.modules.get("torch")
    if torch is None or "torch._dynamo.utils" not in sys.modules:
        return {}
    key = {
        "python": f"{sys.version_info[0]}.{sys.version_info[1]}",
        "torch": str(torch.__version__),
        "cuda": str(getattr(torch.version, "cuda", None)),
        "gpu": _gpu(torch),
        "inductor_path": os.environ.get("TORCHINDUCTOR_CACHE_DIR", ""),
        "triton_path": os.environ.get("TRITON_CACHE_DIR", ""),
    }
    kept = home / "traces" / f"{name}.key.json"
    told = {KEY: _spelled(key)}
    with suppress(OSError, ValueError):
        before = json.loads(kept.read_text(encoding="utf-8"))
        told[KEY_BEFORE] = _spelled({str(part): str(value) for part, value in before.items()})
    with suppress(OSError):
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_text(json.dumps(key), encoding="utf-8")
    return told


def _gpu(torch: object) -> str:
    with suppress(AttributeError, RuntimeError, AssertionError):
        cuda = torch.cuda  # type: ignore[attr-defined] # the module, found by name
        return str(cuda.get_device_name()) if cuda.is_initialized() else "none"
    return "none"


def _spelled(key: dict[str, str]) -> str:
    return ";".join(f"{part}={value}" for part, value in key.items())
