"""The verbs of one bucket: get, head, put, delete, list, and the five of a multipart upload.

What fails in passing is asked again, within one budget; what is refused says which permission or setting is
missing. An answer of 200 that holds an error is an error, an ETag is never a digest, and a list that does
not go on is never taken for a whole one.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import unquote_plus

from coldstart_sdk.errors import StorageError
from coldstart_sdk.frozen import dataclass
from coldstart_sdk.storage.http import Address, Answer, Channel, Network
from coldstart_sdk.storage.http1 import Headers, ProtocolError
from coldstart_sdk.storage.retry import Patience, persist, retry_after_s
from coldstart_sdk.storage.s3.credentials import Access
from coldstart_sdk.storage.s3.sign import EMPTY, Signer, encoded, escaped
from coldstart_sdk.storage.transient import TransientError

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

T = TypeVar("T")

SIGNED_FOR_S = 3600
_ANSWER_LIMIT = 32 << 20
_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
_PASSING_CODES = frozenset({"InternalError", "OperationAborted", "RequestTimeout", "SlowDown", "Throttling"})
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,61}[A-Za-z0-9]")
"""Looser than today's rule: old buckets have capitals."""
_NOTHING: Mapping[str, str] = {}


class ConflictError(Exception):
    """A conditional write found that somebody else was first."""


class GoneError(Exception):
    """The unfinished upload that was named does not exist any more."""


@dataclass(frozen=True, kw_only=True)
class Listed:
    """One object of a list."""

    key: str
    size_bytes: int
    etag: str | None
    modified_s: float | None


@dataclass(frozen=True, kw_only=True)
class _Reply:
    status: int
    headers: Headers
    body: bytes
    code: str
    """What an error calls itself; empty where there is none."""


class Client:
    """One bucket, as one pair of credentials sees it. Threads may share it."""

    def __init__(self, access: Access, bucket: str, *, patience: Patience, stall_s: float = 60.0) -> None:
        self.bucket = _checked(bucket)
        self.profile = access.profile
        self._access = access
        self._patience = patience
        self._signer = Signer(credentials=access.credentials, region=access.region)
        self._network = Network(stall_s=stall_s)
        self._idle: list[Channel] = []
        """Connections that nobody uses; a list's ends are safe to share."""
        self._base, self._host, self._root = _addressing(access, bucket)

    @property
    def where(self) -> str:
        return f"s3://{self.bucket}"

    @property
    def base(self) -> str:
        """Scheme and host of the store, the same on every machine."""
        return self._base

    def close(self) -> None:
        """Let go of the connections; the next request opens one again."""
        while self._idle:
            self._idle.pop().drop()

    # ---- objects

    def get(self, key: str, *, limit_bytes: int) -> bytes | None:
        """A small object, or None where there is none; more bytes than the limit are an error."""
        reply = self._persist(lambda: self._call("GET", key, limit_bytes=limit_bytes))
        if reply.status == 404:  # noqa: PLR2004 - not found
            return None
        self._expect(reply, "s3:GetObject", key)
        return reply.body

    def head(self, key: str) -> Listed | None:
        reply = self._persist(lambda: self._call("HEAD", key))
        if reply.status == 404:  # noqa: PLR2004 - not found
            return None
        self._expect(reply, "s3:GetObject", key)
        return Listed(
            key=key,
            size_bytes=int(reply.headers.get("Content-Length", "0")),
            etag=reply.headers.get("ETag"),
            modified_s=_time(reply.headers.get("Last-Modified")),
        )

    def blocks(self, key: str, *, block_bytes: int) -> Iterator[bytes]:
        """The object's bytes from first to last; ends early only by an error."""
        with self._channel() as channel:
            answer = self._send(channel, "GET", key, {}, {}, b"")
            if answer.status != 200:  # noqa: PLR2004 - the whole object
                self._expect(_read(answer, self.where, limit_bytes=_ANSWER_LIMIT), "s3:GetObject", key)
            left = int(answer.headers.get("Content-Length", "-1"))
            buffer = memoryview(bytearray(block_bytes))
            while left and (count := answer.read_into(buffer)):
                left -= count
                yield bytes(buffer[:count])
            if left > 0:
                raise TransientError("the answer ended early")

    def put(self, key: str, content: bytes, *, media_type: str, if_absent: bool = False) -> None:
        """Write the object whole. With `if_absent` ConflictError says that there is one already."""
        headers = {"content-type": media_type}
        if if_absent:
            headers["if-none-match"] = "*"
        reply = self._persist(lambda: self._call("PUT", key, headers=headers, body=content))
        # 304 is what some releases of MinIO say to a refused write.
        if if_absent and (reply.status in {304, 409, 412}):
            raise ConflictError(key)
        self._expect(reply, "s3:PutObject", key)

    def delete(self, key: str) -> None:
        reply = self._persist(lambda: self._call("DELETE", key))
        if reply.status != 404:  # noqa: PLR2004 - gone already
            self._expect(reply, "s3:DeleteObject", key)

    def list(self, prefix: str) -> Iterator[Listed]:
        """Every object whose key begins so, page by page; the same page twice is a list cut short."""
        token: str | None = None
        while True:
            query = {"list-type": "2", "prefix": prefix, "encoding-type": "url"}
            if token:
                query["continuation-token"] = token
            page = self._xml("GET", None, query, needs="s3:ListBucket")
            if page.tag != "ListBucketResult":
                raise self._not_s3(f"a list was asked for, and {page.tag[:40]!r} came")
            decode = unquote_plus if page.findtext("EncodingType") == "url" else str
            for item in page.iter("Contents"):
                yield Listed(
                    key=decode(item.findtext("Key", "")),
                    size_bytes=self._size(item.findtext("Size", "")),
                    etag=_quoted(item.findtext("ETag")),
                    modified_s=_iso_time(item.findtext("LastModified")),
                )
            if page.findtext("IsTruncated") != "true":
                return
            following = page.findtext("NextContinuationToken")
            if not following or following == token:
                raise StorageError(
                    "the store cut its listing short and does not say how it goes on",
                    where=self.where,
                    fix="Try again in a minute; some stores do this while they index a new folder.",
                )
            token = following

    def address(self, key: str) -> Address:
        """Where anybody who holds it can GET the object for an hour."""
        path = f"{self._root}/{escaped(key)}"
        if self.profile.presigns:
            query = self._signer.query(self._host, path, expires_s=SIGNED_FOR_S)
            return Address(url=f"{self._base}{path}?{query}")
        headers = self._signer.headers("GET", self._host, path, query={}, headers={}, body_sha256=EMPTY)
        return Address(url=f"{self._base}{path}", headers=headers)

    # ---- multipart uploads

    def begin(self, key: str, *, media_type: str) -> str:
        headers = {"content-type": media_type}
        told = self._xml("POST", key, {"uploads": ""}, headers=headers, needs="s3:PutObject")
        return told.findtext("UploadId", "")

    def part(self, key: str, upload: str, number: int, content: bytes) -> str:
        """Send one part; its ETag."""
        query = {"partNumber": str(number), "uploadId": upload}
        reply = self._persist(lambda: self._call("PUT", key, query=query, body=content))
        if reply.code == "NoSuchUpload" or reply.status == 404:  # noqa: PLR2004 - not found
            raise GoneError(upload)
        self._expect(reply, "s3:PutObject", key)
        return reply.headers.get("ETag", "")

    def parts(self, key: str, upload: str) -> dict[int, tuple[int, str]]:
        """What has arrived of an unfinished upload: number → (size, ETag)."""
        found: dict[int, tuple[int, str]] = {}
        query = {"uploadId": upload}
        while True:
            page = self._xml("GET", key, query, needs="s3:ListMultipartUploadParts", gone=upload)
            for item in page.iter("Part"):
                number = int(item.findtext("PartNumber", "0"))
                found[number] = int(item.findtext("Size", "0")), item.findtext("ETag", "")
            following = page.findtext("NextPartNumberMarker", "0")
            if page.findtext("IsTruncated") != "true" or following == query.get("part-number-marker"):
                return found
            query = {**query, "part-number-marker": following}

    def complete(self, key: str, upload: str, etags: Sequence[str]) -> None:
        listed = "".join(
            f"<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>"
            for number, etag in enumerate(etags, 1)
        )
        body = f"<CompleteMultipartUpload>{listed}</CompleteMultipartUpload>".encode()
        self._xml("POST", key, {"uploadId": upload}, body=body, needs="s3:PutObject", gone=upload)

    def abort(self, key: str, upload: str) -> None:
        query = {"uploadId": upload}
        reply = self._persist(lambda: self._call("DELETE", key, query=query))
        if reply.status != 404:  # noqa: PLR2004 - gone already
            self._expect(reply, "s3:AbortMultipartUpload", key)

    def uploads(self, prefix: str) -> Iterator[tuple[str, str, float | None]]:
        """Unfinished uploads of keys that begin so: key, id, and when each was begun."""
        page = self._xml(
            "GET", None, {"uploads": "", "prefix": prefix}, needs="s3:ListBucketMultipartUploads"
        )
        for item in page.iter("Upload"):
            yield (
                item.findtext("Key", ""),
                item.findtext("UploadId", ""),
                _iso_time(item.findtext("Initiated")),
            )

    # ---- requests and answers

    def _xml(  # noqa: PLR0913 - the parts of a request, and who may make it
        self,
        method: str,
        key: str | None,
        query: Mapping[str, str],
        *,
        needs: str,
        headers: Mapping[str, str] = _NOTHING,
        body: bytes = b"",
        gone: str | None = None,
    ) -> Element:
        def ask() -> Element:
            reply = self._call(method, key, query=query, headers=headers, body=body)
            if gone is not None and (reply.code == "NoSuchUpload" or reply.status == 404):  # noqa: PLR2004 - not found
                raise GoneError(gone)
            self._expect(reply, needs, key or "")
            if (parsed := _parsed(reply.body)) is None:
                raise TransientError("the store's answer is not XML")
            return parsed

        return self._persist(ask)

    def _size(self, text: str) -> int:
        if not text.isascii() or not text.isdigit():
            raise self._not_s3(f"a size in its list is {text[:40]!r}")
        return int(text)

    def _not_s3(self, why: str) -> StorageError:
        return StorageError(
            f"what answers there is not S3: {why}",
            where=self.where,
            fix="Check AWS_ENDPOINT_URL, and whether a proxy or a login page stands before it.",
        )

    def _persist(self, call: Callable[[], T]) -> T:
        try:
            return persist(call, self._patience)
        except TransientError as failed:
            # Which request it was says more than that one failed.
            raise TransientError(f"{self.where}: {failed}", retry_after_s=failed.retry_after_s) from failed

    def _call(  # noqa: PLR0913 - the parts of a request
        self,
        method: str,
        key: str | None,
        *,
        query: Mapping[str, str] = _NOTHING,
        headers: Mapping[str, str] = _NOTHING,
        body: bytes = b"",
        limit_bytes: int = _ANSWER_LIMIT,
    ) -> _Reply:
        for mended in (False, True):
            with self._channel() as channel:
                answer = self._send(channel, method, key, query, headers, body)
                reply = _read(answer, self.where, limit_bytes=limit_bytes)
            if mended or not self._mend(reply):
                return reply
        raise AssertionError("the second answer is returned, whatever it is")

    def _send(  # noqa: PLR0913, PLR0917 - a connection, and the parts of a request
        self,
        channel: Channel,
        method: str,
        key: str | None,
        query: Mapping[str, str],
        headers: Mapping[str, str],
        body: bytes,
    ) -> Answer:
        path = self._root + (f"/{escaped(key)}" if key is not None else "" if self._root else "/")
        digest = hashlib.sha256(body).hexdigest() if body else EMPTY
        signed = self._signer.headers(
            method, self._host, path, query=query, headers=headers, body_sha256=digest
        )
        url = f"{self._base}{path}" + (f"?{encoded(query)}" if query else "")
        sent = body if method in {"PUT", "POST"} else None
        return channel.ask(method, Address(url=url, headers=signed), {}, sent)

    @contextmanager
    def _channel(self) -> Iterator[Channel]:
        """A connection for one request; after a failure nothing on it can be trusted."""
        try:
            channel = self._idle.pop()
        except IndexError:
            channel = Channel(self._network)
        try:
            yield channel
        except BaseException:
            channel.drop()
            raise
        self._idle.append(channel)

    def _mend(self, reply: _Reply) -> bool:
        """Whether the same request can do better now: in another region, or with the store's time."""
        region = reply.headers.get("x-amz-bucket-region") or _told(reply.body, "Region")
        if reply.status in {301, 307, 400, 403} and region and region != self._signer.region:
            if "amazonaws" not in self._base and reply.code != "AuthorizationHeaderMalformed":
                return False
            self._signer = replace(self._signer, region=region)
            self._access = replace(
                self._access,
                region=region,
                endpoint=re.sub(
                    r"s3[.-][a-z0-9-]+\.amazonaws", f"s3.{region}.amazonaws", self._access.endpoint
                ),
            )
            self._base, self._host, self._root = _addressing(self._access, self.bucket)
            return True
        if reply.code != "RequestTimeTooSkewed" or (there_s := _time(reply.headers.get("Date"))) is None:
            return False
        self._signer = replace(self._signer, skew_s=there_s - time.time())
        return True

    def _expect(self, reply: _Reply, needs: str, key: str) -> None:
        if reply.status < 300 and not reply.code:  # noqa: PLR2004 - it was done
            return
        raise StorageError(
            f"the store answered {reply.status} {reply.code}".rstrip(),
            where=f"{self.where}/{key}",
            fix=self._advice(reply, needs),
        )

    def _advice(self, reply: _Reply, needs: str) -> str:
        found_in = self._access.credentials.came_from
        region = reply.headers.get("x-amz-bucket-region") or _told(reply.body, "Region")
        # Without s3:ListBucket a store does not tell a missing object from a forbidden one.
        denied = f"Allow {needs}, and s3:ListBucket on the bucket: without it a missing object is a 403."
        elsewhere = f"Set AWS_REGION to the bucket's region{f', {region}' if region else ''}."
        absent = "Check the bucket's name, and AWS_ENDPOINT_URL if it is not on AWS."
        wrong_id = f"Check the key id ({found_in}), and that it belongs to this store."
        fixes = {
            "NoSuchBucket": absent,
            "404": absent,
            "AccessDenied": denied,
            "403": denied,
            "InvalidAccessKeyId": wrong_id,
            "Unauthorized": wrong_id,
            "SignatureDoesNotMatch": f"Check the secret key ({found_in}) for a letter too many or too few.",
            "ExpiredToken": "Renew the temporary credentials.",
            "RequestTimeTooSkewed": "Set this machine's clock.",
            "PermanentRedirect": elsewhere,
            "AuthorizationHeaderMalformed": elsewhere,
            "301": elsewhere,
            "307": elsewhere,
        }
        return fixes.get(
            reply.code or str(reply.status),
            "Check the bucket, the region and the credentials: coldstart doctor s3",
        )


def _read(answer: Answer, where: str, *, limit_bytes: int) -> _Reply:
    if answer.status >= 300:  # noqa: PLR2004 - an error has a length of its own
        limit_bytes = _ANSWER_LIMIT
    try:
        body = answer.body.read(limit_bytes + 1)
    except (OSError, ProtocolError) as broken:
        raise TransientError(f"the connection broke: {type(broken).__name__}") from broken
    if len(body) > limit_bytes:
        raise StorageError(
            f"the answer is larger than {limit_bytes} bytes", where=where, fix="Check what lies there."
        )
    # A length that is left where nothing more came is a body that was cut.
    if answer.body.length and answer.headers.get("Content-Length") and answer.status < 300:  # noqa: PLR2004 - as above
        raise TransientError("the answer ended early")
    code = _error_code(body, answer)
    if answer.status in _PASSING or code in _PASSING_CODES:
        asked = retry_after_s(answer.headers.get("Retry-After"))
        raise TransientError(f"the store answered {answer.status} {code}".rstrip(), retry_after_s=asked)
    return _Reply(status=answer.status, headers=answer.headers, body=body, code=code)


def _checked(bucket: str) -> str:
    if not _BUCKET.fullmatch(bucket):
        raise StorageError(
            f"{bucket!r} is not a bucket's name",
            fix="A bucket's name has 3 to 63 small letters, digits, dots and hyphens.",
            where=f"s3://{bucket}",
        )
    return bucket


def _addressing(access: Access, bucket: str) -> tuple[str, str, str]:
    """Scheme and host, the host to sign, and the path that leads to the bucket."""
    scheme, _, host = access.endpoint.partition("://")
    if access.profile.in_host and host.partition(":")[0].endswith("amazonaws.com") and "." not in bucket:
        host = f"{bucket}.{host}"
        return f"{scheme}://{host}", host, ""
    return access.endpoint, host, f"/{escaped(bucket)}"


def _parsed(body: bytes) -> Element | None:
    from xml.etree import ElementTree as ET  # noqa: PLC0415 - a read of one object has no use for it

    text = re.sub(rb'\sxmlns="[^"]*"', b"", body, count=1)
    with suppress(ET.ParseError, ValueError):
        return ET.fromstring(text)  # noqa: S314 - bounded in size, and expat bounds expansion
    return None


def _error_code(body: bytes, answer: Answer) -> str:
    """The code of an error, which may come with 200 after a long silence."""
    if b"<Error>" not in body[:512] and answer.status < 300:  # noqa: PLR2004 - it was done
        return ""
    return _told(body, "Code")


def _told(body: bytes, name: str) -> str:
    found = re.search(rf"<{name}>([A-Za-z0-9._-]{{1,100}})</{name}>".encode(), body[:4096])
    return found[1].decode() if found else ""


def _quoted(etag: str | None) -> str | None:
    """As it stands in a header: some servers list it without its quotes."""
    return f'"{etag}"' if etag and not etag.endswith('"') else etag or None


def _time(header: str | None) -> float | None:
    from email.utils import parsedate_to_datetime  # noqa: PLC0415 - it brings much of mail along

    with suppress(TypeError, ValueError):
        return parsedate_to_datetime(header or "").timestamp()
    return None


def _iso_time(text: str | None) -> float | None:
    from datetime import datetime  # noqa: PLC0415 - only a list has such times

    with suppress(TypeError, ValueError):
        return datetime.fromisoformat((text or "").replace("Z", "+00:00")).timestamp()
    return None
