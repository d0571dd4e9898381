"""Where one file is asked for, and what an answer must be to count.

All streams that read the file share it: the address that a redirect led to, and the ETag that the first
answer gave. Each range must be answered by exactly that range of the very same object.
"""

from __future__ import annotations

import re
import threading
from contextlib import suppress

from coldstart_sdk.errors import StorageError
from coldstart_sdk.storage.http import Address, Answer, Channel
from coldstart_sdk.storage.remote import ChangedError, FileError, RemoteFile
from coldstart_sdk.storage.retry import retry_after_s
from coldstart_sdk.storage.transient import TransientError

_WHOLE, _PART = 200, 206
_PASSING = frozenset({408, 421, 425, 429, 500, 502, 503, 504, 509})
_DENIED = frozenset({401, 403})
_GONE = frozenset({404, 410})
_OTHER = frozenset({412, 416})
"""What is there is not what was listed."""
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")
_RENEWALS = 3


class Source:
    """One file at whoever serves it."""

    def __init__(self, remote: RemoteFile) -> None:
        self.remote = remote
        self._etag = remote.etag
        self._address: Address | None = None
        self._renewals = 0
        self._changed = threading.Lock()
        self._finding = threading.Lock()
        """Held by the stream that finds out where the address leads."""

    @property
    def where(self) -> str:
        with suppress(StorageError):
            return (self._address or self.remote.locate()).shown
        return self.remote.path

    def ask(self, channel: Channel, span: tuple[int, int] | None) -> Answer:
        """The bytes from the first number up to the second; with none the whole file."""
        if self._address is None and self.remote.redirects:
            with self._finding:
                return self._ask(channel, span)
        return self._ask(channel, span)

    def _ask(self, channel: Channel, span: tuple[int, int] | None) -> Answer:
        with self._changed:
            address = self._address or self.remote.locate()
            etag = self._etag
        answer = channel.get(address, _conditions(etag, span))
        self._refuse_status(answer, address, _WHOLE if span is None else _PART)
        if answer.headers.get("Content-Encoding", "identity") != "identity":
            raise TransientError("the answer is encoded, though plain bytes were asked for")
        if span is not None:
            self._refuse_other_range(answer, span)
        with self._changed:
            if self._etag is None:
                self._etag = answer.etag
            elif answer.etag != self._etag:
                raise ChangedError(self.remote.path)
            # What a redirect led to serves the other ranges too, until it expires.
            self._address = answer.address
        return answer

    def _refuse_status(self, answer: Answer, address: Address, wanted: int) -> None:
        status = answer.status
        # Some S3 servers, rclone's among them, send the right range under 200; the range itself is checked.
        if status == wanted or (status == _WHOLE and "Content-Range" in answer.headers):
            return
        if status in _PASSING:
            asked = retry_after_s(answer.headers.get("Retry-After"))
            raise TransientError(f"the origin answered {status}", retry_after_s=asked)
        if status == _WHOLE:
            raise TransientError("the origin sent the whole file where a range was asked for")
        if status in _OTHER:
            raise ChangedError(self.remote.path)
        if status in _DENIED and self._renew(address):
            raise TransientError(f"the origin answered {status}")
        raise self._refused(status, address)

    def _refused(self, status: int, address: Address) -> StorageError:
        path = repr(self.remote.path)
        if status in _DENIED:
            return StorageError(
                f"the origin refuses {path} ({status})", where=address.shown, fix=self.remote.fix_denied
            )
        if status in _GONE:
            return FileError(
                f"the origin answered {status} for {path}",
                where=address.shown,
                fix="Check the address; the file may have been moved or removed.",
            )
        return StorageError(
            f"the origin answered {status} for {path}",
            where=address.shown,
            fix="Check the address, and whether the origin is well.",
        )

    def _renew(self, refused: Address) -> bool:
        """Drop an address that has worked, or was signed: it may have expired."""
        with self._changed:
            if self._address is None or self._renewals >= _RENEWALS:
                return False
            if self._address == refused:
                self._renewals += 1
                self._address = None
            return True

    def _refuse_other_range(self, answer: Answer, span: tuple[int, int]) -> None:
        told = _CONTENT_RANGE.fullmatch(answer.headers.get("Content-Range", ""))
        if told is None or (int(told[1]), int(told[2])) != (span[0], span[1] - 1):
            raise TransientError("the origin sent another range than was asked for")
        if int(told[3]) != self.remote.size_bytes:
            raise ChangedError(self.remote.path)


def _conditions(etag: str | None, span: tuple[int, int] | None) -> dict[str, str]:
    conditions = {}
    if span is not None:
        conditions["Range"] = f"bytes={span[0]}-{span[1] - 1}"
    if etag is not None and etag.startswith('"'):  # weak ones, and dates, are compared on our side
        conditions["If-Match"] = etag
    return conditions
