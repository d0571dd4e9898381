"""IndexTTS-2 with its weights baked into the image: a start that fetches nothing.

The CUDA context opens beside everything else, the model is in memory before the first request, and what the
card compiles is kept between starts. IndexTTS-2's own code is no package: `indextts_standin.py` stands in.
"""

from __future__ import annotations

from typing import Any

from coldstart_sdk import Audio, Container, Scale, Weights, endpoint, hook, warm_model
from coldstart_sdk.storage.weights import LocalWeights


@warm_model(
    name="indextts2",
    gpu=["L4", "A10G", "RTX 4090"],
    image=Container.python("3.11").apt("ffmpeg").pip("torch==2.8.0", "transformers==5.23.0", "pyyaml==6.0.3"),
    weights={
        "indextts": Weights.hf("IndexTeam/IndexTTS-2"),
        "bigvgan": Weights.hf("nvidia/bigvgan_v2_22khz_80band_256x", include=["bigvgan_generator.pt"]),
    },
    place="image",  # or "volume": the same declaration, kept across restarts
    imports=["torch", "transformers", "transformers.models.gpt2.modeling_gpt2", "indextts_standin"],
    scale=Scale(min=1, max=3, idle="60s"),
)
class IndexTTS:
    @hook.load
    def load(self, weights: LocalWeights, device: str) -> None:
        from indextts_standin import IndexTTS2  # noqa: PLC0415 - imported beside the fetch, by then

        self.model: Any = IndexTTS2(
            checkpoints=weights["indextts"].path, vocoder=weights["bigvgan"].path, device=device
        )

    @hook.warmup(required=False, timeout="2m")
    def warm(self) -> None:
        """Without it the first request is slow; the service goes on, and says that it is degraded."""
        self.speak("Ready.", frames=8)

    @endpoint(default=True)
    def speak(self, text: str, frames: int = 32) -> Audio:
        """Say the text."""
        return Audio.from_samples(self.model.infer(text, frames), self.model.rate)
