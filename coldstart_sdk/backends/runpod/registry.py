"""A registry of images, as far as one is put together there: OCI's distribution API, a blob at a time.

Standard library only. Credentials are those of `docker login`: its config file, and the helpers that it
names. They go to the registry that they are for, and into no message.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import IO, Any
from urllib import error, request
from urllib.parse import quote, urlencode, urljoin, urlsplit

from coldstart_sdk.errors import PlatformError
from coldstart_sdk.redact import redact, safe_url

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
_HUB, _HUB_KEY = "registry-1.docker.io", "https://index.docker.io/v1/"
_TIMEOUT_S = 120.0
_HELPER_S = 30.0
_LOCAL = {"localhost", "127.0.0.1"}


@dataclass(frozen=True, kw_only=True)
class Reference:
    """Where an image lies: `host/repository:tag`, or `@sha256:…` instead of the tag."""

    host: str
    repository: str
    tag: str

    @classmethod
    def parse(cls, text: str) -> Reference:
        """As Docker reads a name: without a host it is the Hub's, without a tag `latest`."""
        name, at, digest = text.partition("@")
        first, slash, rest = name.partition("/")
        is_host = bool(slash) and ("." in first or ":" in first or first == "localhost")
        host, path = (first, rest) if is_host else (_HUB, name)
        host = _HUB if host in {"docker.io", "index.docker.io"} else host
        repository, colon, tag = path.rpartition(":")
        repository, tag = (repository, tag) if colon else (path, "latest")
        if host == _HUB and "/" not in repository:
            repository = f"library/{repository}"
        return cls(host=host, repository=repository, tag=digest if at else tag)


@dataclass(frozen=True, kw_only=True)
class Blob:
    """One blob on this machine, and what a manifest says of it."""

    file: Path
    digest: str
    size: int

    @classmethod
    def of(cls, file: Path) -> Blob:
        seen = hashlib.sha256()
        with file.open("rb") as content:
            while piece := content.read(1 << 20):
                seen.update(piece)
        return cls(file=file, digest=f"sha256:{seen.hexdigest()}", size=file.stat().st_size)


class Repository:
    """One repository of one registry, and what we may do there."""

    def __init__(self, host: str, name: str, *, push: bool = False) -> None:
        self.host = host
        self.name = name
        self._scope = f"repository:{name}:pull{',push' if push else ''}"
        self._authorization = ""
        scheme = "http" if host.partition(":")[0] in _LOCAL else "https"
        self._base = f"{scheme}://{host}/v2/{name}"

    def manifest(self, tag: str) -> tuple[str, bytes]:
        """Its media type, and its very bytes."""
        accept = f"{OCI_INDEX}, {OCI_MANIFEST}, {DOCKER_INDEX}, {DOCKER_MANIFEST}"
        with self._asked("GET", f"/manifests/{quote(tag, safe=':')}", headers={"Accept": accept}) as answer:
            kind = str(answer.headers.get("Content-Type") or "").partition(";")[0]
            content = answer.read()
        if tag.startswith("sha256:") and tag != f"sha256:{hashlib.sha256(content).hexdigest()}":
            raise PlatformError(
                "the registry gave another image than its digest says",
                fix="Try again.",
                where=f"{self.name}@{tag}",
            )
        return kind or str(json.loads(content).get("mediaType")), content

    def digest(self, tag: str) -> str:
        """Of what the tag means: an index of several platforms, or one platform's manifest."""
        return f"sha256:{hashlib.sha256(self.manifest(tag)[1]).hexdigest()}"

    @contextmanager
    def blob(self, digest: str) -> Iterator[IO[bytes]]:
        with self._asked("GET", f"/blobs/{digest}") as answer:
            yield answer

    def has(self, digest: str) -> bool:
        with self._asked("HEAD", f"/blobs/{digest}", allowed=(HTTPStatus.NOT_FOUND,)) as answer:
            return bool(answer.status == HTTPStatus.OK)

    def mount(self, digest: str, source: str) -> bool:
        """Take a blob over from another repository of this registry, where it allows that."""
        query = urlencode({"mount": digest, "from": source})
        refused = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND)
        with self._asked("POST", f"/blobs/uploads/?{query}", data=b"", allowed=refused) as answer:
            return bool(answer.status == HTTPStatus.CREATED)

    def put(self, blob: Blob) -> None:
        if self.has(blob.digest):
            return
        with self._asked("POST", "/blobs/uploads/", data=b"") as answer:
            place = urljoin(f"{self._base}/blobs/uploads/", answer.headers["Location"])
        place += f"{'&' if urlsplit(place).query else '?'}{urlencode({'digest': blob.digest})}"
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(blob.size)}
        with blob.file.open("rb") as content, self._asked("PUT", place, data=content, headers=headers):
            pass

    def put_manifest(self, tag: str, kind: str, content: bytes) -> str:
        """Its digest."""
        path = f"/manifests/{quote(tag, safe=':')}"
        with self._asked("PUT", path, data=content, headers={"Content-Type": kind}):
            return f"sha256:{hashlib.sha256(content).hexdigest()}"

    @contextmanager
    def _asked(
        self,
        method: str,
        path: str,
        *,
        data: bytes | IO[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
        allowed: tuple[int, ...] = (),
    ) -> Iterator[Any]:
        """The answer; after a first refusal with the credentials that the registry names."""
        url = path if urlsplit(path).scheme else f"{self._base}{path}"
        answer = self._opened(method, url, data, headers or {})
        if answer.status == HTTPStatus.UNAUTHORIZED and not self._authorization:
            with answer:
                challenge = answer.headers.get("WWW-Authenticate", "")
            self._authorization = _authorization(self.host, challenge, self._scope)
            if data is not None and not isinstance(data, bytes):
                data.seek(0)
            answer = self._opened(method, url, data, headers or {})
        with answer:
            if answer.status >= HTTPStatus.BAD_REQUEST and answer.status not in allowed:
                raise _refused(answer, method, url, self)
            yield answer

    def _opened(
        self, method: str, url: str, data: bytes | IO[bytes] | None, headers: Mapping[str, str]
    ) -> Any:  # noqa: ANN401 - the library's response has no public type
        asked = request.Request(url, data=data, method=method, headers={"User-Agent": "coldstart", **headers})  # noqa: S310 - https, but on this machine
        if self._authorization and urlsplit(url).netloc == self.host:
            # Not sent on to where a registry keeps its blobs: that address has a signature of its own.
            asked.add_unredirected_header("Authorization", self._authorization)
        try:
            return request.urlopen(asked, timeout=_TIMEOUT_S)  # noqa: S310 - as above
        except error.HTTPError as refused:
            return refused
        except (error.URLError, TimeoutError, ConnectionError) as lost:
            raise PlatformError(
                redact(f"the registry cannot be reached: {getattr(lost, 'reason', None) or lost}"),
                fix="Look at the network, and at the image's name.",
                where=safe_url(url),
            ) from lost


def _authorization(host: str, challenge: str, scope: str) -> str:
    """What the registry wants to be shown: a token that it gives out, or name and password themselves."""
    scheme, _, said = challenge.partition(" ")
    known = _credentials(host)
    basic = f"Basic {base64.b64encode(':'.join(known).encode()).decode()}" if known else ""
    if scheme.lower() != "bearer":
        return basic
    wanted = dict(re.findall(r'(\w+)="([^"]*)"', said))
    query = urlencode({"service": wanted.get("service", ""), "scope": scope})
    url = f"{wanted.get('realm', '')}?{query}"
    if urlsplit(url).scheme != "https" and urlsplit(url).hostname not in _LOCAL:
        raise PlatformError(
            "the registry gives out tokens without TLS", fix="Use a registry over https.", where=safe_url(url)
        )
    asked = request.Request(url, headers={"Authorization": basic} if basic else {})  # noqa: S310 - looked at above
    try:
        with request.urlopen(asked, timeout=_TIMEOUT_S) as answer:  # noqa: S310 - as above
            told = json.loads(answer.read())
    except error.HTTPError as refused:
        with refused:
            who = "the credentials of your Docker config" if known else "who has not signed in"
            raise PlatformError(
                f"the registry refuses {who}: {refused.code}, for {scope}",
                fix=f"Sign in: docker login {host}",
                where=safe_url(url),
            ) from None
    except (error.URLError, TimeoutError, ConnectionError, ValueError) as lost:
        raise PlatformError(
            "the registry's tokens cannot be asked for", fix="Try again.", where=safe_url(url)
        ) from lost
    return f"Bearer {told.get('token') or told.get('access_token') or ''}"


def _credentials(host: str) -> tuple[str, str] | None:
    """Name and password for a registry, from Docker's own config; None: it may be asked without."""
    folder = os.environ.get("DOCKER_CONFIG") or os.path.expanduser("~/.docker")  # noqa: PTH111 - a `Path` has no such fallback for an unset HOME
    try:
        config = json.loads((Path(folder) / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    key = _HUB_KEY if host == _HUB else host
    helper = (config.get("credHelpers") or {}).get(key) or config.get("credsStore")
    if helper and (known := _helped(helper, key)):
        return known
    auths = config.get("auths") or {}
    auth: Mapping[str, str] = next(
        (auths[name] for name in (key, f"https://{key}", f"https://{key}/v2/") if name in auths), {}
    )
    if "auth" not in auth:
        return None
    name, _, password = base64.b64decode(auth["auth"]).decode("utf-8", "replace").partition(":")
    return name, password.strip("\0")


def _helped(helper: str, key: str) -> tuple[str, str] | None:
    try:
        ended = subprocess.run(
            [f"docker-credential-{helper}", "get"],
            input=key,
            capture_output=True,
            text=True,
            timeout=_HELPER_S,
            check=True,
        )
        told = json.loads(ended.stdout)
        return str(told["Username"]), str(told["Secret"])
    except (OSError, subprocess.SubprocessError, ValueError, KeyError):
        return None  # a store that knows nothing of this registry fails too


def _refused(answer: Any, method: str, url: str, repository: Repository) -> PlatformError:  # noqa: ANN401 - as above
    try:
        said = "; ".join(str(each.get("message")) for each in json.loads(answer.read())["errors"])
    except (ValueError, KeyError, TypeError, AttributeError):
        said = ""
    match answer.status:
        case HTTPStatus.UNAUTHORIZED | HTTPStatus.FORBIDDEN:
            fix = f"Sign in as somebody who may: docker login {repository.host}"
        case HTTPStatus.NOT_FOUND:
            fix = f"Look at the name: {repository.host}/{repository.name}"
        case _:
            fix = "Try again; if it stays, ask whoever runs the registry."
    return PlatformError(
        redact(f"the registry answered {answer.status}" + (f": {said}" if said else "")),
        fix=fix,
        where=f"{method} {safe_url(url)}",
    )
