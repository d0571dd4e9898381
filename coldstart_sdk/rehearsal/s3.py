"""An object store on loopback over a directory of `bucket/key`, in the dialect of a chosen store.

Imitates what S3 clients ask for weights: objects whole and in ranges, lists in pages, multipart uploads,
conditional writes, errors as XML (https://docs.aws.amazon.com/AmazonS3/latest/API/), and where stores differ:

    b2      501 to conditional writes, 400 to checksum headers
    r2      400 to parts of unequal size, 401 to checksum trailers
    runpod  no signed addresses, no lists of unfinished uploads
    minio   304 to a refused conditional write, as one of its releases said

Signatures are not computed: rclone's server and moto do that. Who asks is told by the key id, and what it
may do by `allow`. Faults of reads are the files'; `PUT key`, `POST key`, `DELETE key` and `LIST prefix` are
the paths of the others: `Refuse` refuses, and `Cut` does what was asked and loses the answer.
"""

from __future__ import annotations

import hashlib
import re
import threading
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, quote, unquote, urlsplit
from xml.sax.saxutils import escape

from coldstart_sdk.rehearsal.faults import Cut, Fault, Refuse
from coldstart_sdk.rehearsal.link import Link
from coldstart_sdk.rehearsal.origin import LOOPBACK
from coldstart_sdk.rehearsal.serving import Handler, Request, Server

if TYPE_CHECKING:
    from typing_extensions import Self

DIALECTS = ("aws", "b2", "r2", "minio", "runpod")
READER = frozenset({"s3:GetObject", "s3:ListBucket"})
WRITER = READER | {"s3:PutObject", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts"}
OWNER = WRITER | {"s3:DeleteObject", "s3:ListBucketMultipartUploads"}
_PAGE = 1000


@dataclass(kw_only=True)
class _Upload:
    key: str
    begun: str
    parts: dict[int, bytes] = field(default_factory=dict)


class S3:
    """A context manager; point `AWS_ENDPOINT_URL` at `endpoint`. Buckets are made by their first key."""

    def __init__(  # noqa: PLR0913 - each an independent choice with a default
        self,
        directory: str | Path,
        *,
        dialect: str = "aws",
        allow: Iterable[str] = OWNER,
        key_id: str | None = None,
        page: int = _PAGE,
        rate_bytes_s: float | None = None,
        latency_s: float = 0.0,
        faults: Iterable[Fault] = (),
    ) -> None:
        if dialect not in DIALECTS:
            raise ValueError(f"there is no dialect {dialect!r}: choose one of {', '.join(DIALECTS)}")
        self.directory = Path(directory).resolve()
        self.dialect = dialect
        self.allow = frozenset(allow)
        """What the holder of the credentials may do, as policies spell it."""
        self.key_id = key_id
        """The one that is known; None: any."""
        self.page = page
        """How many keys a page of a list holds."""
        self.uploads: dict[str, _Upload] = {}
        self._etags: dict[tuple[Path, int, int], str] = {}
        """By file, time of change and size: a range must not cost a look at the whole."""
        self._lock = threading.Lock()
        self._link = Link(rate_bytes_s=rate_bytes_s, latency_s=latency_s)
        self._faults = tuple(faults)
        self._server: _S3Server | None = None

    def __enter__(self) -> Self:
        self._server = _S3Server(self, self._link)
        self._server.script.add(self._faults)
        self._server.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, raised: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._running.close()

    @property
    def endpoint(self) -> str:
        return self._running.address

    @property
    def requests(self) -> tuple[Request, ...]:
        return self._running.requests

    def forget(self) -> None:
        self._running.forget()

    def fail(self, *faults: Fault) -> None:
        self._running.script.add(faults)

    def mend(self) -> None:
        self._running.script.clear()

    def file(self, bucket: str, key: str) -> Path:
        return self.directory / bucket / _file_name(key)

    def etag(self, file: Path) -> str:
        state = file.stat()
        seen = (file, state.st_mtime_ns, state.st_size)
        if seen not in self._etags:
            self._etags[seen] = _etag(file.read_bytes())
        return self._etags[seen]

    def write(self, bucket: str, key: str, content: bytes) -> str:
        """Put an object in its place at one instant; its ETag."""
        file = self.file(bucket, key)
        with self._lock:
            file.parent.mkdir(parents=True, exist_ok=True)
            aside = self.directory / f".{uuid.uuid4().hex}"
            aside.write_bytes(content)
            aside.replace(file)
        return _etag(content)

    def keys(self, bucket: str) -> list[str]:
        root = self.directory / bucket
        return sorted(_key_of(file.name) for file in root.iterdir()) if root.is_dir() else []

    @property
    def _running(self) -> _S3Server:
        if self._server is None:
            raise RuntimeError("the store runs only inside its `with` block")
        return self._server


class _S3Server(Server):
    def __init__(self, room: S3, link: Link) -> None:
        super().__init__(LOOPBACK, _S3Handler, link=link)
        self.room = room


class _RefusedError(Exception):
    """An error in the words of S3."""

    def __init__(self, status: int, code: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(code)
        self.status = status
        self.code = code
        self.headers = headers or {}


class _S3Handler(Handler):
    def do_PUT(self) -> None:  # noqa: N802 - named by the standard library
        self._handle()

    def do_DELETE(self) -> None:  # noqa: N802 - as above
        self._handle()

    @property
    def room(self) -> S3:
        server = self.server
        if not isinstance(server, _S3Server):  # pragma: no cover - only ever built with one
            raise TypeError("an S3 handler needs an S3 server")
        return server.room

    @property
    def bucket(self) -> str:
        return self.name.partition("/")[0]

    @property
    def key(self) -> str:
        return self.name.partition("/")[2]

    @property
    def query(self) -> dict[str, str]:
        return dict(parse_qsl(urlsplit(self.path).query, keep_blank_values=True))

    def answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        try:
            self._admit()
            self._dispatch(body)
        except _RefusedError as refused:
            self._refuse(refused)

    def _dispatch(self, body: bytes) -> None:  # noqa: C901 - one line for each verb
        query = self.query
        match self.command, bool(self.key):
            case "GET", False if "uploads" in query:
                self._may("s3:ListBucketMultipartUploads")
                self._list_uploads()
            case "GET", False:
                self._may("s3:ListBucket")
                self._list()
            case "GET", True if "uploadId" in query:
                self._may("s3:ListMultipartUploadParts")
                self._list_parts()
            case (("GET" | "HEAD"), True):
                self._may("s3:GetObject")
                self._get()
            case "PUT", True if "uploadId" in query:
                self._may("s3:PutObject")
                self._struck(lambda: self._put_part(body))
            case "PUT", True:
                self._may("s3:PutObject")
                self._struck(lambda: self._put(body))
            case "POST", True if "uploads" in query:
                self._may("s3:PutObject")
                self._struck(self._begin)
            case "POST", True:
                self._may("s3:PutObject")
                self._struck(lambda: self._complete(body))
            case "DELETE", True if "uploadId" in query:
                self._may("s3:AbortMultipartUpload")
                self._struck(self._abort)
            case "DELETE", True:
                self._may("s3:DeleteObject")
                self._struck(self._delete)
            case _:
                raise _RefusedError(405, "MethodNotAllowed")

    # ---- who may, and what goes wrong

    def _admit(self) -> None:
        query, headers = self.query, self.headers
        signed = query.get("X-Amz-Credential")
        told = headers.get("Authorization", "")
        if signed is not None and self.room.dialect == "runpod":
            raise _RefusedError(403, "AccessDenied")
        known = re.search(r"Credential=([^/]+)/", told)
        key_id = signed.partition("/")[0] if signed else known[1] if known else None
        if key_id is None:
            raise _RefusedError(403, "AccessDenied")
        if self.room.key_id is not None and key_id != self.room.key_id:
            raise _RefusedError(403, "InvalidAccessKeyId")
        names = {name.lower() for name in headers}
        if self.room.dialect == "b2" and any(name.startswith("x-amz-checksum-") for name in names):
            raise _RefusedError(400, "InvalidArgument")
        if self.room.dialect == "r2" and "x-amz-trailer" in names:
            raise _RefusedError(401, "Unauthorized")

    def _may(self, action: str) -> None:
        if action not in self.room.allow:
            raise _RefusedError(403, "AccessDenied")

    def _struck(self, do: Callable[[], None]) -> None:
        """Do it, unless a fault is due: then refuse, or do it and lose the answer."""
        path = f"{self.command} {self.key}"
        fault = self.server.script.strike(path, 0, 1, ranged=False)
        if isinstance(fault, Refuse):
            again = {"Retry-After": fault.retry_after} if fault.retry_after is not None else {}
            raise _RefusedError(fault.status, "SlowDown" if fault.status == 503 else "Refused", again)  # noqa: PLR2004 - S3's word for it
        if isinstance(fault, Cut):
            self.wfile = _Nowhere()  # type: ignore[assignment] # what is written to it is the lost answer
            self.close_connection = True
        do()

    def _refuse(self, refused: _RefusedError) -> None:
        if self.command == "HEAD":
            self.send_nothing(refused.status, refused.headers)
            return
        body = f"<?xml version='1.0'?><Error><Code>{refused.code}</Code><Message>no</Message></Error>"
        self.send_bytes(
            body.encode(),
            status=refused.status,
            headers={"Content-Type": "application/xml", **refused.headers},
        )

    # ---- objects

    def _get(self) -> None:
        file = self.room.file(self.bucket, self.key)
        if not file.is_file():
            # Who may not list is not told what is missing.
            if "s3:ListBucket" not in self.room.allow:
                raise _RefusedError(403, "AccessDenied")
            raise _RefusedError(404, "NoSuchKey")
        modified = self.date_time_string(int(file.stat().st_mtime))
        self.send_file(file, self.room.etag(file), {"Last-Modified": modified})

    def _put(self, body: bytes) -> None:
        if self.headers.get("If-None-Match") == "*":
            if self.room.dialect in {"b2", "runpod"}:
                raise _RefusedError(501, "NotImplemented")
            if self.room.file(self.bucket, self.key).exists():
                raise _RefusedError(304 if self.room.dialect == "minio" else 412, "PreconditionFailed")
        self.send_nothing(200, {"ETag": self.room.write(self.bucket, self.key, body)})

    def _delete(self) -> None:
        self.room.file(self.bucket, self.key).unlink(missing_ok=True)
        self.send_nothing(204)

    def _list(self) -> None:
        query = self.query
        prefix = query.get("prefix", "")
        fault = self.server.script.strike(f"LIST {prefix}", 0, 1, ranged=False)
        if isinstance(fault, Refuse):
            raise _RefusedError(fault.status, "SlowDown")
        after = query.get("continuation-token", "")
        keys = [key for key in self.room.keys(self.bucket) if key.startswith(prefix) and key > after]
        page, more = keys[: self.room.page], len(keys) > self.room.page
        items = "".join(self._item(key) for key in page)
        # A list that is cut short names a token that leads nowhere new.
        token = after if isinstance(fault, Cut) else page[-1] if page else ""
        following = f"<NextContinuationToken>{escape(token)}</NextContinuationToken>" if more else ""
        told = (
            f"<Name>{escape(self.bucket)}</Name><Prefix>{quote(prefix)}</Prefix><KeyCount>{len(page)}</KeyCount>"
            f"<MaxKeys>{self.room.page}</MaxKeys><EncodingType>url</EncodingType>"
            f"<IsTruncated>{str(more).lower()}</IsTruncated>{following}{items}"
        )
        self._send_xml("ListBucketResult", told)

    def _item(self, key: str) -> str:
        file = self.room.file(self.bucket, key)
        return (
            f"<Contents><Key>{quote(key)}</Key><Size>{file.stat().st_size}</Size>"
            f"<ETag>{escape(self.room.etag(file))}</ETag>"
            "<LastModified>2026-01-01T00:00:00.000Z</LastModified></Contents>"
        )

    # ---- multipart uploads

    def _begin(self) -> None:
        upload = uuid.uuid4().hex
        self.room.uploads[upload] = _Upload(key=f"{self.bucket}/{self.key}", begun="2026-01-01T00:00:00.000Z")
        self._send_xml("InitiateMultipartUploadResult", f"<UploadId>{upload}</UploadId>")

    def _put_part(self, body: bytes) -> None:
        self._upload().parts[int(self.query["partNumber"])] = body
        self.send_nothing(200, {"ETag": _etag(body)})

    def _complete(self, body: bytes) -> None:
        upload = self._upload()
        numbers = [int(number) for number in re.findall(rb"<PartNumber>(\d+)</PartNumber>", body)]
        etags = [etag.decode().replace("&quot;", '"') for etag in re.findall(rb"<ETag>([^<]+)</ETag>", body)]
        parts = [upload.parts.get(number) for number in numbers]
        whole = [part for part in parts if part is not None]
        sizes = [len(part) for part in whole[:-1]]
        unequal = self.room.dialect == "r2" and len(set(sizes)) > 1
        if len(whole) != len(parts) or [_etag(part) for part in whole] != etags or unequal:
            raise _RefusedError(400, "InvalidPart")
        self.room.write(self.bucket, self.key, b"".join(whole))
        del self.room.uploads[self.query["uploadId"]]
        self._send_xml("CompleteMultipartUploadResult", f"<Key>{escape(self.key)}</Key>")

    def _abort(self) -> None:
        self._upload()
        del self.room.uploads[self.query["uploadId"]]
        self.send_nothing(204)

    def _list_parts(self) -> None:
        parts = sorted(self._upload().parts.items())
        after = int(self.query.get("part-number-marker", "0"))
        rest = [(number, part) for number, part in parts if number > after]
        page, more = rest[: self.room.page], len(rest) > self.room.page
        items = "".join(
            f"<Part><PartNumber>{number}</PartNumber><Size>{len(part)}</Size>"
            f"<ETag>{escape(_etag(part))}</ETag></Part>"
            for number, part in page
        )
        marker = f"<NextPartNumberMarker>{page[-1][0]}</NextPartNumberMarker>" if page else ""
        self._send_xml("ListPartsResult", f"<IsTruncated>{str(more).lower()}</IsTruncated>{marker}{items}")

    def _list_uploads(self) -> None:
        if self.room.dialect == "runpod":
            raise _RefusedError(501, "NotImplemented")
        prefix = f"{self.bucket}/{self.query.get('prefix', '')}"
        items = "".join(
            f"<Upload><Key>{escape(upload.key.partition('/')[2])}</Key><UploadId>{name}</UploadId>"
            f"<Initiated>{upload.begun}</Initiated></Upload>"
            for name, upload in self.room.uploads.items()
            if upload.key.startswith(prefix)
        )
        self._send_xml("ListMultipartUploadsResult", items)

    def _upload(self) -> _Upload:
        found = self.room.uploads.get(self.query["uploadId"])
        if found is None or found.key != f"{self.bucket}/{self.key}":
            raise _RefusedError(404, "NoSuchUpload")
        return found

    def _send_xml(self, name: str, inside: str) -> None:
        body = (
            f'<?xml version="1.0"?><{name} xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{inside}</{name}>'
        )
        self.send_bytes(body.encode(), headers={"Content-Type": "application/xml"})


class _Nowhere:
    """What a lost answer is written to."""

    def write(self, data: bytes) -> int:
        return len(data)

    def flush(self) -> None:
        """Nothing is kept."""

    def close(self) -> None:
        """Nothing was open."""

    @property
    def closed(self) -> bool:
        return False


def _file_name(key: str) -> str:
    """One flat name for each key: a store knows no folders, and `a` may stand beside `a/b`."""
    return "=" + quote(key, safe="")


def _key_of(name: str) -> str:
    return unquote(name[1:])


def _etag(content: bytes) -> str:
    return f'"{hashlib.md5(content, usedforsecurity=False).hexdigest()}"'
