"""What only a look at the process and its control group tells, at READY."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from coldstart_sdk import machine
from coldstart_sdk.recorder.names import HF_TOKEN, PERIODS, THREADS, THROTTLED, THROTTLED_PERIODS, WEIGHTS_ON

_STAT_BYTES = 4000
"""More than such figures ever are."""


class Throttling:
    """How often the quota stops this process: the figures of its control group, or of one above."""

    def __init__(self, root: Path = Path("/")) -> None:
        self._stats = [str(group / "cpu.stat") for group in machine.groups("cpu", root)]
        self._before = self._figures()

    def seen(self) -> dict[str, str]:
        """Since it was made; empty where nothing tells."""
        return {name: f"{figure - self._before.get(name, 0.0):g}" for name, figure in self._figures().items()}

    def _figures(self) -> Mapping[str, float]:
        for path in self._stats:
            stat = _stat(path)
            if stat.get("nr_periods"):
                seconds = stat.get("throttled_usec", 0.0) / 1e6 or stat.get("throttled_time", 0.0) / 1e9
                return {
                    PERIODS: stat["nr_periods"],
                    THROTTLED_PERIODS: stat.get("nr_throttled", 0.0),
                    THROTTLED: seconds,
                }
        return {}


def _stat(path: str) -> Mapping[str, float]:
    with suppress(OSError, ValueError):
        words = _read(path).split()
        return {name.decode(): float(figure) for name, figure in zip(words[::2], words[1::2], strict=True)}
    return {}


def _read(path: str) -> bytes:
    """Without the price of a text file: it is read before READY, and twice a step."""
    file = os.open(path, os.O_RDONLY)
    try:
        return os.read(file, _STAT_BYTES)
    finally:
        os.close(file)


def seen(home: Path) -> dict[str, str]:
    """Threads, token, and what the weights lie on."""
    told = {HF_TOKEN: "yes" if _has_token() else "no"}
    if threads := max(_threads(), default=0):
        told[THREADS] = str(threads)
    if kind := machine.file_system(home):
        told[WEIGHTS_ON] = kind
    return told


def major_faults(thread_id: int) -> int | None:
    """Pages that this thread has had to wait for; None where the system does not say, or it is gone."""
    with suppress(OSError, ValueError, IndexError):
        return int(_read(f"/proc/self/task/{thread_id}/stat").rpartition(b")")[2].split()[9])
    return None


def _threads() -> Iterator[int]:
    torch = sys.modules.get("torch")
    with suppress(AttributeError, RuntimeError):
        if torch is not None:
            yield int(torch.get_num_threads())
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        first = os.environ.get(name, "").partition(",")[0]
        if first.isdigit():
            yield int(first)


def _has_token() -> bool:
    if any(os.environ.get(name) for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")):
        return True
    home = os.environ.get("HF_HOME") or os.path.expanduser("~/.cache/huggingface")  # noqa: PTH111 - as the hub's own client looks
    return Path(os.environ.get("HF_TOKEN_PATH") or f"{home}/token").is_file()
