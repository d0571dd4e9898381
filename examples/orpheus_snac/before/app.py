"""Where Orpheus' author began: models downloaded and loaded at start, nothing warm, the first caller pays.

The same streaming as it is now; only what happens before the first request differs.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from coldstart_sdk import Audio, endpoint, hook, warm_model

RATE = 24_000
FRAME = 7
FRAMES_A_CHUNK = 4
FIRST_CODE, CODES = 128_266, 4096
START, END_OF_TEXT, END_OF_HUMAN = 128_259, 128_009, 128_260


@warm_model(name="orpheus-before")
class Orpheus:
    @hook.load
    def start(self) -> None:
        from huggingface_hub import snapshot_download  # noqa: PLC0415 - where the author's start-up came to it

        orpheus = snapshot_download(
            "canopylabs/orpheus-3b-0.1-ft", allow_patterns=["*.safetensors", "*.json"]
        )
        codec = snapshot_download("hubertsiuzdak/snac_24khz")
        import torch  # noqa: PLC0415 - as above
        from snac import SNAC  # noqa: PLC0415 - as above
        from transformers import AutoTokenizer, LlamaForCausalLM  # noqa: PLC0415 - as above

        self.torch: Any = torch
        self.tokenizer: Any = AutoTokenizer.from_pretrained(orpheus)
        self.model: Any = LlamaForCausalLM.from_pretrained(orpheus, dtype=torch.float32).eval()
        self.codec: Any = SNAC.from_pretrained(codec).eval()

    @endpoint(default=True)
    def speak(self, text: str, voice: str = "tara", frames: int = 24) -> Iterator[Audio]:
        chunk: list[int] = []
        for code in self._codes(text, voice, frames):
            chunk.append(code)
            if len(chunk) == FRAME * FRAMES_A_CHUNK:
                yield Audio.from_samples(self._sound(chunk), RATE)
                chunk = []

    @endpoint
    def decode(self, codes: list[int]) -> Audio:
        return Audio.from_samples(self._sound(codes), RATE)

    def _codes(self, text: str, voice: str, frames: int) -> Iterator[int]:
        torch = self.torch
        said = self.tokenizer(f"{voice}: {text}").input_ids
        ids = torch.tensor([[START, *said, END_OF_TEXT, END_OF_HUMAN]])
        past = None
        with torch.inference_mode():
            for number in range(frames * FRAME):
                out = self.model(input_ids=ids, past_key_values=past, use_cache=True)
                past = out.past_key_values
                first = FIRST_CODE + number % FRAME * CODES
                code = int(out.logits[0, -1, first : first + CODES].argmax())
                ids = torch.tensor([[first + code]])
                yield code

    def _sound(self, codes: list[int]) -> Any:  # noqa: ANN401 - an array of samples
        torch = self.torch
        frames = [codes[start : start + FRAME] for start in range(0, len(codes) - FRAME + 1, FRAME)]
        layers = (
            [frame[0] for frame in frames],
            [frame[place] for frame in frames for place in (1, 4)],
            [frame[place] for frame in frames for place in (2, 3, 5, 6)],
        )
        with torch.inference_mode():
            sound = self.codec.decode([torch.tensor([layer]) for layer in layers])
        return sound[0, 0].float().numpy()
