"""MultiTalk: five sets of weights on a large video model, baked into the image, and no start-up download.

What the author fetched, linked and flagged by hand is declared: the sets come side by side, one file of one
set is seen inside another, and complete means verified. MultiTalk's own code is no package;
`multitalk_standin.py` stands for it, on diffusers' Wan and transformers' wav2vec2.
"""

from __future__ import annotations

import subprocess
from typing import Any

from coldstart_sdk import Audio, Container, Image, Scale, Video, Weights, endpoint, hook, warm_model
from coldstart_sdk.storage.weights import LocalWeights

HEARD_RATE = 16_000


@warm_model(
    name="multitalk",
    gpu=["H100", "A100-80GB"],
    image=Container.python("3.12")
    .apt("ffmpeg")
    .pip("torch==2.8.0", "transformers==5.23.0", "diffusers==0.42.1", "ftfy==6.3.1", "accelerate==1.15.0")
    .run("pip install flash-attn==2.8.3 --no-build-isolation", gpu=True),
    weights={
        "wan": Weights.hf(
            "Wan-AI/Wan2.1-I2V-14B-480P-Diffusers",
            links={"multitalk.safetensors": "multitalk/multitalk.safetensors"},
        ),
        "wav2vec": Weights.hf("TencentGameMate/chinese-wav2vec2-base", exclude=["*.pt"]),
        "kokoro": Weights.hf("hexgrad/Kokoro-82M", include=["*.pth", "*.json", "voices/af_heart.pt"]),
        "multitalk": Weights.hf("MeiGen-AI/MeiGen-MultiTalk", include=["*.safetensors", "*.json"]),
        "lightx2v": Weights.hf("Kijai/WanVideo_comfy", include=["*lightx2v_cfg_step_distill_lora_rank32*"]),
    },
    place="image",
    imports=[
        "torch",
        "diffusers.pipelines.wan.pipeline_wan_i2v",
        "transformers.models.wav2vec2.modeling_wav2vec2",
    ],
    scale=Scale(max=2, idle="2m"),
    timeout="20m",
)
class MultiTalk:
    @hook.load
    def load_wan(self, weights: LocalWeights, device: str) -> None:
        import torch  # noqa: PLC0415 - imported beside the fetch, by then
        from diffusers import WanImageToVideoPipeline  # noqa: PLC0415 - as above
        from multitalk_standin import AudioToPrompt  # noqa: PLC0415 - needs torch
        from safetensors.torch import load_file  # noqa: PLC0415 - as above

        folder = weights["wan"].path
        self.torch: Any = torch
        dtype = torch.bfloat16 if device == "cuda" else torch.float32
        self.wan: Any = WanImageToVideoPipeline.from_pretrained(folder, torch_dtype=dtype).to(device)
        self.wan.set_progress_bar_config(disable=True)
        state = load_file(folder / "multitalk.safetensors")  # the other set's file, seen in this one
        text_dim, audio_dim = state["project.weight"].shape
        self.mix: Any = AudioToPrompt(audio_dim=audio_dim, text_dim=text_dim)
        self.mix.load_state_dict(state)
        self.mix.to(device)

    # Not beside it: diffusers loads under a patch that makes every new module of the process an empty one.
    @hook.load(after="load_wan")
    def load_ears(self, weights: LocalWeights, device: str) -> None:
        from transformers import Wav2Vec2FeatureExtractor, Wav2Vec2Model  # noqa: PLC0415 - as above

        folder = weights["wav2vec"].path
        self.features: Any = Wav2Vec2FeatureExtractor.from_pretrained(folder)
        self.ears: Any = Wav2Vec2Model.from_pretrained(folder).to(device).eval()

    @hook.warmup(timeout="5m")
    def warm(self) -> None:
        self.talk("two people talk", frames=5, steps=1, size=16)

    @endpoint(default=True)
    def talk(  # noqa: PLR0913, PLR0917 - what a caller may say
        self,
        prompt: str,
        picture: Image | None = None,
        audio: Audio | None = None,
        frames: int = 9,
        steps: int = 2,
        size: int = 16,
        seed: int = 7,
    ) -> Video:
        """The people of the picture, saying what is heard."""
        torch = self.torch
        with torch.inference_mode():
            words, _ = self.wan.encode_prompt(
                prompt, do_classifier_free_guidance=False, max_sequence_length=16
            )
            shown = self.wan(
                image=_picture(picture, size),
                prompt_embeds=self.mix(self._heard(audio), words),
                guidance_scale=1.0,
                height=size,
                width=size,
                num_frames=frames,
                num_inference_steps=steps,
                generator=torch.Generator("cpu").manual_seed(seed),
                output_type="np",
            ).frames[0]
        return Video.from_bytes(_encoded((shown * 255).astype("uint8")), "video/mp4")

    def _heard(self, audio: Audio | None) -> Any:  # noqa: ANN401 - a tensor
        sound, _ = (audio or Audio.silence("1s", rate=HEARD_RATE)).samples()
        inputs = self.features(sound, sampling_rate=HEARD_RATE, return_tensors="pt").input_values
        return self.ears(inputs.to(self.ears.device)).last_hidden_state


def _picture(picture: Image | None, size: int) -> Any:  # noqa: ANN401 - a picture of PIL's
    from PIL import Image as Pictures  # noqa: PLC0415 - imported by diffusers

    given = picture.pil() if picture else Pictures.new("RGB", (size, size), "grey")
    return given.convert("RGB").resize((size, size))


def _encoded(frames: Any) -> bytes:  # noqa: ANN401 - an array of frames
    """As a film: the same frames give the same bytes."""
    _, height, width, _ = frames.shape
    raw = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", "16", "-i", "-"]
    film = ["-c:v", "mpeg4", "-bitexact", "-movflags", "frag_keyframe+empty_moov", "-f", "mp4", "-"]
    command = ["ffmpeg", "-loglevel", "error", *raw, *film]
    made: bytes = subprocess.run(command, input=frames.tobytes(), capture_output=True, check=True).stdout
    return made
