"""Where IndexTTS-2's author began: checkpoints downloaded at start, the model loaded by the first request.

One method for what ran at start, and the load on the first request, so that one instrument can measure both.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from coldstart_sdk import Audio, endpoint, hook, warm_model

sys.path.insert(0, str(Path(__file__).parents[1]))  # the stand-in is the same


@warm_model(name="indextts2-before")
class IndexTTS:
    @hook.load
    def start(self) -> None:
        from huggingface_hub import snapshot_download  # noqa: PLC0415 - where the author's start-up came to it

        self.checkpoints = Path(snapshot_download("IndexTeam/IndexTTS-2"))
        self.vocoder = Path(
            snapshot_download("nvidia/bigvgan_v2_22khz_80band_256x", allow_patterns=["bigvgan_generator.pt"])
        )
        self.model: Any = None

    @endpoint(default=True)
    def speak(self, text: str, frames: int = 32) -> Audio:
        from indextts_standin import IndexTTS2  # noqa: PLC0415 - on the first request

        if self.model is None:
            self.model = IndexTTS2(checkpoints=self.checkpoints, vocoder=self.vocoder, device="cpu")
        return Audio.from_samples(self.model.infer(text, frames), self.model.rate)
