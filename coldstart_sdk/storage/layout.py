"""How a set lies in a store, anywhere: blobs named by digest, a manifest, and one ref written last.

Nothing is ever changed but a ref, so a reader finds the whole of a set or none of it. What cannot be trusted
is an error with its reason; whoever reads goes on to the next place.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from coldstart_sdk import record
from coldstart_sdk.errors import StorageError
from coldstart_sdk.manifest import Manifest
from coldstart_sdk.storage import manifests
from coldstart_sdk.storage.home import is_digest

if TYPE_CHECKING:
    from coldstart_sdk.plugins import Store

REF_LIMIT_BYTES = 1024
TEXT = "text/plain; charset=utf-8"
JSON = "application/json"


def blob_key(digest: str) -> str:
    return f"blobs/sha256/{_hex(digest)}"


def manifest_key(digest: str) -> str:
    return f"manifests/sha256/{_hex(digest)}"


def ref_key(name: str) -> str:
    return f"refs/{name}"


def pointed(store: Store, name: str) -> str | None:
    """The digest that a ref names; None where there is no such ref."""
    text = store.read(ref_key(name), limit_bytes=REF_LIMIT_BYTES)
    if text is None:
        return None
    target = text.decode("ascii", "replace")
    if target[-1:] != "\n" or not is_digest(target[:-1]):
        raise manifests.BadManifestError("the ref is not one digest")
    return target[:-1]


def pointed_or_none(store: Store, name: str) -> str | None:
    """The same, where a ref that cannot be trusted is as good as none: it will be written anew."""
    try:
        return pointed(store, name)
    except manifests.BadManifestError:
        return None


def read(store: Store, name: str) -> Manifest | None:
    """The set that a ref names; None where there is no such ref."""
    digest = pointed(store, name)
    return None if digest is None else read_manifest(store, digest)


def read_manifest(store: Store, digest: str) -> Manifest:
    text = store.read(manifest_key(digest), limit_bytes=manifests.MANIFEST_LIMIT_BYTES)
    if text is None:
        raise manifests.BadManifestError("the ref names a manifest that is not there")
    if len(text) > manifests.MANIFEST_LIMIT_BYTES:
        raise manifests.BadManifestError(
            f"the manifest is larger than {manifests.MANIFEST_LIMIT_BYTES} bytes"
        )
    return manifests.parse(text, digest=digest)


def publish(store: Store, name: str, manifest: Manifest) -> None:
    """Name the set. Every blob of it must be there; the ref is the last thing written."""
    text = record.canonical(manifest).encode()
    digest = manifests.digest_of(manifest)
    if store.read(manifest_key(digest), limit_bytes=len(text)) != text:
        store.write(manifest_key(digest), text, media_type=JSON)
    store.write(ref_key(name), f"{digest}\n".encode("ascii"), media_type=TEXT)


def _hex(digest: str) -> str:
    if not is_digest(digest):
        raise StorageError(f"{digest[:80]!r} is not a digest", fix="Fetch the set again.")
    return digest.partition(":")[2]
