"""No secret passes, in whatever spelling; what is no secret stays readable."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coldstart_sdk.redact import redact, safe_url

SPELLINGS: dict[str, Callable[[str], str]] = {
    "raw": str,
    "percent": lambda secret: quote(secret, safe=""),
    "percent in a path": quote,
    "percent, lower case": lambda secret: "".join(
        f"%{byte:02x}" if not chr(byte).isalnum() or byte > 127 else chr(byte) for byte in secret.encode()
    ),
    "form": quote_plus,
    "json": json.dumps,
    "json, utf-8": lambda secret: json.dumps(secret, ensure_ascii=False),
    "repr": repr,
    "basic auth": lambda secret: base64.b64encode(f"user:{secret}".encode()).decode(),
    "base64": lambda secret: base64.b64encode(secret.encode()).decode(),
    "base64 within more": lambda secret: base64.urlsafe_b64encode(f"ab{secret}cd".encode()).decode(),
}
SECRETS = st.text(
    alphabet=st.characters(min_codepoint=33, max_codepoint=0x2FF, exclude_categories=("Cs", "Cc", "Zs")),
    min_size=8,
    max_size=60,
)
NAMES = st.sampled_from(["HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "apiKey", "DB_PASSWORD", "GOOGLE_CREDENTIALS"])
SINKS = st.sampled_from(
    ["{}", "url=https://host/key?a={}&b=1", '{{"a": "{}"}}', "line\nvalue: {}\n", "\\x1b[1m{}\\x1b[0m"]
)


@given(secret=SECRETS, name=NAMES, spelling=st.sampled_from(sorted(SPELLINGS)), sink=SINKS)
def test_a_secret_of_the_environment_passes_in_no_spelling(
    secret: str, name: str, spelling: str, sink: str
) -> None:
    spelled = SPELLINGS[spelling](secret)

    said = redact(sink.format(spelled), environ={name: secret, "HOME": "/root"})

    # Two letters at each end of base64 are shared with what stands around the secret.
    core = spelled.strip("\"'=")
    core = core[8:-3] if "auth" in spelling or "within" in spelling else core
    assert core not in said
    assert "***" in said


@given(text=st.text(max_size=200))
def test_redacting_twice_changes_nothing_more(text: str) -> None:
    once = redact(text, environ={})

    assert redact(once, environ={}) == once


CANARY = "c4n4ryS3cretV4lue/+x"


@pytest.mark.parametrize(
    ("text", "stays"),
    [
        (f"Authorization: Bearer {CANARY}\nHost: h", "Host: h"),
        (f"authorization: Basic {CANARY}", "authorization"),
        (f"{{'Authorization': 'Bearer {CANARY}', 'Host': 'h'}}", "'Host': 'h'"),
        (f'{{"authorization": "{CANARY}", "a": 1}}', '"a": 1'),
        (f'"{{\\"Authorization\\": \\"token {CANARY}\\"}}"', "Authorization"),
        (f"(b'authorization', b'Bearer {CANARY}'), (b'host', b'h')", "b'host'"),
        (f"Proxy-Authorization: Basic {CANARY}", "Proxy-Authorization"),
        (
            f"Authorization: AWS4-HMAC-SHA256 Credential=AKIA/x, SignedHeaders=host, Signature={CANARY}",
            "Authorization",
        ),
        (f"curl -H 'Authorization: Bearer {CANARY}' https://host/key", "https://host/key"),
        (f"sent Bearer {CANARY} to host", "to host"),
        (f"GET https://host/key?X-Amz-Signature={CANARY}&partNumber=3", "https://host/key"),
        (f"https://host/key?partNumber=3&x-amz-security-token={CANARY}", "partNumber=3"),
        (f"https://host/key?a=1\\u0026X-Amz-Credential={CANARY}", "https://host/key?a=1"),
        (f"https://host/key?a=1&amp;Signature={CANARY}", "https://host/key"),
        (f"to=https%3A%2F%2Fhost%2Fkey%3FX-Amz-Signature%3D{CANARY}%26a%3D1", "%26a%3D1"),
        (f"https://cdn/key?Policy={CANARY}&Key-Pair-Id={CANARY}", "https://cdn/key"),
        (f"https://host/?access_token={CANARY}", "https://host/"),
        ("https://me:c4n4ryS3cretV4lue@host/key", "@host/key"),
        ("s3://c4n4ryS3cretV4lue@host:9000/key", "@host:9000/key"),
        ("hf_c4n4ryS3cretV4lueAAAAAAA is a token", "is a token"),
    ],
)
def test_a_secret_is_known_by_where_it_stands(text: str, stays: str) -> None:
    said = redact(text, environ={})

    assert "c4n4ry" not in said
    assert stays in said


@pytest.mark.parametrize(
    "text",
    [
        "the author said: yes",
        "loaded SWivid/F5-TTS at 0123456789abcdef in 3.2 s",
        "https://host/key?partNumber=3&uploadId=7",
        "mail me@example.org about https://example.org/a@b",
        "step warmup:warm ended",
    ],
)
def test_ordinary_text_stays_as_it_is(text: str) -> None:
    assert redact(text, environ={"TOKENIZERS_PARALLELISM": "false", "SHORT_KEY": "warm"}) == text


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "piece", ["a", "a.", "http://", "?token", "token", "Authorization", "%26", "\\u0026"]
)
def test_a_long_text_made_to_be_slow_is_not(piece: str) -> None:
    text = "?" + piece * (400_000 // len(piece))

    assert redact(text, environ={}) == text


def test_a_secret_of_several_lines_is_hidden_line_by_line() -> None:
    key = "-----BEGIN KEY-----\nMIIEvQIBADANBgkqhkiG9w0B\nshort\n-----END KEY-----"

    said = redact("read MIIEvQIBADANBgkqhkiG9w0B, then short", environ={"PRIVATE_KEY": key})

    assert said == "read ***, then short"


def test_a_declared_secret_needs_no_telling_name() -> None:
    assert (
        redact("the value is longenough1", also=("DSN",), environ={"DSN": "longenough1"})
        == "the value is ***"
    )


def test_the_process_environment_is_read_at_each_call(monkeypatch: pytest.MonkeyPatch) -> None:
    assert redact("late-secret-value") == "late-secret-value"

    monkeypatch.setenv("LATE_TOKEN", "late-secret-value")

    assert redact("late-secret-value") == "***"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://u:p@host:8443/a/b.wav?X-Amz-Signature=x#f", "https://host:8443/a/b.wav"),
        ("s3://bucket/key", "s3://bucket/key"),
        ("https://[::1]:80/x?y", "https://[::1]:80/x"),
        ("https://[broken/x?secret", "https://[broken/x"),
        ("/only/a/path?secret", "/only/a/path"),
        ("", ""),
    ],
)
def test_a_safe_url_is_scheme_host_and_path(url: str, shown: str) -> None:
    assert safe_url(url) == shown
