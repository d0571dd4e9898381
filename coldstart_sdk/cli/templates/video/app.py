"""Text in, a moving picture out. The frames are a placeholder: moving colours, as an animated PNG.

Replace `load` and `film` by a model of yours; return `Video.from_bytes(data, "video/mp4")` once it does.
"""

import math
import struct
import zlib

from coldstart_sdk import Image, Scale, endpoint, hook, warm_model

SIDE = 96


@warm_model(
    name="video",
    # gpu=["H100", "A100"],
    # weights={"diffusion": Weights.hf("org/name")},
    scale=Scale(max=1, idle="2m", concurrency=1),
    timeout="10m",
)
class Film:
    @hook.load
    def load(self) -> None:
        # A model would be read from weights["diffusion"].path here.
        self.wave = [int(127 + 127 * math.sin(2 * math.pi * step / 256)) for step in range(256)]

    @hook.warmup
    def warm(self) -> None:
        self.film(prompt="warm", frames=1)

    @endpoint
    def film(self, prompt: str, frames: int = 12) -> Image:
        shift = zlib.crc32(prompt.encode())
        drawn = [self._frame(shift, at) for at in range(max(1, min(frames, 60)))]
        return Image.from_bytes(_animated_png(drawn), "image/png")

    def _frame(self, shift: int, at: int) -> bytes:
        rows = []
        for y in range(SIDE):
            row = bytearray([0])  # each row of a PNG begins with its filter: none
            for x in range(SIDE):
                red = self.wave[(x * 2 + at * 16 + shift) % 256]
                green = self.wave[(y * 3 - at * 8 + (shift >> 8)) % 256]
                row += bytes((red, green, self.wave[(x + y + at * 4 + (shift >> 16)) % 256]))
            rows.append(bytes(row))
        return zlib.compress(b"".join(rows), 6)


def _animated_png(frames: list[bytes]) -> bytes:
    """https://www.w3.org/TR/png-3/#apng-frame-based-animation."""
    chunks = [
        _chunk(b"IHDR", struct.pack(">IIBBBBB", SIDE, SIDE, 8, 2, 0, 0, 0)),
        _chunk(b"acTL", struct.pack(">II", len(frames), 0)),
    ]
    number = 0
    for at, frame in enumerate(frames):
        chunks.append(_chunk(b"fcTL", struct.pack(">IIIIIHHBB", number, SIDE, SIDE, 0, 0, 1, 12, 0, 0)))
        number += 1
        if at == 0:
            chunks.append(_chunk(b"IDAT", frame))
        else:
            chunks.append(_chunk(b"fdAT", struct.pack(">I", number) + frame))
            number += 1
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
