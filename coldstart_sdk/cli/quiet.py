"""Keep quiet what is not ours to word: a platform's own code, and the programs that it starts."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def quietly(*, wanted: bool = True) -> Iterator[None]:
    """Without what is written to stderr meanwhile."""
    if not wanted:
        yield
        return
    # A file, for programs are given its number.
    with Path(os.devnull).open("w") as nobody, contextlib.redirect_stderr(nobody):
        yield
