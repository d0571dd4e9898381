"""What may go well the next time."""

from __future__ import annotations


class TransientError(Exception):
    """Why one attempt failed where another may not; safe to show."""

    def __init__(self, message: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s
