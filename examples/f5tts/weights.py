"""Tiny random weights in the real file layout: `python examples/f5tts/weights.py FOLDER [BYTES]`.

The library's own classes, small: what they say is noise. `config.yaml` beside the checkpoint says how small;
the real set has none, and the package's own is taken.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import torch
from f5_tts.model import CFM, DiT
from f5_tts.model.utils import get_tokenizer
from safetensors.torch import save_file
from vocos.feature_extractors import MelSpectrogramFeatures
from vocos.heads import ISTFTHead
from vocos.models import VocosBackbone

from coldstart_sdk.rehearsal.padding import pad

F5, VOCOS = "SWivid/F5-TTS", "charactr/vocos-mel-24khz"
ARCHITECTURE: dict[str, Any] = {
    "dim": 64,
    "depth": 2,
    "heads": 2,
    "dim_head": 32,
    "ff_mult": 2,
    "text_dim": 32,
    "text_mask_padding": True,
    "conv_layers": 1,
    "pe_attn_head": None,
    "attn_backend": "torch",
    "attn_mask_enabled": False,
}
MEL: dict[str, Any] = {
    "n_fft": 1024,
    "hop_length": 256,
    "win_length": 1024,
    "n_mel_channels": 100,
    "target_sample_rate": 24000,
    "mel_spec_type": "vocos",
}
VOCODER: dict[str, tuple[str, type, dict[str, Any]]] = {
    "feature_extractor": (
        "vocos.feature_extractors.MelSpectrogramFeatures",
        MelSpectrogramFeatures,
        {"sample_rate": 24000, "n_fft": 1024, "hop_length": 256, "n_mels": 100, "padding": "center"},
    ),
    "backbone": (
        "vocos.models.VocosBackbone",
        VocosBackbone,
        {"input_channels": 100, "dim": 32, "intermediate_dim": 64, "num_layers": 2},
    ),
    "head": (
        "vocos.heads.ISTFTHead",
        ISTFTHead,
        {"dim": 32, "n_fft": 1024, "hop_length": 256, "padding": "center"},
    ),
}


def write(folder: Path, *, total_bytes: int = 0) -> None:
    """Both repositories below the folder, padded to so many bytes."""
    torch.manual_seed(7)
    base = folder / F5 / "F5TTS_v1_Base"
    base.mkdir(parents=True, exist_ok=True)
    _write_f5(base)
    (folder / VOCOS).mkdir(parents=True, exist_ok=True)
    _write_vocos(folder / VOCOS)
    pad(folder, base, total_bytes=total_bytes)


def _write_f5(base: Path) -> None:
    import f5_tts  # noqa: PLC0415 - for its folder

    vocabulary = Path(f5_tts.__path__[0], "infer/examples/vocab.txt")
    shutil.copyfile(vocabulary, base / "vocab.txt")
    characters, count = get_tokenizer(str(vocabulary), "custom")
    transformer = DiT(**ARCHITECTURE, text_num_embeds=count, mel_dim=100)
    model = CFM(
        transformer=transformer,
        mel_spec_kwargs=MEL,
        odeint_kwargs={"method": "euler"},
        vocab_char_map=characters,
    )
    state = {f"ema_model.{name}": value.contiguous() for name, value in model.state_dict().items()}
    state |= {"initted": torch.tensor(True), "step": torch.tensor(1250000)}  # noqa: FBT003 - a value, no flag
    save_file(state, base / "model_1250000.safetensors")
    (base / "config.yaml").write_text(json.dumps({"model": {"arch": ARCHITECTURE}}) + "\n")


def _write_vocos(repo: Path) -> None:
    parts = {name: kind(**arguments) for name, (_, kind, arguments) in VOCODER.items()}
    config = {name: {"class_path": path, "init_args": said} for name, (path, _, said) in VOCODER.items()}
    (repo / "config.yaml").write_text(json.dumps(config) + "\n")
    state = {
        f"{name}.{key}": value for name, part in parts.items() for key, value in part.state_dict().items()
    }
    torch.save(state, repo / "pytorch_model.bin")


if __name__ == "__main__":
    if len(sys.argv) < 2:  # noqa: PLR2004 - a folder, at least
        sys.exit("which folder? python examples/f5tts/weights.py FOLDER [BYTES]")
    write(Path(sys.argv[1]), total_bytes=int(sys.argv[2]) if len(sys.argv) > 2 else 0)  # noqa: PLR2004 - the second argument
