"""What a hook receives as `weights`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import field
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from coldstart_sdk.frozen import dataclass

if TYPE_CHECKING:
    import torch

    from coldstart_sdk.storage.loading import Loading

M = TypeVar("M", bound="torch.nn.Module")


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
    loading: Loading | None = field(default=None, repr=False, compare=False)
    """Set where a hook receives it."""

    def tensors(self, *, device: str = "cpu", include: Sequence[str] = ()) -> dict[str, torch.Tensor]:
        """Every tensor of the set's safetensors files, by its name, on that device.

        `include` are patterns over the paths of the set. Files are read as suits the disk that they lie on,
        and the trace says how. A pickle is loaded only where `allow_pickle=` names it with its digest.
        """
        from coldstart_sdk.events import ignore  # noqa: PLC0415 - only who loads tensors pays for it
        from coldstart_sdk.storage import loading  # noqa: PLC0415 - as above

        return loading.tensors(
            self.name,
            self.path,
            device=device,
            include=tuple(include),
            loading=self.loading or loading.Loading(step="load", emit=ignore),
        )

    def load_into(
        self, make: Callable[[], M], *, device: str = "cpu", include: Sequence[str] = (), strict: bool = True
    ) -> M:
        """The model that `make` makes, with the set's tensors for its parameters.

        It is made without memory for its parameters, and nothing is drawn at random; what `make` computes as
        a buffer stays. Raises where a parameter is in no file, or, if strict, a tensor fits no parameter.
        """
        from coldstart_sdk.storage import modules  # noqa: PLC0415 - as above

        found = self.tensors(device=device, include=include)
        return modules.filled(self.name, make, found, device=device, strict=strict)


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
            return f"there is no weight {name!r}: none is declared in weights=, or its fetch was skipped"
        import difflib  # noqa: PLC0415 - only on the way out of a mistake

        declared = ", ".join(map(repr, sorted(self._weights)))
        near = difflib.get_close_matches(str(name), self._weights, n=1)
        guess = f"; did you mean {near[0]!r}?" if near else ""
        return f"there is no weight {name!r}; declared: {declared}{guess}"
