"""One redactor for all that leaves a process as text: logs, errors, traces, replies.

It knows secrets by value (environment variables whose names look secret, in the spellings that a value takes
on its way) and by place (Authorization headers, signed queries, user names in URLs). What is left still tells
the host and the path.
"""

from __future__ import annotations

import base64
import functools
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping

HIDDEN = "***"

_SECRET_NAME = re.compile(r"TOKEN|KEY|SECRET|PASSWORD|PASSWD|CREDENTIAL", re.IGNORECASE)
_SHORTEST = 8
"""Shorter values are words such as `true`: hiding them would hide the text."""
_SHORTEST_LINE = 16
"""The same for one line of a secret of several lines."""

_BETWEEN = r"""(?:\\?["']\s*,\s*b?\\?["']|\\?["']?\s*[:=]\s*(?:b?\\?["'])?)"""
_HEADER = re.compile(
    r"(\b(?:proxy-)?authorization" + _BETWEEN + r")"
    r"""(?:(?:AWS4-HMAC-SHA256|Digest)\b[^\r\n]*|(?:(?:Bearer|Basic|Token|Negotiate)\s+)?[^\s"',\\]+)""",
    re.IGNORECASE,
)
_BEARER = re.compile(r"(\bBearer\s+)[A-Za-z0-9._~+/=-]{16,}", re.IGNORECASE)
_QUERY = re.compile(
    r"((?:[?&;]|%3F|%26|&amp;|\\u0026)"
    r"(?:X-Amz-[A-Za-z-]+|X-Goog-[A-Za-z-]+|Key-Pair-Id|Policy|AWSAccessKeyId"
    r"|[\w.-]{0,40}(?:token|secret|passw|signature|credential|api_?key)[\w.-]{0,40}|sig)"
    r"(?:=|%3D))(?:(?!%26|&|\\u0026)[^\s\"'<>])+",
    re.IGNORECASE,
)
_USERINFO = re.compile(r"""(\b[a-z][a-z0-9+.-]{0,20}://)[^/\s"'<>?#]*(?=@)""", re.IGNORECASE)
_SHAPES = re.compile(r"\b(?:(?:hf_|rpa_|a[ks]-)[A-Za-z0-9]{20,}|(?:AKIA|ASIA)[0-9A-Z]{16})\b")


def redact(text: str, *, also: Iterable[str] = (), environ: Mapping[str, str] | None = None) -> str:
    """The text without secrets; `also` names further environment variables that hold one."""
    if pattern := _pattern(_values(os.environ if environ is None else environ, frozenset(also))):
        text = pattern.sub(HIDDEN, text)
    for place in (_HEADER, _BEARER, _QUERY, _USERINFO):
        text = place.sub(r"\g<1>" + HIDDEN, text)
    return _SHAPES.sub(HIDDEN, text)


def safe_url(url: str) -> str:
    """Scheme, host and path of a URL: no user, no query, no fragment."""
    from urllib.parse import urlsplit  # noqa: PLC0415 - brings ipaddress, and most logs name no URL

    try:
        parts = urlsplit(url)
        host = parts.netloc.rpartition("@")[2]
        known = f"{parts.scheme}://{host}{parts.path}" if parts.scheme and host else parts.path
    except ValueError:
        known = re.split(r"[?#]", url, maxsplit=1)[0]
    return redact(known)


def _values(environ: Mapping[str, str], also: frozenset[str]) -> frozenset[str]:
    return frozenset(
        value.strip()
        for name, value in environ.items()
        if len(value.strip()) >= _SHORTEST and (name in also or _SECRET_NAME.search(name))
    )


@functools.lru_cache(maxsize=8)
def _pattern(values: frozenset[str]) -> re.Pattern[str] | None:
    parts = sorted({part for value in values for part in _parts(value)}, key=lambda part: (-len(part), part))
    literals = sorted({spelling for part in parts for spelling in _spellings(part)}, key=len, reverse=True)
    patterns = [*map(re.escape, literals), *map(_percent_spelling, parts)]
    return re.compile("|".join(patterns)) if patterns else None


def _parts(value: str) -> Iterator[str]:
    """The value, and each line of it that is long enough to be told by itself."""
    yield value
    lines = value.splitlines()
    if len(lines) > 1:
        yield from (line.strip() for line in lines if len(line.strip()) >= _SHORTEST_LINE)


def _spellings(value: str) -> Iterator[str]:
    yield value
    yield json.dumps(value)[1:-1]
    yield json.dumps(value, ensure_ascii=False)[1:-1]
    yield repr(value)[1:-1]
    yield from _base64_spellings(value.encode("utf-8", "surrogateescape"))


def _base64_spellings(value: bytes) -> Iterator[str]:
    """Base64 of the value wherever it stood in what was encoded: only the letters that are all its own."""
    for before in range(3):
        packed = base64.b64encode(bytes(before) + value).rstrip(b"=").decode()
        end = len(packed) if (before + len(value)) % 3 == 0 else len(packed) - 1
        own = packed[(0, 2, 3)[before] : end]
        yield own
        yield own.replace("+", "-").replace("/", "_")


def _percent_spelling(value: str) -> str:
    """A pattern of the value in a URL or a form, however much of it was escaped."""
    return "".join(_percent_letter(letter) for letter in value)


def _percent_letter(letter: str) -> str:
    if letter.isascii() and letter.isalnum():
        return letter
    code = "".join(f"%{byte:02x}" for byte in letter.encode("utf-8", "surrogateescape"))
    plus = r"|\+" if letter == " " else ""
    return f"(?:{re.escape(letter)}|(?i:{code}){plus})"
