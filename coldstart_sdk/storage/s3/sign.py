"""AWS Signature Version 4, in the header of a request or in the query of an address.

As of https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html: keys are
escaped once, paths are never normalized, and bodies are not part of the signature unless they are at hand.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Mapping
from dataclasses import field
from urllib.parse import quote

from coldstart_sdk.frozen import dataclass

EMPTY = hashlib.sha256(b"").hexdigest()
UNSIGNED = "UNSIGNED-PAYLOAD"
_ALGORITHM = "AWS4-HMAC-SHA256"


@dataclass(frozen=True, kw_only=True)
class Credentials:
    """A key pair, and the token that temporary ones have; never shown."""

    key_id: str = field(repr=False)
    secret: str = field(repr=False)
    token: str | None = field(default=None, repr=False)
    came_from: str = "the environment"
    """Where they were found, for messages."""


@dataclass(frozen=True, kw_only=True)
class Signer:
    """Signs for one region with one pair of keys."""

    credentials: Credentials
    region: str
    skew_s: float = 0.0
    """How far the store's clock is ahead of ours."""

    def headers(  # noqa: PLR0913 - the parts of a request
        self,
        method: str,
        host: str,
        path: str,
        *,
        query: Mapping[str, str],
        headers: Mapping[str, str],
        body_sha256: str,
    ) -> dict[str, str]:
        """All headers of the request, signed."""
        stamp = self._stamp()
        signed = {"host": host, "x-amz-content-sha256": body_sha256, "x-amz-date": stamp}
        if self.credentials.token:
            signed["x-amz-security-token"] = self.credentials.token
        signed |= {name.lower(): " ".join(value.split()) for name, value in headers.items()}
        names = ";".join(sorted(signed))
        signature = self._signature(stamp, method, path, encoded(query), signed, body_sha256)
        authorization = (
            f"{_ALGORITHM} Credential={self.credentials.key_id}/{self._scope(stamp)}, "
            f"SignedHeaders={names}, Signature={signature}"
        )
        del signed["host"]
        return {**signed, "Authorization": authorization}

    def query(self, host: str, path: str, *, expires_s: int) -> str:
        """The query that lets anybody GET this path for so long."""
        stamp = self._stamp()
        asked = {
            "X-Amz-Algorithm": _ALGORITHM,
            "X-Amz-Credential": f"{self.credentials.key_id}/{self._scope(stamp)}",
            "X-Amz-Date": stamp,
            "X-Amz-Expires": str(expires_s),
            "X-Amz-SignedHeaders": "host",
        }
        if self.credentials.token:
            asked["X-Amz-Security-Token"] = self.credentials.token
        signature = self._signature(stamp, "GET", path, encoded(asked), {"host": host}, UNSIGNED)
        return f"{encoded(asked)}&X-Amz-Signature={signature}"

    def _stamp(self) -> str:
        return time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(time.time() + self.skew_s))

    def _scope(self, stamp: str) -> str:
        return f"{stamp[:8]}/{self.region}/s3/aws4_request"

    def _signature(  # noqa: PLR0913, PLR0917 - the six parts of a canonical request, in its order
        self, stamp: str, method: str, path: str, query: str, headers: Mapping[str, str], body_sha256: str
    ) -> str:
        lines = "".join(f"{name}:{headers[name]}\n" for name in sorted(headers))
        request = "\n".join((method, path, query, lines, ";".join(sorted(headers)), body_sha256))
        text = "\n".join(
            (_ALGORITHM, stamp, self._scope(stamp), hashlib.sha256(request.encode()).hexdigest())
        )
        key = f"AWS4{self.credentials.secret}".encode()
        for part in (stamp[:8], self.region, "s3", "aws4_request"):
            key = hmac.digest(key, part.encode(), "sha256")
        return hmac.digest(key, text.encode(), "sha256").hex()


def escaped(key: str) -> str:
    """A key as it stands in a path: every byte but the unreserved ones and the slash is escaped."""
    return quote(key, safe="/-_.~")


def encoded(query: Mapping[str, str]) -> str:
    return "&".join(f"{quote(name, safe='-_.~')}={quote(query[name], safe='-_.~')}" for name in sorted(query))
