"""One file behind an http or https address."""

from __future__ import annotations

from urllib.parse import unquote, urlsplit

from coldstart_sdk import record
from coldstart_sdk.errors import StorageError
from coldstart_sdk.spec import WeightSpec
from coldstart_sdk.storage import names
from coldstart_sdk.storage.http import Address, Answer, Channel, Network, shown
from coldstart_sdk.storage.remote import Listing, RemoteFile
from coldstart_sdk.storage.retry import Patience, persist, retry_after_s
from coldstart_sdk.storage.transient import TransientError

_MISSING = frozenset({404, 410})


def file_name(weight: WeightSpec) -> str:
    """What the one file is called, here and in every view."""
    name = weight.filename or unquote(urlsplit(weight.source).path).rpartition("/")[2]
    if not name:
        raise StorageError(
            "the address has no file name at its end",
            where=shown(weight.source),
            fix="Give it one: Weights.url(…, filename='model.safetensors').",
        )
    names.check([name], where=shown(weight.source))
    return name


def digest_of(weight: WeightSpec) -> str | None:
    return f"sha256:{weight.sha256.lower().removeprefix('sha256:')}" if weight.sha256 else None


def listing(weight: WeightSpec, network: Network, patience: Patience) -> Listing:
    """Ask for the first byte: the answer tells the size, the ETag, and whether ranges work."""
    channel = Channel(network)
    address = Address(url=weight.source)
    try:
        return persist(lambda: _listing(weight, address, _probe(channel, address)), patience)
    finally:
        channel.drop()


def _probe(channel: Channel, address: Address) -> Answer:
    try:
        answer = channel.get(address, {"Range": "bytes=0-0"})
    except TransientError:
        channel.drop()
        raise
    if answer.status in {200, 206} or (answer.status == 416 and _total(answer) == 0):  # noqa: PLR2004 - an empty file has no first byte
        return answer
    asked = retry_after_s(answer.headers.get("Retry-After"))
    channel.drop()
    if answer.status >= 500 or answer.status in {408, 425, 429}:  # noqa: PLR2004 - the server's own failures
        raise TransientError(f"the origin answered {answer.status}", retry_after_s=asked)
    raise StorageError(
        f"the origin answered {answer.status}",
        where=address.shown,
        fix="Check the address; the file may have been moved or removed."
        if answer.status in _MISSING
        else "Check the address, and whether it needs a signature or a login.",
    )


def _listing(weight: WeightSpec, address: Address, answer: Answer) -> Listing:
    digest = digest_of(weight)
    ranged = answer.status == 206  # noqa: PLR2004 - partial content
    size = _total(answer) if answer.status != 200 else _length(answer)  # noqa: PLR2004 - the whole file
    state = answer.etag and f"{answer.etag} {size}"
    remote = RemoteFile(
        path=file_name(weight),
        size_bytes=size,
        identity=digest or (state and record.digest([weight.source, state])),
        locate=lambda: address,
        etag=answer.etag,
        digest=digest,
        ranges=ranged and size is not None,
        fix_denied="Check the address, and whether it needs a signature or a login.",
    )
    return Listing(revision=digest or state or "", files=(remote,))


def _total(answer: Answer) -> int | None:
    total = answer.headers.get("Content-Range", "").rpartition("/")[2]
    return int(total) if total.isdigit() else None


def _length(answer: Answer) -> int | None:
    length = answer.headers.get("Content-Length", "")
    return int(length) if length.isdigit() and "Content-Encoding" not in answer.headers else None
