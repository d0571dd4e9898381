"""Text in, text out as it is written. The model is a placeholder: words that followed others in a text.

Its weights come through `Weights.local`, as real ones do. Replace `load` and `write` by a model of yours.
"""

import itertools
import random
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

from coldstart_sdk import Scale, Weights, endpoint, hook, warm_model


@warm_model(
    name="llm",
    # gpu=["L40S", "A100"],
    weights={"corpus": Weights.local("corpus.txt")},  # or Weights.hf("org/name")
    scale=Scale(max=2, idle="5m", concurrency=1),
)
class Writer:
    @hook.load
    def load(self, weights: Mapping[str, Any]) -> None:
        path = weights["corpus"].path
        text = (path / "corpus.txt" if path.is_dir() else path).read_text(encoding="utf-8")
        words = text.split()
        self.follows: dict[str, list[str]] = defaultdict(list)
        for word, following in itertools.pairwise(words):
            self.follows[word.lower()].append(following)
        self.openings = [word for word in words if word[0].isupper()]

    @hook.warmup
    def warm(self) -> None:
        list(self.write(prompt="a start", words=2))

    @endpoint
    def write(self, prompt: str, words: int = 40, seed: int = 0) -> Iterator[str]:
        """Yields a word at a time: a caller reads the first one while the rest is being made."""
        choose = random.Random(f"{prompt}{seed}")
        word = (prompt.split() or [""])[-1]
        for _ in range(min(words, 1000)):
            word = choose.choice(self.follows.get(word.lower()) or self.openings)
            yield f"{word} "
