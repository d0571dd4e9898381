"""A registry of images on loopback: OCI's distribution API, as far as pushing and pulling needs it.

Made from the OCI distribution specification 1.1 (pull, push in one piece, mounting) and from Docker's token
specification. What is pushed is held against its digest; a manifest that names a blob which is not there is
refused, as registries do.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import tarfile
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote, urlsplit

from coldstart_sdk.rehearsal.link import Link
from coldstart_sdk.rehearsal.serving import Handler, Server

if TYPE_CHECKING:
    from typing_extensions import Self

_CONFIGS = {
    "application/vnd.oci.image.manifest.v1+json": "application/vnd.oci.image.config.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json": "application/vnd.docker.container.image.v1+json",
}
_TOKEN = "a-token-of-this-registry"  # noqa: S105 - good for nothing anywhere else


@dataclass(frozen=True, kw_only=True)
class Pushed:
    """One manifest."""

    kind: str
    content: bytes

    @property
    def digest(self) -> str:
        return f"sha256:{hashlib.sha256(self.content).hexdigest()}"


class Registry:
    """A context manager; with `account`, name and password, nothing is given to anybody else."""

    def __init__(self, *, account: tuple[str, str] | None = None) -> None:
        self.account = account
        self.blobs: dict[tuple[str, str], bytes] = {}
        """By repository and digest."""
        self.manifests: dict[tuple[str, str], Pushed] = {}
        """By repository and tag, and by repository and digest."""
        self.uploaded: list[str] = []
        """Digests that came with their bytes, in order."""
        self._server: _RegistryServer | None = None

    def __enter__(self) -> Self:
        self._server = _RegistryServer(self)
        self._server.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, raised: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server:
            self._server.close()

    @property
    def host(self) -> str:
        if self._server is None:
            raise RuntimeError("the registry runs only inside its `with` block")
        return urlsplit(self._server.address).netloc

    def add_base(
        self, repository: str, tag: str, files: Mapping[str, bytes], *, kind: str, layer: str
    ) -> str:
        """An image of one layer to build upon; its name."""
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w:gz") as archive:
            for name, content in files.items():
                entry = tarfile.TarInfo(name)
                entry.size = len(content)
                archive.addfile(entry, io.BytesIO(content))
        config = {
            "architecture": "amd64",
            "os": "linux",
            "config": {"Env": ["PATH=/usr/bin:/bin"]},
            "rootfs": {"type": "layers", "diff_ids": [self._kept(repository, b"not looked at")]},
        }
        content = json.dumps(config).encode()
        manifest = {
            "schemaVersion": 2,
            "mediaType": kind,
            "config": {"mediaType": _CONFIGS[kind], **self._described(repository, content)},
            "layers": [{"mediaType": layer, **self._described(repository, packed.getvalue())}],
        }
        self.put(repository, tag, Pushed(kind=kind, content=json.dumps(manifest).encode()))
        return f"{self.host}/{repository}:{tag}"

    def put(self, repository: str, tag: str, pushed: Pushed) -> None:
        self.manifests[repository, tag] = self.manifests[repository, pushed.digest] = pushed

    def image(self, name: str) -> tuple[dict[str, Any], dict[str, Any]]:
        """Manifest and config of a pushed image."""
        repository, _, tag = name.removeprefix(f"{self.host}/").rpartition(":")
        manifest = json.loads(self.manifests[repository, tag].content)
        return manifest, json.loads(self.blobs[repository, manifest["config"]["digest"]])

    def unpack(self, name: str, folder: Path) -> None:
        """The image's root, its layers one upon the other."""
        repository = name.removeprefix(f"{self.host}/").rpartition(":")[0]
        for layer in self.image(name)[0]["layers"]:
            content = io.BytesIO(self.blobs[repository, layer["digest"]])
            with tarfile.open(fileobj=content, mode="r:gz") as archive:
                archive.extractall(folder, filter="fully_trusted")  # noqa: S202 - our own layers, links and all

    def _described(self, repository: str, content: bytes) -> dict[str, Any]:
        return {"digest": self._kept(repository, content), "size": len(content)}

    def _kept(self, repository: str, content: bytes) -> str:
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        self.blobs[repository, digest] = content
        return digest


class _RegistryServer(Server):
    def __init__(self, registry: Registry) -> None:
        super().__init__("127.0.0.1", _RegistryHandler, link=Link())
        self.registry = registry


class _RegistryHandler(Handler):
    def do_PUT(self) -> None:  # noqa: N802 - the standard library's name
        self._handle()

    def answer(self) -> None:
        server = self.server
        if not isinstance(server, _RegistryServer):  # pragma: no cover - only ever built with one
            raise TypeError("a registry handler needs a registry server")
        self._registry = server.registry
        parts = urlsplit(self.path)
        self._query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        self._body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        words = unquote(parts.path).strip("/").split("/")
        if words == ["token"]:
            self._give_token()
        elif not self._may():
            challenge = f'Bearer realm="http://{self._registry.host}/token",service="loopback"'
            self._refuse(401, "sign in", {"WWW-Authenticate": challenge})
        else:
            self._route(words[1:])

    def _route(self, words: list[str]) -> None:
        match self.command, words:
            case "GET" | "HEAD", [*name, "blobs", digest]:
                self._give_blob("/".join(name), digest)
            case "POST", [*name, "blobs", "uploads"]:
                self._begin_upload("/".join(name))
            case "PUT", [*name, "blobs", "uploads", _]:
                self._take_blob("/".join(name))
            case "GET" | "HEAD", [*name, "manifests", tag]:
                self._give_manifest("/".join(name), tag)
            case "PUT", [*name, "manifests", tag]:
                self._take_manifest("/".join(name), tag)
            case _:
                self._refuse(404, "no such route")

    def _give_token(self) -> None:
        account = self._registry.account or ("", "")
        wanted = f"Basic {base64.b64encode(':'.join(account).encode()).decode()}"
        if self.headers.get("Authorization") != wanted or not self._query.get("scope"):
            self._refuse(401, "wrong name or password")
        else:
            self.send_bytes(json.dumps({"token": _TOKEN}).encode())

    def _may(self) -> bool:
        return self._registry.account is None or self.headers.get("Authorization") == f"Bearer {_TOKEN}"

    def _give_blob(self, name: str, digest: str) -> None:
        content = self._registry.blobs.get((name, digest))
        if content is None:
            self._refuse(404, "blob unknown")
        else:
            self.send_bytes(content, headers={"Content-Type": "application/octet-stream"})

    def _begin_upload(self, name: str) -> None:
        source, digest = self._query.get("from", ""), self._query.get("mount", "")
        if content := self._registry.blobs.get((source, digest)):
            self._registry.blobs[name, digest] = content
            self.send_nothing(201)
        else:
            # A relative address, and with a query of its own, as some registries give it.
            self.send_nothing(202, {"Location": f"/v2/{name}/blobs/uploads/{uuid.uuid4().hex}?state=1"})

    def _take_blob(self, name: str) -> None:
        digest = self._query.get("digest", "")
        if digest != f"sha256:{hashlib.sha256(self._body).hexdigest()}":
            self._refuse(400, "the digest is another")
            return
        self._registry.blobs[name, digest] = self._body
        self._registry.uploaded.append(digest)
        self.send_nothing(201)

    def _give_manifest(self, name: str, tag: str) -> None:
        found = self._registry.manifests.get((name, tag))
        if found is None:
            self._refuse(404, "manifest unknown")
        else:
            self.send_bytes(found.content, headers={"Content-Type": found.kind})

    def _take_manifest(self, name: str, tag: str) -> None:
        told = json.loads(self._body)
        named = [told["config"]["digest"], *(layer["digest"] for layer in told["layers"])]
        if missing := [digest for digest in named if (name, digest) not in self._registry.blobs]:
            self._refuse(400, f"manifest blob unknown: {missing[0]}")
            return
        kind = self.headers.get("Content-Type", "")
        self._registry.put(name, tag, Pushed(kind=kind, content=self._body))
        self.send_nothing(201)

    def _refuse(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        said = json.dumps({"errors": [{"code": "REFUSED", "message": message}]}).encode()
        self.send_bytes(said, status=status, headers=headers)
