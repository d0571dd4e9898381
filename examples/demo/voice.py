"""Text to speech with espeak-ng: a whole engine in 19 MB, small enough to watch it start cold.

The engine's library and its voices are the weights: one archive behind a URL, pinned by its digest.
`python -m examples.demo` packs that archive, serves it over a slow link, and starts this class from nothing.
"""

from __future__ import annotations

import array
import ctypes
import os
import re
import tempfile
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

from coldstart_sdk import Audio, Weights, endpoint, hook, warm_model
from coldstart_sdk.storage.weights import LocalWeights

URL = os.environ.get("DEMO_URL", "http://127.0.0.1:8000/espeak-ng.zip")
SHA256 = os.environ.get("DEMO_SHA256", "94e005652d3d41f95677494ee4688beac101fa9a64c93a6399cdcda78ac56b81")

_SYNCHRONOUS, _UTF8, _RATE, _FAILS_SOFTLY = 2, 1, 1, 0x8000
"""Names of espeak-ng's own `speak_lib.h`."""
_WORDS_PER_MINUTE = 175
_Collect = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


@warm_model(name="voice", weights={"espeak": Weights.url(URL, sha256=SHA256)})
class Voice:
    def __init__(self) -> None:
        self._one_at_a_time = threading.Lock()
        self._samples = bytearray()
        self._collect = _Collect(self._take)  # kept, or the engine would call what is gone
        self._ends = threading.Event()

    @hook.fetch
    def unpack(self, weights: LocalWeights) -> None:
        """Put engine and voices side by side, where the engine wants them."""
        self.folder = tempfile.TemporaryDirectory(prefix="voice-")
        with zipfile.ZipFile(weights["espeak"].path) as archive:
            archive.extractall(self.folder.name)

    @hook.load
    def load(self) -> None:
        """Open the engine on its voices."""
        library = next(Path(self.folder.name).glob("*espeak-ng.*"))
        self.engine = ctypes.CDLL(str(library))
        voices = str(library.parent).encode()
        self.rate = self.engine.espeak_Initialize(_SYNCHRONOUS, 0, voices, _FAILS_SOFTLY)
        if self.rate <= 0:
            raise RuntimeError(f"espeak-ng found no voices in {library.parent}")
        self.engine.espeak_SetSynthCallback(self._collect)

    @hook.warmup
    def warm(self) -> None:
        """Say something short, so that the first caller does not wait for the first time."""
        self.speak("Ready.")

    @hook.background
    def warm_more(self) -> None:
        """Read the other dictionaries; nobody waits for this."""
        for voice in ("de", "es", "fr"):
            if not self._ends.is_set():
                self.speak("1", voice)

    @hook.close
    def clear(self) -> None:
        """Take the unpacked files away, once nobody reads them."""
        self._ends.set()
        with self._one_at_a_time:
            self.folder.cleanup()

    @endpoint(default=True)
    def speak(self, text: str, voice: str = "en", speed: float = 1.0) -> Audio:
        """Say the text; `voice` is a language such as "en", "de" or "fr"."""
        with self._one_at_a_time:
            self._samples.clear()
            self._say(text, voice, speed)
            return Audio.from_samples(array.array("h", self._samples), self.rate)

    @endpoint
    def read(self, text: str, voice: str = "en", speed: float = 1.0) -> Iterator[Audio]:
        """Say a longer text, one sentence after the other, each as soon as it is spoken."""
        for sentence in re.split(r"(?<=[.!?])\s+", text.strip()):
            yield self.speak(sentence, voice, speed)

    def _say(self, text: str, voice: str, speed: float) -> None:
        if self.engine.espeak_SetVoiceByName(voice.encode()) != 0:
            raise ValueError(f"espeak-ng has no voice {voice!r}")
        self.engine.espeak_SetParameter(_RATE, round(_WORDS_PER_MINUTE * speed), 0)
        said = text.encode()
        self.engine.espeak_Synth(said, len(said) + 1, 0, 0, 0, _UTF8, None, None)
        self.engine.espeak_Synchronize()

    def _take(self, samples: ctypes._Pointer[ctypes.c_short], count: int, _events: int | None) -> int:
        if count > 0:  # the last call of each text brings none
            self._samples += ctypes.string_at(samples, 2 * count)
        return 0
