"""A stand-in for MultiTalk's own code, which is no package: what is heard, mixed into what is asked for.

The real one adds layers to Wan's transformer. This one has two layers that add wav2vec2's features to each
token of the prompt: the same files, the same order of work, none of its quality.
"""

from __future__ import annotations

from typing import Any

import torch


class AudioToPrompt(torch.nn.Module):  # type: ignore[misc] # torch's types are not looked at
    def __init__(self, *, audio_dim: int, text_dim: int) -> None:
        super().__init__()
        self.project = torch.nn.Linear(audio_dim, text_dim)
        self.norm = torch.nn.LayerNorm(text_dim)

    def forward(self, heard: Any, prompt: Any) -> Any:  # noqa: ANN401 - tensors
        """The prompt's embeddings, what was heard added to each."""
        return prompt + self.norm(self.project(heard)).mean(dim=1, keepdim=True).to(prompt.dtype)
