"""How a sync that nobody needs any more ends.

`Cancelled` is no error and has no fix: whoever set the event gets it back, with nothing half done under a
final name. What was fetched and verified so far stays for the next sync.
"""

from __future__ import annotations

import threading


class Cancelled(Exception):  # noqa: N818 - it is not an error, and must not read like one
    """The caller's `cancelled` event was set."""


def stop_if(cancelled: threading.Event) -> None:
    if cancelled.is_set():
        raise Cancelled
