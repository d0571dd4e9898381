"""The error that a caller gets: a stable type, a safe message, and the id under which the log knows more.

What a user's code says in its exceptions never leaves the worker: it may hold paths, prompts or keys.
"""

from __future__ import annotations

import enum
import os
from collections.abc import Mapping
from dataclasses import dataclass

from coldstart_sdk.errors import ColdstartError, LifecycleError
from coldstart_sdk.media import UnreadableError


class Fault(str, enum.Enum):
    """Why a call was not answered; the values are part of the wire."""

    BAD_REQUEST = "bad_request"
    BAD_ARGUMENTS = "bad_arguments"
    UNAUTHORIZED = "unauthorized"
    FORBIDDEN = "forbidden"
    UNKNOWN_ENDPOINT = "unknown_endpoint"
    WRONG_METHOD = "wrong_method"
    TOO_LARGE = "too_large"
    WRONG_TYPE = "wrong_type"
    BUSY = "busy"
    FAILED = "failed"
    CANCELLED = "cancelled"
    NOT_READY = "not_ready"
    TIMEOUT = "timeout"

    @property
    def status(self) -> int:
        """The HTTP status that says the same."""
        return _STATUS[self]


_STATUS: Mapping[Fault, int] = {
    Fault.BAD_REQUEST: 400,
    Fault.BAD_ARGUMENTS: 400,
    Fault.UNAUTHORIZED: 401,
    Fault.FORBIDDEN: 403,
    Fault.UNKNOWN_ENDPOINT: 404,
    Fault.WRONG_METHOD: 405,
    Fault.TOO_LARGE: 413,
    Fault.WRONG_TYPE: 415,
    Fault.BUSY: 429,
    Fault.FAILED: 500,
    Fault.CANCELLED: 503,
    Fault.NOT_READY: 503,
    Fault.TIMEOUT: 504,
}


@dataclass(frozen=True, kw_only=True)
class BadField:
    """One argument that is wrong, and how."""

    field: str
    message: str
    fix: str | None = None
    """What whoever runs the worker may do about it; never sent to a caller."""


class CallError(Exception):
    """A call that cannot be answered, with a message that its caller may read."""

    def __init__(self, fault: Fault, message: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.fault = fault
        self.message = message
        self.retry_after_s = retry_after_s
        self.fields: tuple[BadField, ...] = ()


class BadArguments(CallError):  # noqa: N818 - carries the name of the type that callers see
    """The arguments do not fit the endpoint; every one that is wrong is listed."""

    def __init__(self, problems: tuple[BadField, ...]) -> None:
        said = "; ".join(f"{problem.field}: {problem.message}" for problem in problems)
        super().__init__(Fault.BAD_ARGUMENTS, said)
        self.fields = problems


class ResultError(LifecycleError):
    """An endpoint gave something that cannot cross the wire, or is not what it declared."""


@dataclass(frozen=True, kw_only=True)
class ErrorReply:
    """What is sent instead of a result."""

    fault: Fault
    message: str
    id: str
    fields: tuple[BadField, ...] = ()
    retry_after_s: float | None = None
    where: str | None = None
    """The line of the user's code; with `fix` for whoever runs the worker, never sent to a caller."""
    fix: str | None = None

    def to_data(self) -> dict[str, object]:
        """The body: `{"error": {"type", "message", "id"}}`, and for arguments each one's own message."""
        error: dict[str, object] = {"type": self.fault.value, "message": self.message, "id": self.id}
        if self.fields:
            error["fields"] = [{"field": bad.field, "message": bad.message} for bad in self.fields]
        return {"error": error}

    def to_author(self) -> dict[str, object]:
        """The same for whoever runs the worker at a terminal: with the line and the mends."""
        error: dict[str, object] = {"type": self.fault.value, "message": self.message, "id": self.id}
        if self.fields:
            error["fields"] = [
                _told({"field": b.field, "message": b.message, "fix": b.fix}) for b in self.fields
            ]
        return {"error": _told({**error, "where": self.where, "fix": self.fix})}


def _told(said: Mapping[str, object]) -> dict[str, object]:
    return {name: value for name, value in said.items() if value is not None}


def reply_to(raised: BaseException, endpoint: str) -> ErrorReply:
    """What to tell the caller of an exception; the log keeps the traceback under the same id."""
    match raised:
        case CallError():
            return ErrorReply(
                fault=raised.fault,
                message=raised.message,
                id=new_id(),
                fields=raised.fields,
                retry_after_s=raised.retry_after_s,
            )
        case ResultError():
            return ErrorReply(fault=Fault.FAILED, message=raised.message, id=new_id(), fix=raised.fix)
        case UnreadableError(argument=str() as name):
            return reply_to(BadArguments((BadField(field=name, message=raised.message),)), endpoint)
        case SystemExit():
            return ErrorReply(fault=Fault.FAILED, message=f"{endpoint} called sys.exit", id=new_id())
        case _ if _is_cancelled(raised):
            return ErrorReply(fault=Fault.CANCELLED, message=f"{endpoint} was cancelled", id=new_id())
        case _:
            message = f"{endpoint} raised {type(raised).__name__}"
            fix = f"{raised.message}. {raised.fix}" if isinstance(raised, ColdstartError) else None
            return ErrorReply(fault=Fault.FAILED, message=message, id=new_id(), fix=fix)


def _is_cancelled(raised: BaseException) -> bool:
    """Whether it is asyncio's, told without importing asyncio."""
    return type(raised).__name__ == "CancelledError" and not isinstance(raised, Exception)


def new_id() -> str:
    """Short enough to read out, random enough not to meet another in one log."""
    return os.urandom(6).hex()
