"""What `/metrics` reads at the moment that somebody asks."""

from __future__ import annotations

import sys

from coldstart_sdk.gate import Gate
from coldstart_sdk.journal import Journal
from coldstart_sdk.lifecycle import Lifecycle
from coldstart_sdk.serve.metrics import Gauges
from coldstart_sdk.trace import build
from coldstart_sdk.trace import metrics as figures


def read(life: Lifecycle, gate: Gate, journal: Journal) -> Gauges:
    times = figures.four_times(build.build(journal.events, life.plan, wall_start=None))
    return Gauges(
        state=life.status.state,
        degraded=life.status.degraded,
        queued=gate.waiting,
        running=gate.running,
        cold_start_s=times.cold_start_s,
        model_load_s=times.model_load_s,
        warm_request_s=times.warm_s,
        gpu_memory_bytes=_gpu_memory_bytes() or times.gpu_memory_bytes,
    )


def _gpu_memory_bytes() -> int | None:
    """What is in use on the device, asked of torch where the model has loaded it."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return None
    free, total = torch.cuda.mem_get_info()
    return int(total - free)
