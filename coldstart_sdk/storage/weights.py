"""What a hook receives as `weights`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class LocalWeight:
    """One set of weights that lies, verified, on this machine."""

    name: str
    path: Path
    """A directory with the files; of a URL, and of a local file, the one file."""
    tier: str
    """Which place gave the bytes this time, such as `disk`, `store` or `origin`."""
    bytes: int
    revision: str
    """What the origin calls this state of it: a commit, an ETag, a digest of a listing."""
    ref: str
    """Under which name the set is kept."""


class LocalWeights(Mapping[str, LocalWeight]):
    """The declared weights by name; a wrong name is answered with the right ones."""

    def __init__(self, weights: Mapping[str, LocalWeight]) -> None:
        self._weights = dict(weights)

    def __getitem__(self, name: str) -> LocalWeight:
        try:
            return self._weights[name]
        except KeyError:
            raise KeyError(self._advice(name)) from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._weights)

    def __len__(self) -> int:
        return len(self._weights)

    def __repr__(self) -> str:
        return f"LocalWeights({', '.join(self._weights)})"

    def _advice(self, name: str) -> str:
        if not self._weights:
            return f"there is no weight {name!r}: the declaration has no weights="
        import difflib  # noqa: PLC0415 - only on the way out of a mistake

        declared = ", ".join(map(repr, sorted(self._weights)))
        near = difflib.get_close_matches(str(name), self._weights, n=1)
        guess = f"; did you mean {near[0]!r}?" if near else ""
        return f"there is no weight {name!r}; declared: {declared}{guess}"
