"""Tiny random weights under the real names: `python examples/indextts2/weights.py FOLDER [BYTES]`.

They are the stand-in's, small: what they say is noise.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
import yaml
from indextts_standin import gpt, hifigan

from coldstart_sdk.rehearsal.padding import pad

INDEXTTS, BIGVGAN = "IndexTeam/IndexTTS-2", "nvidia/bigvgan_v2_22khz_80band_256x"
CONFIG: dict[str, Any] = {"gpt": {"model_dim": 32, "layers": 2, "heads": 2}, "mels": 80, "rate": 22050}


def write(folder: Path, *, total_bytes: int = 0) -> None:
    """Both repositories below the folder, padded to so many bytes."""
    torch.manual_seed(7)
    checkpoints, vocoder = folder / INDEXTTS, folder / BIGVGAN
    for repo in (checkpoints, vocoder):
        repo.mkdir(parents=True, exist_ok=True)
    (checkpoints / "config.yaml").write_text(yaml.safe_dump(CONFIG))
    torch.save(gpt(CONFIG["gpt"]).state_dict(), checkpoints / "gpt.pth")
    torch.save(
        torch.nn.Linear(CONFIG["gpt"]["model_dim"], CONFIG["mels"]).state_dict(), checkpoints / "s2mel.pth"
    )
    torch.save(hifigan(CONFIG["mels"]).state_dict(), vocoder / "bigvgan_generator.pt")
    pad(folder, checkpoints, total_bytes=total_bytes)


if __name__ == "__main__":
    if len(sys.argv) < 2:  # noqa: PLR2004 - a folder, at least
        sys.exit("which folder? python examples/indextts2/weights.py FOLDER [BYTES]")
    write(Path(sys.argv[1]), total_bytes=int(sys.argv[2]) if len(sys.argv) > 2 else 0)  # noqa: PLR2004 - the second argument
