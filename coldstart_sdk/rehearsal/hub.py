"""A Hugging Face hub on loopback over a directory of `org/name/files`.

Imitates what huggingface_hub 0.36, 1.x and 2.x ask for a download: `api/models/…`, its tree, `resolve`, the
redirect of large files to a CDN on another host name, `X-Repo-Commit` and `X-Linked-*`, and the errors by
`X-Error-Code` (https://huggingface.co/docs/hub/api, and the clients' sources). Nothing is announced as Xet,
as a mirror would not.

A repository has one branch, `main`, and one commit, computed from its content. The CDN needs 127.0.0.2,
which Linux has and macOS does not until it is added.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, quote

from coldstart_sdk.errors import UsageError
from coldstart_sdk.rehearsal.faults import Fault
from coldstart_sdk.rehearsal.link import Link
from coldstart_sdk.rehearsal.origin import LOOPBACK, Origin
from coldstart_sdk.rehearsal.serving import Handler, Request, Server, file_below

if TYPE_CHECKING:
    from typing_extensions import Self

CDN_HOST = "127.0.0.2"
LFS_BYTES = 1 << 20
"""Files from this size on are large ones."""


def refuse_no_hub(said: str) -> None:
    """A folder that somebody named, and that could be none."""
    mend = "Name the folder in which org/name/files lie."
    if not Path(said).is_dir():
        raise UsageError(f"hub={said[:80]} is no folder", fix=mend)
    if not any(Path(said).glob("*/*/*")):
        raise UsageError(f"in hub={said[:80]} is no org/name/file", fix=mend)


@contextmanager
def named(folder: str | None, rate_bytes_s: float | None) -> Iterator[Mapping[str, str]]:
    """What sends a process to a hub over that folder; nothing where none was named."""
    if folder is None:
        yield {}
        return
    with Hub(folder, rate_bytes_s=rate_bytes_s, process=True) as hub:
        yield {"HF_ENDPOINT": hub.endpoint}


@dataclass(frozen=True, kw_only=True)
class Blob:
    """One file as the hub announces it."""

    path: str
    size: int
    git_sha1: str
    sha256: str | None
    """Set for large files."""


class Hub:
    """A context manager; point `HF_ENDPOINT` at `endpoint`."""

    def __init__(  # noqa: PLR0913 - each an independent choice with a default
        self,
        directory: str | Path,
        *,
        token: str | None = None,
        gated: Iterable[str] = (),
        private: Iterable[str] = (),
        lfs_bytes: int = LFS_BYTES,
        rate_bytes_s: float | None = None,
        latency_s: float = 0.0,
        process: bool = False,
    ) -> None:
        self.directory = Path(directory).resolve()
        self.token = token
        """The one that opens gated and private repositories; any other is a bad one."""
        self.gated = frozenset(gated)
        self.private = frozenset(private)
        self.lfs_bytes = lfs_bytes
        self._link = Link(rate_bytes_s=rate_bytes_s, latency_s=latency_s)
        self.cdn = Origin(
            self.directory, rate_bytes_s=rate_bytes_s, latency_s=latency_s, host=CDN_HOST, process=process
        )
        self._blobs: dict[tuple[str, int, int], Blob] = {}
        self._stack = ExitStack()
        self._server: _HubServer | None = None

    def __enter__(self) -> Self:
        self._stack.enter_context(self.cdn)
        server = self._server = _HubServer(self, self._link)
        server.start()
        self._stack.callback(server.close)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, raised: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    @property
    def endpoint(self) -> str:
        return self._running.address

    @property
    def requests(self) -> tuple[Request, ...]:
        """What the hub itself was asked; the CDN's are in `cdn.requests`."""
        return self._running.requests

    def forget(self) -> None:
        self._running.forget()
        self.cdn.forget()

    def fail(self, *faults: Fault) -> None:
        """Faults of the hub's own small files; those of large ones belong to `cdn`."""
        self._running.script.add(faults)

    def blobs(self, repo: str) -> tuple[Blob, ...]:
        """The files of a repository, as announced; none where it does not exist."""
        root = self.directory / repo
        if repo.count("/") != 1 or not root.is_dir() or file_below(self.directory, repo) is not None:
            return ()
        files = sorted(file for file in root.rglob("*") if file.is_file())
        return tuple(self._blob(file, file.relative_to(root).as_posix()) for file in files)

    def commit(self, repo: str) -> str:
        told = "\n".join(f"{blob.path} {blob.git_sha1}" for blob in self.blobs(repo))
        return hashlib.sha1(told.encode(), usedforsecurity=False).hexdigest()

    def _blob(self, file: Path, path: str) -> Blob:
        state = file.stat()
        key = (str(file), state.st_mtime_ns, state.st_size)
        if key not in self._blobs:
            content = file.read_bytes()
            git = hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
            sha256 = hashlib.sha256(content).hexdigest() if len(content) >= self.lfs_bytes else None
            self._blobs[key] = Blob(path=path, size=len(content), git_sha1=git, sha256=sha256)
        return self._blobs[key]

    @property
    def _running(self) -> _HubServer:
        if self._server is None:
            raise RuntimeError("the hub runs only inside its `with` block")
        return self._server


class _HubServer(Server):
    def __init__(self, hub: Hub, link: Link) -> None:
        super().__init__(LOOPBACK, _HubHandler, link=link)
        self.hub = hub


class _HubHandler(Handler):
    @property
    def hub(self) -> Hub:
        server = self.server
        if not isinstance(server, _HubServer):  # pragma: no cover - only ever built with one
            raise TypeError("a hub handler needs a hub server")
        return server.hub

    def answer(self) -> None:
        match self.name.split("/"):
            case ["api", "whoami-v2"]:
                self._send_json(
                    {"name": "rehearsal", "type": "user", "auth": {"accessToken": {"role": "read"}}}
                )
            case ["api", "models", org, name]:
                self._model(f"{org}/{name}", "main")
            case ["api", "models", org, name, "revision", revision]:
                self._model(f"{org}/{name}", revision)
            case ["api", "models", org, name, "tree", revision, *below]:
                self._tree(f"{org}/{name}", revision, "/".join(below))
            case ["api", "models", org, name, "paths-info", revision]:
                self._paths(f"{org}/{name}", revision)
            case [org, name, "resolve", revision, *path] if path:
                self._resolve(f"{org}/{name}", revision, "/".join(path))
            case _:
                self.send_nothing(404)

    def _model(self, repo: str, revision: str) -> None:
        if not self._may_read(repo, revision):
            return
        told = {
            "id": repo,
            "modelId": repo,
            "sha": self.hub.commit(repo),
            "private": repo in self.hub.private,
            "gated": "manual" if repo in self.hub.gated else False,
            "disabled": False,
            "tags": [],
            "downloads": 0,
            "likes": 0,
            "lastModified": "2026-01-01T00:00:00.000Z",
            "siblings": [{"rfilename": blob.path, "size": blob.size} for blob in self.hub.blobs(repo)],
        }
        self._send_json(told)

    def _tree(self, repo: str, revision: str, below: str) -> None:
        if not self._may_read(repo, revision):
            return
        prefix = f"{below}/" if below else ""
        self._send_json([_item(blob) for blob in self.hub.blobs(repo) if blob.path.startswith(prefix)])

    def _paths(self, repo: str, revision: str) -> None:
        form = parse_qs(self.rfile.read(int(self.headers.get("Content-Length", "0"))).decode())
        if not self._may_read(repo, revision):
            return
        wanted = set(form.get("paths", []))
        self._send_json([_item(blob) for blob in self.hub.blobs(repo) if blob.path in wanted])

    def _resolve(self, repo: str, revision: str, path: str) -> None:
        if not self._may_read(repo, revision):
            return
        commit = {"X-Repo-Commit": self.hub.commit(repo)}
        blob = next((blob for blob in self.hub.blobs(repo) if blob.path == path), None)
        if blob is None:
            self._refuse(404, "EntryNotFound", "Entry not found", commit)
        elif blob.sha256 is None:
            self.send_file(self.hub.directory / repo / path, f'"{blob.git_sha1}"', commit)
        else:
            linked = {"X-Linked-ETag": f'"{blob.sha256}"', "X-Linked-Size": str(blob.size)}
            target = f"{self.hub.cdn.url(f'{repo}/{path}')}?sig={quote(blob.sha256[:8])}"
            self.send_nothing(302, {**commit, **linked, "Location": target})

    def _may_read(self, repo: str, revision: str) -> bool:
        """Refuse as the hub does; whether it may go on."""
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        known = bool(self.hub.token) and token == self.hub.token
        if not self.hub.blobs(repo) or (repo in self.hub.private and not known):
            self._refuse(404 if token else 401, "RepoNotFound", "Repository not found")
        elif repo in self.hub.gated and not known:
            self._refuse(403 if token else 401, "GatedRepo", "Access to this model is restricted")
        elif revision not in {"main", self.hub.commit(repo)}:
            self._refuse(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        else:
            return True
        return False

    def _refuse(self, status: int, code: str, message: str, headers: dict[str, str] | None = None) -> None:
        said = {"X-Error-Code": code, "X-Error-Message": message, **(headers or {})}
        self.send_bytes(json.dumps({"error": message}).encode(), status=status, headers=said)

    def _send_json(self, value: object) -> None:
        self.send_bytes(
            json.dumps(value).encode(), headers={"Content-Type": "application/json; charset=utf-8"}
        )


def _item(blob: Blob) -> dict[str, object]:
    item: dict[str, object] = {"type": "file", "path": blob.path, "size": blob.size, "oid": blob.git_sha1}
    if blob.sha256:
        item["lfs"] = {"oid": blob.sha256, "size": blob.size, "pointerSize": 134}
    return item
