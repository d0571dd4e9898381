"""A repository on a Hugging Face hub, or on a mirror of one (`HF_ENDPOINT`).

huggingface_hub resolves: endpoint, token, revision, tree. The bytes come through our own reader, from where
the hub redirects to, each file checked against the digest that the hub publishes for it.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote

from coldstart_sdk.errors import StorageError
from coldstart_sdk.spec import WeightSpec
from coldstart_sdk.storage import patterns
from coldstart_sdk.storage.http import Address
from coldstart_sdk.storage.remote import Listing, RemoteFile, UnreachableError
from coldstart_sdk.storage.retry import Patience, persist, retry_after_s
from coldstart_sdk.storage.transient import TransientError

if TYPE_CHECKING:
    from huggingface_hub import HfApi

T = TypeVar("T")

DEFAULT_REVISION = "main"
_COMMIT = re.compile(r"[0-9a-f]{40}")
_TRANSPORTS = ("httpx2", "httpx", "requests")
"""What huggingface_hub of one age or another talks through; whichever it has loaded counts."""


def is_commit(revision: str | None) -> bool:
    return revision is not None and _COMMIT.fullmatch(revision) is not None


def listing(weight: WeightSpec, kept: str | None, patience: Patience) -> Listing:
    api = _api(weight)
    commit = weight.revision or DEFAULT_REVISION
    if not is_commit(commit):
        commit = _asked(weight, patience, lambda: str(api.model_info(weight.source, revision=commit).sha))
        if commit == kept:
            return Listing(revision=commit, files=())
    tree = _asked(
        weight, patience, lambda: list(api.list_repo_tree(weight.source, revision=commit, recursive=True))
    )
    every = [item for item in tree if hasattr(item, "blob_id")]
    files = tuple(_remote(weight, api, commit, item) for item in every if patterns.wanted(item.path, weight))
    patterns.refuse_nothing(files, weight, seen=len(every), where=_where(weight))
    return Listing(revision=commit, files=files)


def _api(weight: WeightSpec) -> HfApi:
    try:
        import huggingface_hub  # noqa: PLC0415 - heavy, and an extra
    except ImportError as absent:
        raise StorageError(
            "Weights.hf needs huggingface_hub, which is not installed",
            where=_where(weight),
            fix="pip install 'coldstart-sdk[hf]'",
        ) from absent
    return huggingface_hub.HfApi(
        endpoint=os.environ.get("HF_ENDPOINT") or None, token=huggingface_hub.get_token() or False
    )


def _remote(weight: WeightSpec, api: HfApi, commit: str, item: Any) -> RemoteFile:  # noqa: ANN401 - its class moved between versions
    url = f"{api.endpoint}/{weight.source}/resolve/{commit}/{quote(item.path)}"
    headers = {"Authorization": f"Bearer {api.token}"} if api.token else {}
    sha256 = item.lfs.sha256 if item.lfs else None
    return RemoteFile(
        path=item.path,
        size_bytes=item.lfs.size if item.lfs else item.size,
        identity=f"sha256:{sha256}" if sha256 else f"git:{item.blob_id}",
        locate=lambda: Address(url=url, headers=headers),
        digest=f"sha256:{sha256}" if sha256 else None,
        git_sha1=None if sha256 else item.blob_id,
        fix_denied=_fix_gated(weight, has_token=bool(api.token)),
    )


def _asked(weight: WeightSpec, patience: Patience, call: Callable[[], T]) -> T:
    def once() -> T:
        with _speaking(weight):
            return call()

    return persist(once, patience)


@contextmanager
def _speaking(weight: WeightSpec) -> Iterator[None]:
    """Turn what the hub's client raises into what a user can act on."""
    from huggingface_hub import errors, get_token  # noqa: PLC0415 - loaded by now

    has_token = bool(get_token())
    try:
        yield
    except errors.OfflineModeIsEnabled as offline:
        raise UnreachableError(
            "HF_HUB_OFFLINE keeps the hub from being asked what it has",
            where=_where(weight),
            fix="Lock it: coldstart lock FILE. What is locked is fetched without that question.",
        ) from offline
    except errors.GatedRepoError as gated:
        raise StorageError(
            f"{weight.source} is gated" + ("" if has_token else ", and there is no token"),
            where=_where(weight),
            fix=_fix_gated(weight, has_token=has_token),
        ) from gated
    except errors.RepositoryNotFoundError as missing:
        raise StorageError(
            f"the hub has no repository {weight.source}, or it is private",
            where=_where(weight),
            fix="Check the name"
            + ("; the token may not reach it." if has_token else "; if it is private, set HF_TOKEN."),
        ) from missing
    except errors.RevisionNotFoundError as missing:
        raise StorageError(
            f"{weight.source} has no revision {weight.revision or DEFAULT_REVISION!r}",
            where=_where(weight),
            fix="Name a branch, a tag or a commit that the repository has.",
        ) from missing
    except errors.HfHubHTTPError as refused:
        raise _refused(weight, refused) from refused
    except errors.HFValidationError as misnamed:
        raise StorageError(
            f"{weight.source!r} is not a repository name", where=_where(weight), fix="Write it as 'org/name'."
        ) from misnamed
    except _transport_errors() as broken:
        raise TransientError(f"no answer: {type(broken).__name__}") from broken
    except (ValueError, KeyError, TypeError) as misread:
        raise StorageError(
            "what answers there is not a Hugging Face hub",
            where=_where(weight),
            fix="Check HF_ENDPOINT, and whether a proxy or a login page stands before it.",
        ) from misread


def _refused(weight: WeightSpec, refused: Any) -> Exception:  # noqa: ANN401 - its class moved between versions
    status = refused.response.status_code
    if status >= 500 or status in {408, 429}:  # noqa: PLR2004 - the server's own failures
        asked = retry_after_s(refused.response.headers.get("Retry-After"))
        return TransientError(f"the hub answered {status}", retry_after_s=asked)
    return StorageError(
        f"the hub answered {status}",
        where=_where(weight),
        fix=_fix_gated(weight, has_token=True)
        if status in {401, 403}
        else "Check the name and the revision.",
    )


def _fix_gated(weight: WeightSpec, *, has_token: bool) -> str:
    page = f"{_endpoint()}/{weight.source}"
    if has_token:
        return f"Accept the terms at {page} with the account that the token belongs to, and check the token."
    return f"Accept the terms at {page}, then set HF_TOKEN to a token that may read it."


def _transport_errors() -> tuple[type[Exception], ...]:
    found: list[type[Exception]] = [OSError]
    for name in _TRANSPORTS:
        module = sys.modules.get(name)
        for error in ("TransportError", "RequestException"):
            kind = getattr(module, error, None)
            if isinstance(kind, type):
                found.append(kind)
    return tuple(found)


def _where(weight: WeightSpec) -> str:
    return f"{_endpoint()}/{weight.source}"


def _endpoint() -> str:
    return (os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")
