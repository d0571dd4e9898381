"""Read the addresses of a declaration: `store=`, `results=`, `read_url=`, and buckets wherever they stand."""

from __future__ import annotations

import re
from urllib.parse import SplitResult, urlsplit

from coldstart_sdk.declare import secret
from coldstart_sdk.declare.findings import Findings
from coldstart_sdk.errors import Problem

_BUCKET = re.compile(r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]")
_STORE = 'a store is "s3://bucket/prefix" or the path of a folder'


def store(value: object, option: str, found: Findings) -> str | None:
    """Where bytes are kept: an address or a path."""
    if value is None:
        return None
    example = f'{option}="s3://bucket/prefix"'
    if isinstance(value, str) and secret.holds_key(value):
        found.on_option(
            f"{option} holds a key, which would be written into every bundle",
            option,
            fix=f"Write {example}; keys come from the environment or secrets=.",
        )
        return None
    text = found.text(value, option, example=example)
    if text is None:
        return None
    if wrong := store_fault(text, option):
        found.on_option(wrong.message, option, fix=wrong.fix)
    return text


def store_fault(text: str, named: str) -> Problem | None:
    """What keeps a text from being a store's address, wherever it was written; None for nothing."""
    scheme, colon, rest = text.partition(":")
    example, rest = "s3://bucket/prefix", rest.strip("/")
    if scheme in {"http", "https"} and colon:
        fix = f"Write {example}; the endpoint goes in AWS_ENDPOINT_URL, a CDN in read_url=."
        return Problem(message=f"{named}: {text!r} is a web address, and {_STORE}", fix=fix)
    if scheme in {"r2", "b2", "minio", "wasabi"} and colon:
        fix = f"Write s3://{rest}, and set AWS_ENDPOINT_URL."
        return Problem(message=f"{named}: {scheme}:// is spoken as s3://", fix=fix)
    if text.startswith("s3://"):
        return _bucket_fault(text, named, example)
    if colon and re.fullmatch(r"s3[an]?", scheme.lower()):
        return Problem(message=f"{named}: {text!r} is not an s3 address", fix=f'Write "s3://{rest}".')
    if "://" not in text and not text.startswith(("/", ".", "~")):
        fix = f"Write {example}; a folder of this machine begins with / or ./"
        return Problem(message=f"{named}: {text!r} is neither an address nor a path", fix=fix)
    return None


def read_url(value: object, found: Findings) -> str | None:
    if value is None:
        return None
    example = 'read_url="https://cdn.example.com/models"'
    if isinstance(value, str) and secret.holds_key(value):
        found.on_option(
            "read_url holds a key or a signature", "read_url", fix=f"Write the plain address: {example}."
        )
        return None
    text = found.text(value, "read_url", example=example)
    parts = split(text or "")
    if text and (parts is None or parts.scheme not in {"http", "https"} or not parts.hostname):
        found.on_option(
            f"read_url: {text!r} is not an http or https address", "read_url", fix=f"Write {example}."
        )
    return text


def check_bucket(url: str, keys: tuple[str, ...], found: Findings, *, example: str) -> bool:
    """Whether an `s3://` address is one; a mistake is noted."""
    if wrong := _bucket_fault(url, "/".join(keys), example):
        found.on_option(wrong.message, *keys, fix=wrong.fix)
    return wrong is None


def _bucket_fault(url: str, named: str, example: str) -> Problem | None:
    bucket, _, prefix = url.removeprefix("s3://").partition("/")
    clean = re.sub(r"[^a-z0-9-]+", "-", bucket.lower()).strip("-")
    parts = prefix.split("/")
    if not bucket:
        return Problem(message=f"{named} names no bucket", fix=f"Write {example}.")
    if not _BUCKET.fullmatch(bucket):
        such = f', such as "s3://{clean}/{prefix}".' if _BUCKET.fullmatch(clean) else "."
        return Problem(
            message=f"{named}: {bucket!r} is not a bucket name that every store takes",
            fix=f"A bucket has 3 to 63 lower-case letters, digits and dashes (a dot breaks TLS to it){such}",
        )
    if "" in parts[:-1] or {".", ".."} & set(parts) or "?" in prefix:
        return Problem(
            message=f"{named}: {prefix!r} is not a plain prefix",
            fix=f"Leave out empty parts, dots and queries: {example}.",
        )
    return None


def split(url: str) -> SplitResult | None:
    try:
        return urlsplit(url)
    except ValueError:
        return None
