"""Load what a fetch needs before anything heavy is imported beside it.

`import torch` holds the interpreter while it opens its libraries: a fetch that still has modules to load then
sends its first request some tenths of a second late. Loaded first they take a tenth of that.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from coldstart_sdk.spec import Origin, WeightSpec
from coldstart_sdk.storage.home import Home
from coldstart_sdk.storage.stores import OURS, scheme_of
from coldstart_sdk.storage.sync import ref_of

_ENGINE = ("listing", "transfer", "streams")


def load(weights: Iterable[WeightSpec], *, store: str | None, home: Path, project: Path) -> None:
    """For the sets that are not known to be here; what is here is found without any of it."""
    rooms = Home(home)
    remote = [weight for weight in weights if weight.origin is not Origin.LOCAL]
    lacking = [weight for weight in remote if not rooms.ref(ref_of(weight, project)).is_file()]
    for module in _modules(lacking, store) if lacking else ():
        importlib.import_module(module)


def _modules(lacking: Iterable[WeightSpec], store: str | None) -> Iterator[str]:
    yield from (f"{__package__}.{name}" for name in _ENGINE)
    yield from (f"{__package__}.origins.{origin.value}" for origin in {weight.origin for weight in lacking})
    if store is not None and (ours := OURS.get(scheme_of(store))):
        yield ours.partition(":")[0]
