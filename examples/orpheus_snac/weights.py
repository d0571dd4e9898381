"""Tiny random weights in the real file layout: `python examples/orpheus_snac/weights.py FOLDER [BYTES]`.

The libraries' own classes, small: a Llama with Orpheus' whole vocabulary and a SNAC with its three layers.
What they say is noise.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
from snac import SNAC
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from coldstart_sdk.rehearsal.padding import pad

ORPHEUS, CODEC = "canopylabs/orpheus-3b-0.1-ft", "hubertsiuzdak/snac_24khz"
SNAC_CONFIG: dict[str, Any] = {
    "sampling_rate": 24000,
    "encoder_dim": 4,
    "encoder_rates": [2, 4, 8, 8],
    "decoder_dim": 64,
    "decoder_rates": [8, 8, 4, 2],
    "attn_window_size": None,
    "codebook_size": 4096,
    "codebook_dim": 8,
    "vq_strides": [4, 2, 1],
    "noise": False,  # the real one adds some, and then no two answers are alike
    "depthwise": True,
}


def write(folder: Path, *, total_bytes: int = 0) -> None:
    """Both repositories below the folder, padded to so many bytes."""
    torch.manual_seed(7)
    repo = folder / ORPHEUS
    repo.mkdir(parents=True, exist_ok=True)
    _write_orpheus(repo)
    codec = folder / CODEC
    codec.mkdir(parents=True, exist_ok=True)
    (codec / "config.json").write_text(json.dumps(SNAC_CONFIG) + "\n")
    torch.save(SNAC(**SNAC_CONFIG).state_dict(), codec / "pytorch_model.bin")
    pad(folder, codec, total_bytes=total_bytes)


def _write_orpheus(repo: Path) -> None:
    config = LlamaConfig(
        vocab_size=156_940,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        tie_word_embeddings=True,
    )
    LlamaForCausalLM(config).save_pretrained(repo)
    words = Tokenizer(models.WordLevel({"[UNK]": 0, "tara": 1, ":": 2, "Hi": 3, ".": 4}, unk_token="[UNK]"))  # noqa: S106 - a word, no secret
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=words, unk_token="[UNK]").save_pretrained(repo)  # noqa: S106 - as above


if __name__ == "__main__":
    if len(sys.argv) < 2:  # noqa: PLR2004 - a folder, at least
        sys.exit("which folder? python examples/orpheus_snac/weights.py FOLDER [BYTES]")
    write(Path(sys.argv[1]), total_bytes=int(sys.argv[2]) if len(sys.argv) > 2 else 0)  # noqa: PLR2004 - the second argument
