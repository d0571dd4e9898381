"""Text in, sound out. The voice is a placeholder: a few formants in pure Python, so that it runs anywhere.

Replace `load` and `speak` by a model of yours; the rest stays as it is.
"""

import array
import io
import math
import wave

from coldstart_sdk import Audio, Scale, endpoint, hook, warm_model

RATE = 16_000
FORMANTS = {"a": (800, 1200), "e": (500, 1900), "i": (300, 2300), "o": (500, 900), "u": (320, 800)}


@warm_model(
    name="tts",
    # gpu=["L4", "RTX 4090"],  # in order of preference
    # weights={"voice": Weights.hf("org/name")},  # load(self, weights) then finds weights["voice"].path
    scale=Scale(max=3, idle="60s", concurrency=1),
)
class Voice:
    @hook.load
    def load(self) -> None:
        # One period of sound for each vowel; a model would be read from weights["voice"].path here.
        self.vowels = {letter: _vowel(*formants) for letter, formants in FORMANTS.items()}

    @hook.warmup
    def warm(self) -> None:
        self.speak(text="warm")

    @endpoint
    def speak(self, text: str, speed: float = 1.0) -> Audio:
        samples = array.array("h")
        length = int(RATE * 0.11 / max(0.25, min(4.0, speed)))
        for letter in text.lower():
            period = self.vowels.get(letter)
            if period is None:
                samples.extend([0] * (length // (3 if letter.isalpha() else 1)))
            else:
                samples.extend(_faded(period, length))
        return Audio.from_bytes(_wav(samples), "audio/wav")


def _vowel(first: int, second: int) -> list[float]:
    """One period of 100 Hz whose loudest harmonics are the vowel's two formants."""
    period = RATE // 100
    strengths = {n: _near(n * 100, first) + 0.5 * _near(n * 100, second) for n in range(1, 40)}
    return [
        sum(strength * math.sin(2 * math.pi * n * at / period) for n, strength in strengths.items())
        for at in range(period)
    ]


def _near(frequency: int, formant: int) -> float:
    return 1 / (1 + ((frequency - formant) / 120) ** 2)


def _faded(period: list[float], length: int) -> list[int]:
    """The period again and again, swelling and fading, as 16-bit samples."""
    return [
        int(6000 * math.sin(math.pi * at / length) * period[at % len(period)] / 2) for at in range(length)
    ]


def _wav(samples: "array.array[int]") -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(RATE)
        sound.writeframes(samples.tobytes())
    return file.getvalue()
