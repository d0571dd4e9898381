"""Read the addresses of a declaration: `store=`, `results=`, `read_url=`, and buckets wherever they stand."""

from __future__ import annotations

import re
from urllib.parse import SplitResult, urlsplit

from coldstart_sdk.declare import secret
from coldstart_sdk.declare.findings import Findings

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
    scheme, colon, rest = text.partition(":")
    if colon and re.fullmatch(r"s3[an]?", scheme.lower()) and not text.startswith("s3://"):
        fix = f'Write {option}="s3://{rest.strip("/")}".'
        found.on_option(f"{option}: {text!r} is not an s3 address", option, fix=fix)
    elif scheme in {"http", "https"} and colon:
        found.on_option(
            f"{option}: {text!r} is a web address, and {_STORE}",
            option,
            fix=f"Write {example}; the endpoint goes in AWS_ENDPOINT_URL, a CDN in read_url=.",
        )
    elif scheme in {"r2", "b2", "minio", "wasabi"} and colon:
        found.on_option(
            f"{option}: {scheme}:// is spoken as s3://",
            option,
            fix=f'Write {option}="s3://{rest.strip("/")}", and set AWS_ENDPOINT_URL.',
        )
    elif text.startswith("s3://"):
        check_bucket(text, (option,), found, example=example)
    return text


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
    name = "/".join(keys)
    bucket, _, prefix = url.removeprefix("s3://").partition("/")
    clean = re.sub(r"[^a-z0-9-]+", "-", bucket.lower()).strip("-")
    parts = prefix.split("/")
    if not bucket:
        found.on_option(f"{name} names no bucket", *keys, fix=f"Write {example}.")
    elif not _BUCKET.fullmatch(bucket):
        found.on_option(
            f"{name}: {bucket!r} is not a bucket name that every store takes",
            *keys,
            fix="A bucket has 3 to 63 lower-case letters, digits and dashes (a dot breaks TLS to it)"
            + (f', such as "s3://{clean}/{prefix}".' if _BUCKET.fullmatch(clean) else "."),
        )
    elif "" in parts[:-1] or {".", ".."} & set(parts) or "?" in prefix:
        found.on_option(
            f"{name}: {prefix!r} is not a plain prefix",
            *keys,
            fix=f"Leave out empty parts, dots and queries: {example}.",
        )
    else:
        return True
    return False


def split(url: str) -> SplitResult | None:
    try:
        return urlsplit(url)
    except ValueError:
        return None
