"""The log that hooks write to: from INFO on, plain lines on stderr, unless the user has set up logging.

Only our own logger, `coldstart`, is ever touched. And the end of a worker's log, for whoever it failed.
"""

from __future__ import annotations

import logging
import sys
from collections import deque
from collections.abc import Iterable

OURS = "coldstart"
_LAST_LINES = 40
_FORM = "%(levelname)s %(name)s: %(message)s"


def logger(name: str) -> logging.Logger:
    """The log of the declaration called `name`."""
    ours = logging.getLogger(OURS)
    if not logging.getLogger().handlers:  # who has set up the root has said what is to be seen
        if ours.level == logging.NOTSET:
            ours.setLevel(logging.INFO)
        if not ours.handlers:
            ours.addHandler(_Plain())
    return logging.getLogger(f"{OURS}.{name}")


def show_end(lines: Iterable[str]) -> None:
    """The last of what a worker said, beside its failure."""
    for line in deque(lines, maxlen=_LAST_LINES):
        sys.stderr.write(f"  {line}\n")


class _Plain(logging.Handler):
    """Writes to what stderr is at that moment, without secrets; silent where anybody else writes the same."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(logging.Formatter(_FORM))

    def emit(self, record: logging.LogRecord) -> None:
        if not _is_heard_by_another(record, self):
            from coldstart_sdk.redact import redact  # noqa: PLC0415 - a start that logs nothing needs none

            try:
                sys.stderr.write(f"{redact(self.format(record))}\n")
                sys.stderr.flush()
            except Exception:  # noqa: BLE001 - as every handler: a log line must not fail what it tells of
                self.handleError(record)


def _is_heard_by_another(record: logging.LogRecord, one: logging.Handler) -> bool:
    logger: logging.Logger | None = logging.getLogger(record.name)
    while logger:
        if any(handler is not one for handler in logger.handlers):
            return True
        logger = logger.parent if logger.propagate else None
    return False
