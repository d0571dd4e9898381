"""What a store can do with the credentials that are here: tried out, never assumed.

Everything that is written lies below our own folder, under a name of its own. Also here: the least that a
reader or a writer must be allowed, as a policy to paste.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, suppress
from typing import Any

from coldstart_sdk.cli.findings import Finding, ok, problem, warn
from coldstart_sdk.errors import StorageError
from coldstart_sdk.storage import stores
from coldstart_sdk.storage.http import Channel, Network
from coldstart_sdk.storage.retry import Patience
from coldstart_sdk.storage.s3.client import Client, ConflictError, GoneError
from coldstart_sdk.storage.s3.credentials import Access, access
from coldstart_sdk.storage.stores.s3 import split
from coldstart_sdk.storage.transient import TransientError

ROLES = ("reader", "writer")
_CONTENT = b"coldstart doctor was here\n"
_RETRIES = 2
_REFUSED = (StorageError, TransientError, GoneError)


def s3(address: str) -> Iterator[Finding]:
    """One finding for each thing that is tried, in the order in which a start and an upload need them."""
    try:
        bucket, prefix = split(address)
        reach = access(address)
        patience = Patience(requests=0, stopped=threading.Event(), free=_RETRIES)
        client = Client(reach, bucket, patience=patience, stall_s=15)
    except StorageError as error:
        yield problem("s3", error.message, fix=error.fix)
        return
    yield from _known(reach)
    with closing(client):
        yield from _Probe(client, prefix).all()


def policy(address: str, role: str) -> Mapping[str, Any]:
    """The least that a worker needs, in the words of AWS; a worker never deletes."""
    bucket, prefix = split(address)
    below = f"{prefix}/" if prefix else ""
    objects = ["s3:GetObject"]
    if role == "writer":
        objects += ["s3:PutObject", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts"]
    written = f"arn:aws:s3:::{bucket}/{below}{stores.FOLDER}/*"
    statements: list[dict[str, Any]] = [
        {
            "Sid": "List",
            "Effect": "Allow",
            "Action": ["s3:ListBucket"],
            "Resource": [f"arn:aws:s3:::{bucket}"],
            "Condition": {"StringLike": {"s3:prefix": [f"{below}*"]}},
        },
        {
            "Sid": "Read",
            "Effect": "Allow",
            "Action": ["s3:GetObject"],
            "Resource": [f"arn:aws:s3:::{bucket}/{below}*"],
        },
    ]
    if role == "writer":
        statements.append({"Sid": "Write", "Effect": "Allow", "Action": objects[1:], "Resource": [written]})
    return {"Version": "2012-10-17", "Statement": statements}


def _known(reach: Access) -> Iterator[Finding]:
    yield ok("credentials", f"from {reach.credentials.came_from}")
    title = f"{reach.profile.title}, region {reach.region}, at {reach.endpoint}"
    if reach.profile.note:
        yield ok("profile", f"{title}. {reach.profile.note}")
    else:
        yield ok("profile", title)


class _Probe:
    """One bucket, tried out."""

    def __init__(self, client: Client, prefix: str) -> None:
        self._client = client
        self._prefix = f"{prefix}/" if prefix else ""
        self._key = f"{self._prefix}{stores.FOLDER}/doctor/{os.urandom(8).hex()}"

    def all(self) -> Iterator[Finding]:
        yield self._tried("list", self._list, needs="starts cannot find what the store has")
        written = self._tried("write", self._write, needs="nothing is uploaded; reading still works")
        yield written
        if written.fix is not None:
            return
        yield self._tried("read", self._read, needs="starts cannot read what the store has")
        yield self._tried("address", self._address, needs="parallel ranges are not possible")
        yield self._tried("parts", self._parts, needs="files over 16 MB are not uploaded")
        yield self._conditional()
        yield self._deletes()

    def _tried(self, about: str, do: Callable[[], str], *, needs: str) -> Finding:
        try:
            return ok(about, do())
        except StorageError as refused:
            return problem(about, f"{refused.message}: {needs}", fix=refused.fix)
        except (TransientError, GoneError, ValueError) as failed:
            return problem(about, f"{failed}: {needs}", fix="Try again, and look at the store's status page.")

    def _list(self) -> str:
        for count, _ in enumerate(self._client.list(self._prefix), 1):
            if count >= 1000:  # noqa: PLR2004 - a page
                break
        return "objects below the prefix are listed"

    def _write(self) -> str:
        self._client.put(self._key, _CONTENT, media_type="text/plain")
        return f"wrote {self._key}"

    def _read(self) -> str:
        if self._client.get(self._key, limit_bytes=1000) != _CONTENT:
            raise ValueError("what was written is not what is read")
        return "what was written is read back"

    def _address(self) -> str:
        network = Network(stall_s=15)
        channel = Channel(network)
        try:
            answer = channel.get(self._client.address(self._key), {"Range": "bytes=0-3"})
            body = answer.body.read(len(_CONTENT))
            if "Content-Range" not in answer.headers or body != _CONTENT[:4]:
                raise ValueError(f"a range was answered with {answer.status}")
        finally:
            channel.drop()
            network.close()
        signed = "signed addresses" if self._client.profile.presigns else "signed requests"
        return f"{signed}, in ranges"

    def _parts(self) -> str:
        upload = self._client.begin(self._key, media_type="text/plain")
        self._client.part(self._key, upload, 1, _CONTENT)
        arrived = self._client.parts(self._key, upload)
        self._client.abort(self._key, upload)
        if set(arrived) != {1}:
            raise ValueError("the parts of an upload are not listed")
        return "large files go up in parts, and can go on after a kill"

    def _conditional(self) -> Finding:
        try:
            self._client.put(self._key, _CONTENT, media_type="text/plain", if_absent=True)
        except ConflictError:
            return ok("conditions", "a conditional write is refused as it should be")
        except _REFUSED as refused:
            said = refused.message if isinstance(refused, StorageError) else str(refused)
            return ok("conditions", f"none ({said}): writers take turns by a lease")
        return ok("conditions", "ignored: writers take turns by a lease")

    def _deletes(self) -> Finding:
        """A worker that may delete can lose everything; least rights leave one small object behind."""
        with suppress(*_REFUSED):
            self._client.delete(self._key)
            return warn(
                "delete",
                "these credentials may delete objects, and no worker needs that",
                fix="Give workers the policy of `coldstart doctor s3://BUCKET/PREFIX --policy writer`.",
            )
        return ok("delete", f"not allowed, as it should be; {self._key} stays")
