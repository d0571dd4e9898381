"""What a rehearsal leaves of the start that it saw: a trace, as a file beside the bundle."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from coldstart_sdk.events import now
from coldstart_sdk.trace.model import Trace

FOLDER = "rehearsal"
"""Beside the bundle's own files."""


def keep(trace: Trace, bundle: Path, name: str = "start") -> Path:
    """The file that the trace is in now."""
    path = bundle / FOLDER / f"{name}.trace.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(trace.to_json(), encoding="utf-8")
    return path


def requested(trace: Trace, at_s: float) -> Trace:
    """The same start, and when its first caller asked: a moment that only the platform knows."""
    if trace.started_at is None:
        return trace
    started_s = datetime.fromisoformat(trace.started_at.replace("Z", "+00:00")).timestamp()
    asked_s = at_s + time.time() - now()
    return replace(trace, anchors=replace(trace.anchors, request_s=round(asked_s - started_s, 3)))
