"""Where Kokoro's author began: one thing after the other, and the port opens after the last.

Everything is in one method, in the order in which it ran, so that one instrument can measure both.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

from coldstart_sdk import Audio, endpoint, hook, warm_model

CLEAN_UP_S = 5.0
DETECTION_S = 0.5
"""The author's figure for looking at the hardware, which was done on each start."""
TEXTS = (
    "Hi.",
    "A sentence of middling length, as most are.",
    "A longer one, and then a little more of it. " * 4,
)


@warm_model(name="kokoro-before")
class KokoroVoice:
    @hook.load
    def start(self) -> None:
        time.sleep(DETECTION_S)
        from huggingface_hub import snapshot_download  # noqa: PLC0415 - where the author's start-up came to it

        folder = Path(
            snapshot_download("fastrtc/kokoro-onnx", allow_patterns=["kokoro-*.onnx", "voices-*.bin"])
        )
        remove_old(Path(tempfile.gettempdir(), "kokoro-cache"))
        remove_old(Path(tempfile.gettempdir(), "kokoro-tmp"))
        from kokoro_onnx import Kokoro  # noqa: PLC0415 - as above

        self.engine: Any = Kokoro(str(folder / "kokoro-v1.0.onnx"), str(folder / "voices-v1.0.bin"))
        for text in TEXTS:
            self.speak(text)
        for text in TEXTS:  # the delayed warm-up, which repeats what was done
            self.speak(text)

    @endpoint(default=True)
    def speak(self, text: str, voice: str = "af_heart", speed: float = 1.0) -> Audio:
        samples, rate = self.engine.create(text, voice=voice, speed=speed, lang="en-us")
        return Audio.from_samples(samples, rate)


def remove_old(folder: Path, older_than_s: float = 86_400.0) -> None:
    time.sleep(CLEAN_UP_S)
    for file in folder.glob("*") if folder.is_dir() else ():
        if file.stat().st_mtime < time.time() - older_than_s:
            file.unlink(missing_ok=True)
