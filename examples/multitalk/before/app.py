"""Where MultiTalk's author began: at each start five downloads in a row, a link, then everything else.

One method for what the entry point did, in its order, so that one instrument can measure both.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

from coldstart_sdk import Audio, Video, endpoint, hook, warm_model

sys.path.insert(0, str(Path(__file__).parents[1]))  # the stand-in is the same

HEARD_RATE = 16_000


@warm_model(name="multitalk-before")
class MultiTalk:
    @hook.load
    def start(self) -> None:
        from huggingface_hub import snapshot_download  # noqa: PLC0415 - where the author's start-up came to it

        wan = Path(snapshot_download("Wan-AI/Wan2.1-I2V-14B-480P-Diffusers"))
        wav2vec = snapshot_download("TencentGameMate/chinese-wav2vec2-base", ignore_patterns=["*.pt"])
        snapshot_download("hexgrad/Kokoro-82M", allow_patterns=["*.pth", "*.json", "voices/af_heart.pt"])
        multitalk = Path(snapshot_download("MeiGen-AI/MeiGen-MultiTalk"))
        snapshot_download("Kijai/WanVideo_comfy", allow_patterns=["*lightx2v_cfg_step_distill_lora_rank32*"])
        inside = wan / "multitalk.safetensors"
        if not inside.exists():
            inside.symlink_to(multitalk / "multitalk.safetensors")
        self._load(wan, wav2vec)

    def _load(self, wan: Path, wav2vec: str) -> None:
        import torch  # noqa: PLC0415 - as above
        from diffusers import WanImageToVideoPipeline  # noqa: PLC0415 - as above
        from multitalk_standin import AudioToPrompt  # noqa: PLC0415 - as above
        from safetensors.torch import load_file  # noqa: PLC0415 - as above
        from transformers import Wav2Vec2FeatureExtractor, Wav2Vec2Model  # noqa: PLC0415 - as above

        self.torch: Any = torch
        self.wan: Any = WanImageToVideoPipeline.from_pretrained(wan, torch_dtype=torch.float32)
        self.wan.set_progress_bar_config(disable=True)
        state = load_file(wan / "multitalk.safetensors")
        text_dim, audio_dim = state["project.weight"].shape
        self.mix: Any = AudioToPrompt(audio_dim=audio_dim, text_dim=text_dim)
        self.mix.load_state_dict(state)
        self.features: Any = Wav2Vec2FeatureExtractor.from_pretrained(wav2vec)
        self.ears: Any = Wav2Vec2Model.from_pretrained(wav2vec).eval()

    @endpoint(default=True)
    def talk(self, prompt: str, frames: int = 9, steps: int = 2, size: int = 16, seed: int = 7) -> Video:
        from PIL import Image as Pictures  # noqa: PLC0415 - as above

        torch = self.torch
        with torch.inference_mode():
            words, _ = self.wan.encode_prompt(
                prompt, do_classifier_free_guidance=False, max_sequence_length=16
            )
            sound, _ = Audio.silence("1s", rate=HEARD_RATE).samples()
            inputs = self.features(sound, sampling_rate=HEARD_RATE, return_tensors="pt").input_values
            shown = self.wan(
                image=Pictures.new("RGB", (size, size), "grey"),
                prompt_embeds=self.mix(self.ears(inputs).last_hidden_state, words),
                guidance_scale=1.0,
                height=size,
                width=size,
                num_frames=frames,
                num_inference_steps=steps,
                generator=torch.Generator("cpu").manual_seed(seed),
                output_type="np",
            ).frames[0]
        return Video.from_bytes(_encoded((shown * 255).astype("uint8")), "video/mp4")


def _encoded(frames: Any) -> bytes:  # noqa: ANN401 - an array of frames
    _, height, width, _ = frames.shape
    raw = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", "16", "-i", "-"]
    film = ["-c:v", "mpeg4", "-bitexact", "-movflags", "frag_keyframe+empty_moov", "-f", "mp4", "-"]
    command = ["ffmpeg", "-loglevel", "error", *raw, *film]
    made: bytes = subprocess.run(command, input=frames.tobytes(), capture_output=True, check=True).stdout
    return made
