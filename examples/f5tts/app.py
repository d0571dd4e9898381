"""F5-TTS with a warm copy of its weights in a bucket of the user's own.

No store is declared: `S3_BUCKET`, `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY` and `AWS_ENDPOINT_URL` name
one, and `ENABLE_S3_MODEL_CACHE=false` switches it off. The first start fills it in the background.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from coldstart_sdk import Audio, Container, Scale, Weights, endpoint, hook, warm_model
from coldstart_sdk.storage.weights import LocalWeights

TRANSCRIPT = "Some call me nature, others call me mother nature."
"""What the recording says that comes with the package; without one F5-TTS would fetch a whisper model."""


@warm_model(
    name="f5-tts",
    gpu=["L4", "RTX 4090", "A10G"],
    image=Container.python("3.11").apt("ffmpeg").pip("f5-tts==1.1.22"),
    weights={
        "f5": Weights.hf("SWivid/F5-TTS", include=["F5TTS_v1_Base/*"]),
        "vocos": Weights.hf("charactr/vocos-mel-24khz"),
    },
    imports=["f5_tts.infer.utils_infer", "f5_tts.model"],
    scale=Scale(max=5, idle="60s"),
)
class F5:
    @hook.load
    def load(self, weights: LocalWeights, device: str) -> None:
        from f5_tts.infer import utils_infer as f5  # noqa: PLC0415 - imported beside the fetch, by then
        from f5_tts.model import DiT  # noqa: PLC0415 - as above

        base = weights["f5"].path / "F5TTS_v1_Base"
        self.f5: Any = f5
        self.device = device
        self.vocoder: Any = f5.load_vocoder("vocos", True, str(weights["vocos"].path), device)  # noqa: FBT003 - is_local
        self.model: Any = f5.load_model(
            DiT,
            _architecture(base),
            str(base / "model_1250000.safetensors"),
            vocab_file=str(base / "vocab.txt"),
            device=device,
        )

    @hook.warmup
    def warm(self) -> None:
        self.speak("Ready.", steps=4)

    @endpoint(default=True)
    def speak(  # noqa: PLR0913, PLR0917 - what a caller may say
        self,
        text: str,
        ref: Audio | None = None,
        ref_text: str = TRANSCRIPT,
        speed: float = 1.0,
        steps: int = 32,
        seed: int | None = None,
    ) -> Audio:
        """Say the text in the voice of a recording and its transcript; the same seed gives the same sound."""
        if seed is not None:
            self.f5.torch.manual_seed(seed)
        recording, said = self.f5.preprocess_ref_audio_text(str(ref.path if ref else _recording()), ref_text)
        samples, rate, _ = self.f5.infer_process(
            recording, said, text, self.model, self.vocoder, nfe_step=steps, speed=speed, device=self.device
        )
        return Audio.from_samples(samples, rate)


def _architecture(base: Path) -> dict[str, Any]:
    """What a fine-tuned set says of itself, else what the package says of F5TTS_v1_Base."""
    from omegaconf import OmegaConf  # noqa: PLC0415 - imported by then

    own = base / "config.yaml"
    package = _package() / "configs/F5TTS_v1_Base.yaml"
    return dict(OmegaConf.load(own if own.exists() else package).model.arch)


def _recording() -> Path:
    """The one that comes with the package."""
    return _package() / "infer/examples/basic/basic_ref_en.wav"


def _package() -> Path:
    import f5_tts  # noqa: PLC0415 - imported by then

    return Path(f5_tts.__path__[0])
