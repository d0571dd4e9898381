"""Where F5-TTS's author began: the worker downloads its model when it starts, and loads it when it is asked.

One method for what ran at start, and the load on the first request, so that one instrument can measure both.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from coldstart_sdk import Audio, endpoint, hook, warm_model

TRANSCRIPT = "Some call me nature, others call me mother nature."


@warm_model(name="f5-tts-before")
class F5:
    @hook.load
    def start(self) -> None:
        from huggingface_hub import snapshot_download  # noqa: PLC0415 - where the author's start-up came to it

        self.base = Path(
            snapshot_download("SWivid/F5-TTS", allow_patterns=["F5TTS_v1_Base/*"]), "F5TTS_v1_Base"
        )
        self.vocos = snapshot_download("charactr/vocos-mel-24khz")
        self.model: Any = None

    @endpoint(default=True)
    def speak(self, text: str, steps: int = 32) -> Audio:
        from f5_tts.infer import utils_infer as f5  # noqa: PLC0415 - on the first request

        if self.model is None:
            self._load(f5)
        recording, said = f5.preprocess_ref_audio_text(str(_recording()), TRANSCRIPT)
        samples, rate, _ = f5.infer_process(
            recording, said, text, self.model, self.vocoder, nfe_step=steps, device="cpu"
        )
        return Audio.from_samples(samples, rate)

    def _load(self, f5: Any) -> None:  # noqa: ANN401 - a module without types
        from f5_tts.model import DiT  # noqa: PLC0415 - as above
        from omegaconf import OmegaConf  # noqa: PLC0415 - as above

        self.vocoder: Any = f5.load_vocoder("vocos", True, self.vocos, "cpu")  # noqa: FBT003 - is_local
        self.model = f5.load_model(
            DiT,
            dict(OmegaConf.load(self.base / "config.yaml").model.arch),
            str(self.base / "model_1250000.safetensors"),
            vocab_file=str(self.base / "vocab.txt"),
            device="cpu",
        )


def _recording() -> Path:
    import f5_tts  # noqa: PLC0415 - imported by then

    return Path(f5_tts.__path__[0], "infer/examples/basic/basic_ref_en.wav")
