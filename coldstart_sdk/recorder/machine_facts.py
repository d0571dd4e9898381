"""What only a look at the process and its control group tells, at READY."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from coldstart_sdk import machine
from coldstart_sdk.recorder.names import HF_TOKEN, PERIODS, THREADS, THROTTLED, THROTTLED_PERIODS, WEIGHTS_ON

_STAT_BYTES = 1000
"""More than a thread's line of figures ever is."""


def throttling(root: Path = Path("/")) -> Mapping[str, float]:
    """How often the quota has stopped this control group so far; empty where nothing tells."""
    for group in machine.groups("cpu", root):
        with suppress(OSError, ValueError):
            pairs = (line.split() for line in (group / "cpu.stat").read_text(encoding="utf-8").splitlines())
            stat = {pair[0]: float(pair[1]) for pair in pairs if len(pair) == 2}  # noqa: PLR2004 - a name and its figure
            if stat.get("nr_periods"):
                seconds = stat.get("throttled_usec", 0.0) / 1e6 or stat.get("throttled_time", 0.0) / 1e9
                return {
                    PERIODS: stat["nr_periods"],
                    THROTTLED_PERIODS: stat.get("nr_throttled", 0.0),
                    THROTTLED: seconds,
                }
    return {}


def since(before: Mapping[str, float], root: Path = Path("/")) -> dict[str, str]:
    """The same, of this start alone."""
    after = throttling(root)
    return {name: f"{figure - before.get(name, 0.0):g}" for name, figure in after.items()}


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
        # Twice a step, so without the price of a text file.
        stat = os.open(f"/proc/self/task/{thread_id}/stat", os.O_RDONLY)
        try:
            return int(os.read(stat, _STAT_BYTES).rpartition(b")")[2].split()[9])
        finally:
            os.close(stat)
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
