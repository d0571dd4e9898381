"""Orpheus speaks in tokens, SNAC turns them into sound; both are warm before the first caller hears of them.

A language model whose tokens are the codes of a neural codec, seven for each frame. The stream's first sound
leaves after the first frames, so what a caller waits for is one prefill and one decode: both are warmed up.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from coldstart_sdk import Audio, Container, Scale, Weights, endpoint, hook, warm_model
from coldstart_sdk.storage.weights import LocalWeights

RATE = 24_000
FRAME = 7
"""Tokens of one frame: one coarse, two middle and four fine codes."""
FRAMES_A_CHUNK = 4
FIRST_CODE, CODES = 128_266, 4096
"""The first audio token of the vocabulary, and how many each of the seven places has."""
START, END_OF_TEXT, END_OF_HUMAN = 128_259, 128_009, 128_260


@warm_model(
    name="orpheus",
    gpu=["L4", "A10G", "RTX 4090"],
    image=Container.python("3.11").pip("torch==2.8.0", "transformers==5.23.0", "snac==1.2.1"),
    weights={
        "orpheus": Weights.hf(
            "canopylabs/orpheus-3b-0.1-ft", include=["*.safetensors", "*.json"], exclude=["optimizer*"]
        ),
        "snac": Weights.hf("hubertsiuzdak/snac_24khz"),
    },
    imports=["torch", "transformers", "transformers.models.llama.modeling_llama", "snac"],
    secrets=["HF_TOKEN"],
    scale=Scale(max=5, idle="60s"),
)
class Orpheus:
    @hook.load
    def load_model(self, weights: LocalWeights, device: str) -> None:
        import torch  # noqa: PLC0415 - imported beside the fetch, by then
        from transformers import AutoTokenizer, LlamaForCausalLM  # noqa: PLC0415 - as above

        folder = weights["orpheus"].path
        self.torch: Any = torch
        self.device = device
        self.tokenizer: Any = AutoTokenizer.from_pretrained(folder)
        dtype = torch.bfloat16 if device == "cuda" else torch.float32
        self.model: Any = LlamaForCausalLM.from_pretrained(folder, dtype=dtype).to(device).eval()

    @hook.load
    def load_codec(self, weights: LocalWeights, device: str) -> None:
        from snac import SNAC  # noqa: PLC0415 - as above

        self.codec: Any = SNAC.from_pretrained(str(weights["snac"].path)).to(device).eval()

    @hook.warmup(timeout="60s")
    def warm_model(self) -> None:
        """One prefill and the tokens of one chunk."""
        for _ in self._codes("Hi.", "tara", FRAMES_A_CHUNK):
            pass

    @hook.warmup(required=False, timeout="30s", after="warm_model")
    def warm_codec(self) -> None:
        """The first decode is the slow one; without it the service goes on, marked degraded."""
        self._sound([0] * FRAME * FRAMES_A_CHUNK)

    @endpoint(default=True)
    def speak(self, text: str, voice: str = "tara", frames: int = 24) -> Iterator[Audio]:
        """Say the text, chunk by chunk, each as soon as it is decoded."""
        chunk: list[int] = []
        for code in self._codes(text, voice, frames):
            chunk.append(code)
            if len(chunk) == FRAME * FRAMES_A_CHUNK:
                yield Audio.from_samples(self._sound(chunk), RATE)
                chunk = []

    @endpoint
    def decode(self, codes: list[int]) -> Audio:
        """The sound of codes that somebody else's model said; seven of them are a frame."""
        return Audio.from_samples(self._sound(codes), RATE)

    def _codes(self, text: str, voice: str, frames: int) -> Iterator[int]:
        """Codes as the model says them, one after the other."""
        torch = self.torch
        said = self.tokenizer(f"{voice}: {text}").input_ids
        ids = torch.tensor([[START, *said, END_OF_TEXT, END_OF_HUMAN]], device=self.device)
        past = None
        with torch.inference_mode():
            for number in range(frames * FRAME):
                out = self.model(input_ids=ids, past_key_values=past, use_cache=True)
                past = out.past_key_values
                first = FIRST_CODE + number % FRAME * CODES  # each place of a frame has codes of its own
                code = int(out.logits[0, -1, first : first + CODES].argmax())
                ids = torch.tensor([[first + code]], device=self.device)
                yield code

    def _sound(self, codes: list[int]) -> Any:  # noqa: ANN401 - an array of samples
        """SNAC's three layers from frames of seven."""
        torch = self.torch
        frames = [codes[start : start + FRAME] for start in range(0, len(codes) - FRAME + 1, FRAME)]
        layers = (
            [frame[0] for frame in frames],
            [frame[place] for frame in frames for place in (1, 4)],
            [frame[place] for frame in frames for place in (2, 3, 5, 6)],
        )
        with torch.inference_mode():
            sound = self.codec.decode([torch.tensor([layer], device=self.device) for layer in layers])
        return sound[0, 0].float().cpu().numpy()
