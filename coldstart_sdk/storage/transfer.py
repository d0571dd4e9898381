"""Bring files from wherever they are served into blobs: in this process, or beside it.

Beside it, where there is much to read: while a heavy library is imported, a thread that reads waits for the
interpreter at each piece. For a little, a process costs more than that.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress

from coldstart_sdk.manifest import FileEntry
from coldstart_sdk.storage.home import Home
from coldstart_sdk.storage.remote import Beside, ChangedError, Limits, RemoteFile, known
from coldstart_sdk.storage.report import ORIGIN, Report

__all__ = ["ChangedError", "fetch", "foreseen", "known"]

BESIDE_BYTES = 48 << 20
"""From here on a process costs less than it saves: a process takes 0.1 s to start."""


def fetch(  # noqa: PLR0913 - what a transfer needs, each by its name
    files: Sequence[RemoteFile],
    *,
    home: Home,
    limits: Limits,
    report: Report,
    cancelled: threading.Event,
    tier: str = ORIGIN,
    partly: bool = False,
) -> dict[str, FileEntry]:
    """Bring these files into blobs; each one's entry by its path. `tier` is who serves them.

    Partly: one that cannot be had is a note, and the others still come.
    """
    if _is_much(files, limits.beside):
        from coldstart_sdk.storage import beside  # noqa: PLC0415 - only where there is much to read

        try:
            with beside.held() as reader:
                return reader.fetch(
                    files,
                    home=home,
                    limits=limits,
                    report=report,
                    cancelled=cancelled,
                    tier=tier,
                    partly=partly,
                )
        except beside.GoneError as gone:
            report.noted(f"{gone}; its work goes on in this one")
    from coldstart_sdk.storage import streams  # noqa: PLC0415 - beside us where there is much to read

    return streams.read(
        files, home=home, limits=limits, report=report, cancelled=cancelled, tier=tier, partly=partly
    )


@contextmanager
def foreseen(size_bytes: int | None, *, alone: bool) -> Iterator[None]:
    """Have the process at hand for a transfer of that size: it starts while somebody asks what there is.

    None: nobody knows yet. One that was not needed after all is gone at once.
    """
    choice = Limits.from_environment(alone=alone).beside
    with ExitStack() as stack:
        if choice is not Beside.NEVER and (size_bytes is None or size_bytes >= BESIDE_BYTES):
            from coldstart_sdk.storage import beside  # noqa: PLC0415 - only where there is much to read

            with suppress(beside.GoneError):
                stack.enter_context(beside.held())
        yield


def _is_much(files: Sequence[RemoteFile], choice: Beside) -> bool:
    if choice is not Beside.AUTO:
        return choice is Beside.ALWAYS and bool(files)
    return sum(BESIDE_BYTES if file.size_bytes is None else file.size_bytes for file in files) >= BESIDE_BYTES
