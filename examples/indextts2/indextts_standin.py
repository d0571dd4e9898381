"""A stand-in for IndexTTS-2's own code, which is no package: text to tokens to a mel to sound.

A GPT-2 of transformers for the language model, one layer for what makes the mel, and transformers' HiFi-GAN
for BigVGAN: the same order of work over files of the same names, none of its quality.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import yaml
from transformers import GPT2Config, GPT2Model, SpeechT5HifiGan, SpeechT5HifiGanConfig

TEXT_TOKENS = 256


class IndexTTS2:
    """Opened on a folder of checkpoints, as the real one is, and on the vocoder's own."""

    def __init__(self, *, checkpoints: Path, vocoder: Path, device: str) -> None:
        config = yaml.safe_load((checkpoints / "config.yaml").read_text())
        self.device = device
        self.gpt: Any = gpt(config["gpt"])
        self.gpt.load_state_dict(torch.load(checkpoints / "gpt.pth", map_location="cpu", weights_only=True))
        self.mel: Any = torch.nn.Linear(config["gpt"]["model_dim"], config["mels"])
        self.mel.load_state_dict(torch.load(checkpoints / "s2mel.pth", map_location="cpu", weights_only=True))
        self.vocoder: Any = hifigan(config["mels"])
        state = torch.load(vocoder / "bigvgan_generator.pt", map_location="cpu", weights_only=True)
        self.vocoder.load_state_dict(state)
        self.rate = int(config["rate"])
        for part in (self.gpt, self.mel, self.vocoder):
            part.to(device).eval()

    def infer(self, text: str, frames: int) -> Any:  # noqa: ANN401 - an array of samples
        with torch.inference_mode():
            ids = torch.tensor([[byte % TEXT_TOKENS for byte in text.encode()]], device=self.device)
            states = []
            for _ in range(frames):
                state = self.gpt(input_ids=ids).last_hidden_state[:, -1:]
                states.append(state)
                ids = torch.cat([ids[:, -32:], state.argmax(-1) % TEXT_TOKENS], dim=1)
            return self.vocoder(self.mel(torch.cat(states, dim=1)))[0].float().cpu().numpy()


def gpt(config: dict[str, int]) -> Any:  # noqa: ANN401 - a module of transformers
    return GPT2Model(
        GPT2Config(
            bos_token_id=0,
            eos_token_id=0,
            vocab_size=TEXT_TOKENS,
            n_embd=config["model_dim"],
            n_layer=config["layers"],
            n_head=config["heads"],
            n_positions=64,
        )
    )


def hifigan(mels: int) -> Any:  # noqa: ANN401 - as above
    return SpeechT5HifiGan(
        SpeechT5HifiGanConfig(
            model_in_dim=mels,
            sampling_rate=22_050,
            upsample_initial_channel=32,
            upsample_rates=[4, 4, 4, 4],
            upsample_kernel_sizes=[8, 8, 8, 8],
            normalize_before=False,
        )
    )
