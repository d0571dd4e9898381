"""What a caller wants to be sent, from its Accept header."""

from __future__ import annotations

from collections.abc import Iterator


def wants_raw(accept: str, kind: str) -> bool:
    """Whether bytes of this type are wanted rather than JSON: named, or its family; `*/*` names nothing."""
    if not accept or accept == "*/*":
        return False
    asked = dict(_read(accept))
    raw = max(asked.get(kind, 0.0), asked.get(kind.partition("/")[0] + "/*", 0.0))
    return raw > asked.get("application/json", 0.0)


def wants(accept: str, kind: str) -> bool:
    """Whether this very type is named."""
    return kind in accept and dict(_read(accept)).get(kind, 0.0) > 0


def _read(accept: str) -> Iterator[tuple[str, float]]:
    for part in accept.lower().split(","):
        kind, *options = (each.strip() for each in part.split(";"))
        weight = next((option[2:] for option in options if option.startswith("q=")), "1")
        yield kind, _number(weight)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0
