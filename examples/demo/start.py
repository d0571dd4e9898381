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
from coldstart_sdk.rehearsal.s3 import S3
from coldstart_sdk.trace.model import Trace

DECLARATION = Path(__file__).with_name("voice.py")
BUCKET = "demo"


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What a start is asked to say, and where its files go."""

    text: str
    wav: Path
    trace: Path


@dataclass(frozen=True, kw_only=True)
class Links:
    """Where the files may come from."""

    origin: Origin
    store: S3
    archive: str
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Started:
    ready_s: float
    tier: str
    """Who served the files."""
    fetched_bytes: int
    fetch_s: float
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


def start(wish: Wish, links: Links, *, home: Path) -> Started:
    """Start the class in a process of its own, and let it answer once; its story goes to our own streams."""
    links.origin.forget()
    options = ["-i", f"text={wish.text}", "-o", str(wish.wav), "--trace", str(wish.trace)]
    arguments = ["run", str(_shown(DECLARATION)), "speak", *options]
    print(f"$ {shlex.join(['coldstart', *arguments])}", flush=True)
    subprocess.run(
        [sys.executable, "-m", "coldstart_sdk.cli", *arguments], check=True, env=_environment(links, home)
    )
    trace = Trace.from_json(wish.trace.read_text(encoding="utf-8"))
    if trace.anchors.ready_s is None:
        raise RuntimeError(f"{wish.trace} tells of no READY")
    fetch = next(span for span in trace.steps if span.name == "fetch:espeak")
    seen = links.origin.requests
    return Started(
        ready_s=trace.anchors.ready_s,
        tier=fetch.tier or "nobody",
        fetched_bytes=fetch.bytes or 0,
        fetch_s=fetch.duration_s,
        asked=len(seen),
        bytes=sum(request.sent_bytes for request in seen),
    )


def _environment(links: Links, home: Path) -> dict[str, str]:
    """Nothing of the reader's own clouds, and where everything is here."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(("COLDSTART_", "AWS_"))}
    return {
        **own,
        "COLDSTART_HOME": str(home),
        "COLDSTART_STORE": f"s3://{BUCKET}/models",
        "AWS_ENDPOINT_URL": links.store.endpoint,
        "AWS_ACCESS_KEY_ID": "AKIADEMODEMODEMODEMO",
        "AWS_SECRET_ACCESS_KEY": "known to everybody",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "DEMO_URL": links.origin.url(links.archive),
        "DEMO_SHA256": links.sha256,
        "no_proxy": "127.0.0.1",
    }


def listen(path: Path) -> Sound:
    """How long the wav is, and how loud."""
    with wave.open(str(path)) as file:
        rate, frames = file.getframerate(), file.getnframes()
        samples = array("h", file.readframes(frames))
    return Sound(duration_s=frames / rate, rate=rate, loudest=max(map(abs, samples), default=0) / 32768)


def _shown(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
