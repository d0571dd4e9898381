"""Tell a secret's value from its name. What it finds is never shown."""

from __future__ import annotations

import re

_KEYS = re.compile(
    r"""
      \bhf_[A-Za-z0-9]{8,}           # Hugging Face
    | \b(?:AKIA|ASIA)[A-Z0-9]{12,}   # AWS
    | \bsk-[A-Za-z0-9_-]{8,}         # OpenAI and those who copied it
    | \b(?:ghp|gho|ghs|ghu)_[A-Za-z0-9]{16,} | \bgithub_pat_[A-Za-z0-9_]{16,}
    | \bglpat-[A-Za-z0-9_-]{8,}
    | \brpa?_[A-Za-z0-9]{16,}        # RunPod
    | \b(?:ak|as)-[A-Za-z0-9]{16,}   # Modal
    | \bxox[abprs]-[A-Za-z0-9-]{8,}
    | \bAIza[A-Za-z0-9_-]{20,}       # Google
    | \beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}   # a JSON web token
    | -----BEGIN\ [A-Z ]*PRIVATE\ KEY
    | ://[^/\s:@]+:[^/\s@]+@         # a URL with a password
    | [?&](?i:X-Amz-Signature|X-Amz-Credential|Signature|sig|token|access_token)=[^&\s]{8,}
    | [?&](?i:(?:[\w.-]*[_.-])?(?:(?:api|access|auth)_?)?
        (?:key|token|secret|signature|sig|password|passwd|pwd|credentials?|auth))=[^&\s]+
    """,
    re.VERBOSE,
)
_SECRET_NAME = re.compile(r"(?:^|_)(?:TOKEN|SECRET|PASSWORD|PASSWD|APIKEY|KEY|CREDENTIALS?)$", re.IGNORECASE)
_HEX = re.compile(r"(?:[0-9a-f]{32,}|[0-9A-F]{32,})")
_DENSE = re.compile(r"[A-Za-z0-9+/=_-]{32,}")


def holds_key(text: str) -> bool:
    """Whether a key of a known make, a password in a URL or a signed URL stands somewhere in the text."""
    return _KEYS.search(text) is not None


def is_value(text: str) -> bool:
    """Whether the text, where a secret's name belongs, is the secret itself."""
    return holds_key(text) or "=" in text or bool(_HEX.fullmatch(text)) or _is_dense(text)


def is_value_of(name: str, text: str) -> bool:
    """Whether a variable of that name would carry a secret into a file that anyone may read."""
    if holds_key(text):
        return True
    random_looking = bool(_HEX.fullmatch(text)) or _is_dense(text)
    short_key = bool(re.fullmatch(r"[\w.+/=-]{8,}", text)) and any(c.isdigit() for c in text)
    return bool(_SECRET_NAME.search(name)) and (random_looking or short_key)


def _is_dense(text: str) -> bool:
    """Long, and of mixed letters and digits as no name is."""
    return bool(_DENSE.fullmatch(text)) and all(
        re.search(letters, text) for letters in ("[a-z]", "[A-Z]", "[0-9]")
    )
