"""One cold start of the demo's class, through the command that everybody has, and what can be said of it."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import wave
from array import array
from dataclasses import dataclass
from pathlib import Path

from coldstart_sdk.rehearsal.origin import Origin
from coldstart_sdk.trace.model import Trace

DECLARATION = Path(__file__).with_name("voice.py")


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What a start is asked to say, and where its files go."""

    text: str
    wav: Path
    trace: Path


@dataclass(frozen=True, kw_only=True)
class Started:
    ready_s: float
    asked: int
    """Requests that the origin saw."""
    bytes: int
    """Bytes that the origin sent."""


@dataclass(frozen=True, kw_only=True)
class Sound:
    duration_s: float
    rate: int
    loudest: float
    """Of full scale."""


def start(wish: Wish, origin: Origin, *, archive: str, sha256: str, home: Path) -> Started:
    """Start the class in a process of its own, and let it answer once; its story goes to our own streams."""
    origin.forget()
    options = ["-i", f"text={wish.text}", "-o", str(wish.wav), "--trace", str(wish.trace)]
    arguments = ["run", str(_shown(DECLARATION)), "speak", *options]
    print(f"$ {shlex.join(['coldstart', *arguments])}", flush=True)
    subprocess.run(
        [sys.executable, "-m", "coldstart_sdk.cli", *arguments],
        check=True,
        env={
            **{name: value for name, value in os.environ.items() if not name.startswith("COLDSTART_")},
            "COLDSTART_HOME": str(home),
            "DEMO_URL": origin.url(archive),
            "DEMO_SHA256": sha256,
            "no_proxy": "127.0.0.1",
        },
    )
    trace = Trace.from_json(wish.trace.read_text(encoding="utf-8"))
    if trace.anchors.ready_s is None:
        raise RuntimeError(f"{wish.trace} tells of no READY")
    seen = origin.requests
    return Started(
        ready_s=trace.anchors.ready_s, asked=len(seen), bytes=sum(request.sent_bytes for request in seen)
    )


def listen(path: Path) -> Sound:
    """How long the wav is, and how loud."""
    with wave.open(str(path)) as file:
        rate, frames = file.getframerate(), file.getnframes()
        samples = array("h", file.readframes(frames))
    return Sound(duration_s=frames / rate, rate=rate, loudest=max(map(abs, samples), default=0) / 32768)


def _shown(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
