"""Kokoro behind its ONNX runtime: ready after the critical path, and the housekeeping after that.

The critical path is the model and one inference. Longer shapes and the two clean-ups follow READY, and give
way to requests.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

from coldstart_sdk import Audio, Container, Scale, Weights, endpoint, hook, warm_model
from coldstart_sdk.storage.weights import LocalWeights

CLEAN_UP_S = 5.0
"""Stands for walking a full disk: the author measured 2 to 8 s for each of the two."""
LONGER = ("A sentence of middling length, as most are.", "A longer one, and then a little more of it. " * 4)


@warm_model(
    name="kokoro",
    image=Container.python("3.11").pip("kokoro-onnx==0.6.1"),
    weights={"kokoro": Weights.hf("fastrtc/kokoro-onnx", include=["kokoro-*.onnx", "voices-*.bin"])},
    imports=["kokoro_onnx"],
    scale=Scale(max=4, idle="60s"),
)
class KokoroVoice:
    @hook.load
    def load(self, weights: LocalWeights) -> None:
        from kokoro_onnx import Kokoro  # noqa: PLC0415 - imported beside the fetch, by then

        folder = weights["kokoro"].path
        self.engine: Any = Kokoro(str(folder / "kokoro-v1.0.onnx"), str(folder / "voices-v1.0.bin"))

    @hook.warmup(required=False, timeout="30s")
    def warm(self) -> None:
        """One minimal inference; without it the service answers all the same, marked degraded."""
        self.speak("Hi.")

    @hook.background
    def warm_longer(self) -> None:
        for text in LONGER:
            self.speak(text)

    @hook.background
    def clean_cache(self) -> None:
        remove_old(Path(tempfile.gettempdir(), "kokoro-cache"))

    @hook.background
    def clean_temp(self) -> None:
        remove_old(Path(tempfile.gettempdir(), "kokoro-tmp"))

    @endpoint(default=True)
    def speak(self, text: str, voice: str = "af_heart", speed: float = 1.0) -> Audio:
        """Say the text in one of the voices that the weights hold."""
        samples, rate = self.engine.create(text, voice=voice, speed=speed, lang="en-us")
        return Audio.from_samples(samples, rate)


def remove_old(folder: Path, older_than_s: float = 86_400.0) -> None:
    """Remove what nobody has touched for a day."""
    time.sleep(CLEAN_UP_S)
    for file in folder.glob("*") if folder.is_dir() else ():
        if file.stat().st_mtime < time.time() - older_than_s:
            file.unlink(missing_ok=True)
