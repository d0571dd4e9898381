"""Wav in and out: 16-bit is written, every uncompressed form is read.

The standard library writes; it reads neither float nor (before Python 3.12) extensible wav: reading is ours.
"""

from __future__ import annotations

import array
import io
import math
import struct
import sys
import wave
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from coldstart_sdk.errors import UsageError
from coldstart_sdk.media import UnreadableError, kinds

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_PCM, _FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE
_MAX_CHANNELS = 32
_MAX_RATE = 1_000_000
_LOUDEST = 32767
_HEADER = 44
"""Bytes before the samples of a wav that we write."""
_AS_PCM = "Write it as PCM or float, for example with `ffmpeg -i in.wav -c:a pcm_s16le out.wav`."


@dataclass(frozen=True, kw_only=True)
class Wav:
    """A wav's header, and its frames as they stand in the file."""

    is_float: bool
    channels: int
    rate: int
    bits: int
    frames: memoryview

    @property
    def form(self) -> tuple[bool, int, int, int]:
        """Equal for sounds whose samples may stand one after the other."""
        return self.is_float, self.channels, self.rate, self.bits

    @property
    def count(self) -> int:
        return len(self.frames) // (self.channels * self.bits // 8)

    @property
    def duration_s(self) -> float:
        return self.count / self.rate


def write(samples: object, rate: int) -> bytes:
    """A 16-bit wav file of the samples."""
    if not _is_rate(rate):
        raise UsageError(
            f"a sample rate of {rate!r} is not a number of samples per second",
            fix="Give it as an int, like rate=24000.",
        )
    channels, frames = _frames(samples)
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(frames)
    return buffer.getvalue()


def silence(duration: str | float, rate: int) -> array.array[int]:
    """As many zeros as the duration holds."""
    return array.array("h", bytes(2 * round(_seconds(duration) * rate)))


def read(content: bytes, kind: str) -> Wav:
    """The wav in these bytes; `kind` is only for the message when it is none."""
    if content[:4] not in {b"RIFF", b"RF64"} or content[8:12] != b"WAVE":
        raise _no_wav(kinds.sniff(content) or kind)
    header, frames = _chunks(memoryview(content))
    if header is None or frames is None:
        raise _broken("its header or its samples are missing")
    form, channels, rate, _, _, bits = struct.unpack_from("<HHIIHH", header)
    if form == _EXTENSIBLE and len(header) >= 26:  # noqa: PLR2004 - the real form stands at byte 24
        form = struct.unpack_from("<H", header, 24)[0]
    if (form, bits) not in {(_PCM, 8), (_PCM, 16), (_PCM, 24), (_PCM, 32), (_FLOAT, 32), (_FLOAT, 64)}:
        raise UnreadableError(
            f"this wav cannot be read: form {form} with {bits} bits is compressed or unknown", fix=_AS_PCM
        )
    if not channels or not rate:
        raise _broken("it has no channels or no rate")
    whole = len(frames) - len(frames) % (channels * bits // 8)
    return Wav(is_float=form == _FLOAT, channels=channels, rate=rate, bits=bits, frames=frames[:whole])


def header(sound: Wav, frame_bytes: int | None = None) -> bytes:
    """What stands before samples of this form; of unknown length, it says "up to the end"."""
    width = sound.channels * sound.bits // 8
    form = _FLOAT if sound.is_float else _PCM
    described = struct.pack(
        "<HHIIHH", form, sound.channels, sound.rate, sound.rate * width, width, sound.bits
    )
    endless = 0xFFFFFFFF
    body = endless if frame_bytes is None else min(frame_bytes, endless - _HEADER)
    whole = endless if frame_bytes is None else body + _HEADER - 8
    return b"RIFF" + _u32(whole) + b"WAVEfmt " + _u32(16) + described + b"data" + _u32(body)


def samples(wav: Wav) -> tuple[NDArray[np.float32], int]:
    """Floats in -1…1, one axis for one channel, else (frames, channels)."""
    try:
        import numpy as np  # noqa: PLC0415 - the caller's own choice
    except ImportError as exc:
        raise UsageError(
            "Audio.samples() needs numpy, which is not installed",
            fix='Add it: Container.python(...).pip("numpy"), and `pip install numpy` here.',
        ) from exc
    if wav.is_float:
        flat = np.frombuffer(wav.frames, dtype=f"<f{wav.bits // 8}").astype(np.float32)
    elif wav.bits == 8:  # noqa: PLR2004 - the one unsigned width
        flat = (np.frombuffer(wav.frames, dtype=np.uint8).astype(np.float32) - 128) / 128
    elif wav.bits == 24:  # noqa: PLR2004 - numpy has no such integer: widen by a low zero byte
        wide: NDArray[np.uint8] = np.zeros((len(wav.frames) // 3, 4), dtype=np.uint8)
        wide[:, 1:] = np.frombuffer(wav.frames, dtype=np.uint8).reshape(-1, 3)
        flat = (wide.view("<i4").reshape(-1) / 2**31).astype(np.float32)
    else:
        whole = np.frombuffer(wav.frames, dtype=f"<i{wav.bits // 8}")
        flat = (whole / 2 ** (wav.bits - 1)).astype(np.float32)
    return (flat.reshape(-1, wav.channels) if wav.channels > 1 else flat), wav.rate


def _u32(number: int) -> bytes:
    return number.to_bytes(4, "little")


def _is_rate(rate: object) -> bool:
    return isinstance(rate, int) and not isinstance(rate, bool) and 0 < rate <= _MAX_RATE


def _chunks(content: memoryview) -> tuple[memoryview | None, memoryview | None]:
    """The `fmt ` and the `data` chunk; a length past the end, as in a streamed wav, means up to the end."""
    header, at = None, 12
    while at + 8 <= len(content):
        name, size = bytes(content[at : at + 4]), int.from_bytes(content[at + 4 : at + 8], "little")
        body = content[at + 8 : at + 8 + size]
        if name == b"fmt " and len(body) >= 16:  # noqa: PLR2004 - the shortest header
            header = body
        elif name == b"data":
            return header, body
        at += 8 + size + size % 2
    return header, None


def _frames(samples: object) -> tuple[int, bytes]:
    values = _on_the_cpu(samples)
    if hasattr(values, "__array__"):
        return _array_frames(values)
    if isinstance(values, array.array) and values.typecode == "h":
        return 1, _little(values)
    if not isinstance(values, Sequence) or isinstance(values, (str, bytes, bytearray, memoryview)):
        raise _not_samples(f"{type(samples).__name__} is no row of numbers")
    rows = _rows(values)
    return len(rows), _little(
        array.array("h", [_sample(value) for frame in zip(*rows, strict=True) for value in frame])
    )


def _on_the_cpu(samples: object) -> object:
    """A torch tensor as numpy, or as lists where numpy is missing; anything else as it is."""
    if not hasattr(samples, "detach"):
        return samples
    tensor = cast("Any", samples).detach().cpu()
    tensor = tensor.float() if tensor.is_floating_point() else tensor
    try:
        return cast("object", tensor.numpy())
    except RuntimeError:  # torch's word for "numpy is not available"
        return cast("object", tensor.tolist())


def _array_frames(values: object) -> tuple[int, bytes]:
    import numpy as np  # noqa: PLC0415 - the caller brought an array, so numpy is there

    matrix = np.asarray(values)
    matrix = matrix[:, None] if matrix.ndim == 1 else matrix
    if matrix.ndim != 2 or min(matrix.shape) > _MAX_CHANNELS:  # noqa: PLR2004 - frames and channels
        raise _not_samples(
            f"an array of shape {np.shape(values)} is neither (frames,) nor (frames, channels)"
        )
    if matrix.shape[1] > matrix.shape[0]:
        matrix = matrix.T
    if matrix.shape[1] == 0:
        matrix = matrix.reshape(0, 1)
    if matrix.dtype.kind == "f":
        if not np.isfinite(matrix).all():
            raise _not_samples("some are NaN or infinite")
        whole = np.rint(np.clip(matrix.astype(np.float32), -1, 1) * _LOUDEST).astype("<i2")
    elif matrix.dtype.kind in "iu":
        if matrix.size and not -_LOUDEST - 1 <= int(matrix.min()) <= int(matrix.max()) <= _LOUDEST:
            raise _not_samples("some integers do not fit 16 bits")
        whole = matrix.astype("<i2")
    else:
        raise _not_samples(f"an array of {matrix.dtype} holds no sound")
    return int(matrix.shape[1]), np.ascontiguousarray(whole).tobytes()


def _rows(values: Sequence[Any]) -> list[Sequence[Any]]:
    """One sequence per channel."""
    if not values or not isinstance(values[0], Sequence):
        return [values]
    lengths = {len(row) if isinstance(row, Sequence) else -1 for row in values}
    if len(lengths) != 1 or min(len(values), *lengths) > _MAX_CHANNELS or -1 in lengths:
        raise _not_samples("rows must be equally long, and the shorter axis is the channels")
    return list(values) if len(values) <= lengths.pop() else list(zip(*values, strict=True))


def _sample(value: object) -> int:
    if isinstance(value, float):
        if not math.isfinite(value):
            raise _not_samples("some are NaN or infinite")
        return round(max(-1.0, min(1.0, value)) * _LOUDEST)
    if isinstance(value, int) and not isinstance(value, bool) and -_LOUDEST - 1 <= value <= _LOUDEST:
        return value
    raise _not_samples(f"{type(value).__name__} {value!r:.40} is neither a float nor a 16-bit integer")


def _little(values: array.array[int]) -> bytes:
    if sys.byteorder == "big":
        values = array.array("h", values)
        values.byteswap()
    return values.tobytes()


def _seconds(duration: str | float) -> float:
    text = str(duration).strip()
    number, scale = (text[:-2], 0.001) if text.endswith("ms") else (text.removesuffix("s"), 1.0)
    try:
        seconds = float(number) * scale
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds <= 24 * 3600:
        raise UsageError(
            f"{duration!r} is not how long a sound is",
            fix='Write it like "1s", "250ms" or 1.5.',
        )
    return seconds


def _no_wav(kind: str) -> UnreadableError:
    if kind == "audio/wav":
        return _broken("it does not begin as a wav does")
    return UnreadableError(
        f"only wav can be read here, and this is {kind}",
        fix="Give .path to a decoder such as soundfile, torchaudio or ffmpeg.",
    )


def _broken(why: str) -> UnreadableError:
    return UnreadableError(f"this wav is broken: {why}", fix=_AS_PCM)


def _not_samples(why: str) -> UsageError:
    return UsageError(
        f"these are not samples: {why}",
        fix="Give floats in -1..1 or 16-bit integers, as (frames,) or (frames, channels).",
    )
