"""Python's literals and calls as `ruff format` would write them, whatever its line length.

A call is either short on one line or has one argument a line with a trailing comma; neither is ever changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

SHORT = 60
"""Room on one line; the rest of its 80 is for what stands in front."""


def text(value: str) -> str:
    """A string, in the quotes that need fewer escapes."""
    quote = "'" if value.count('"') > value.count("'") else '"'
    return quote + "".join(_letter(letter, quote) for letter in value) + quote


def value(given: object, indent: int = 0) -> str:
    """Plain data: what JSON can hold, and tuples."""
    match given:
        case str():
            return text(given)
        case Mapping():
            return _bracketed(
                "{", (f"{text(str(k))}: {value(v, indent + 4)}" for k, v in given.items()), "}", indent
            )
        case list() | tuple():
            return _bracketed("[", (value(item, indent + 4) for item in given), "]", indent)
        case _:
            return repr(given)


def call(name: str, arguments: Sequence[str], indent: int = 0) -> str:
    """A call of these arguments, spelled already."""
    return f"{name}{_bracketed('(', arguments, ')', indent)}"


def _bracketed(opening: str, items: Iterable[str], closing: str, indent: int) -> str:
    parts = list(items)
    line = f"{opening}{', '.join(parts)}{closing}"
    if len(line) <= SHORT and "\n" not in line:
        return line
    inner = " " * (indent + 4)
    return "\n".join((opening, *(f"{inner}{part}," for part in parts), f"{' ' * indent}{closing}"))


def _letter(letter: str, quote: str) -> str:
    if letter in {"\\", quote}:
        return f"\\{letter}"
    return letter if letter.isprintable() else repr(letter)[1:-1]
