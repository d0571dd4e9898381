"""Tiny random weights in the real file layout: `python examples/multitalk/weights.py FOLDER [BYTES]`.

diffusers' and transformers' own classes, small, saved by their own `save_pretrained`; MultiTalk's file holds
the two layers that the stand-in has. What it shows is noise.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from diffusers import (
    AutoencoderKLWan,
    UniPCMultistepScheduler,
    WanImageToVideoPipeline,
    WanTransformer3DModel,
)
from multitalk_standin import AudioToPrompt
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    CLIPImageProcessor,
    CLIPVisionConfig,
    CLIPVisionModel,
    PreTrainedTokenizerFast,
    UMT5Config,
    UMT5EncoderModel,
    Wav2Vec2Config,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2Model,
)

from coldstart_sdk.rehearsal.padding import pad

WAN = "Wan-AI/Wan2.1-I2V-14B-480P-Diffusers"
WAV2VEC, KOKORO = "TencentGameMate/chinese-wav2vec2-base", "hexgrad/Kokoro-82M"
MULTITALK, LIGHTX2V = "MeiGen-AI/MeiGen-MultiTalk", "Kijai/WanVideo_comfy"
LORA = "Wan21_T2V_14B_lightx2v_cfg_step_distill_lora_rank32.safetensors"
TEXT_DIM = 32


def write(folder: Path, *, total_bytes: int = 0) -> None:
    """All five repositories below the folder, padded to so many bytes."""
    torch.manual_seed(7)
    for repo in (WAN, WAV2VEC, KOKORO, MULTITALK, LIGHTX2V):
        (folder / repo).mkdir(parents=True, exist_ok=True)
    _write_wan(folder / WAN)
    _write_wav2vec(folder / WAV2VEC)
    (folder / KOKORO / "voices").mkdir(exist_ok=True)
    torch.save(torch.randn(510, 1, 256), folder / KOKORO / "voices" / "af_heart.pt")
    save_file(
        AudioToPrompt(audio_dim=32, text_dim=TEXT_DIM).state_dict(),
        folder / MULTITALK / "multitalk.safetensors",
    )
    save_file({"alpha": torch.tensor(1.0)}, folder / LIGHTX2V / LORA)
    pad(folder, folder / WAN, total_bytes=total_bytes)


def _write_wan(repo: Path) -> None:
    transformer = WanTransformer3DModel(
        patch_size=(1, 2, 2),
        num_attention_heads=2,
        attention_head_dim=12,
        in_channels=36,
        out_channels=16,
        text_dim=TEXT_DIM,
        freq_dim=256,
        ffn_dim=32,
        num_layers=2,
        cross_attn_norm=True,
        qk_norm="rms_norm_across_heads",
        rope_max_seq_len=32,
        image_dim=4,
    )
    vae = AutoencoderKLWan(
        base_dim=3, z_dim=16, dim_mult=[1, 1, 1, 1], num_res_blocks=1, temperal_downsample=[False, True, True]
    )
    text = UMT5EncoderModel(
        UMT5Config(vocab_size=32, d_model=TEXT_DIM, d_kv=8, d_ff=37, num_layers=2, num_heads=4)
    )
    vision = CLIPVisionModel(
        CLIPVisionConfig(
            hidden_size=4,
            projection_dim=4,
            num_hidden_layers=2,
            num_attention_heads=2,
            image_size=32,
            intermediate_size=16,
            patch_size=1,
        )
    )
    WanImageToVideoPipeline(
        tokenizer=_tokenizer(),
        text_encoder=text,
        vae=vae,
        scheduler=UniPCMultistepScheduler(flow_shift=3.0),
        image_processor=CLIPImageProcessor(crop_size=32, size=32),
        image_encoder=vision,
        transformer=transformer,
    ).save_pretrained(repo)


def _tokenizer() -> PreTrainedTokenizerFast:
    vocabulary = {"<pad>": 0, "</s>": 1, "<unk>": 2, "two": 3, "people": 4, "talk": 5}
    words = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))  # noqa: S106 - a word, no secret
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(
        tokenizer_object=words,
        pad_token="<pad>",  # noqa: S106 - as above
        eos_token="</s>",  # noqa: S106 - as above
        unk_token="<unk>",  # noqa: S106 - as above
    )


def _write_wav2vec(repo: Path) -> None:
    config = Wav2Vec2Config(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        conv_dim=[16] * 7,
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=2,
    )
    Wav2Vec2Model(config).save_pretrained(repo)
    Wav2Vec2FeatureExtractor().save_pretrained(repo)


if __name__ == "__main__":
    if len(sys.argv) < 2:  # noqa: PLR2004 - a folder, at least
        sys.exit("which folder? python examples/multitalk/weights.py FOLDER [BYTES]")
    write(Path(sys.argv[1]), total_bytes=int(sys.argv[2]) if len(sys.argv) > 2 else 0)  # noqa: PLR2004 - the second argument
