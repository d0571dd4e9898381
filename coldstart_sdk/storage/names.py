"""The one rule for names of files inside a set.

A name that passes is safe on every file system we write to, stays inside the directory it is joined to, and
is told apart from every other name of its set even where case and Unicode form are folded.
"""

from __future__ import annotations

from collections.abc import Iterable

from coldstart_sdk.errors import StorageError

COMPONENT_BYTES = 255
PATH_BYTES = 1024
_RESERVED = frozenset(
    ["aux", "con", "nul", "prn", *(f"com{i}" for i in range(1, 10)), *(f"lpt{i}" for i in range(1, 10))]
)


def misfit(name: str) -> str | None:  # noqa: PLR0911 - a list of rules, one line each
    """What is wrong with a name; None for a good one."""
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        return "is not Unicode text"
    if not name:
        return "is empty"
    if size > PATH_BYTES:
        return f"is longer than {PATH_BYTES} bytes"
    if any(ord(letter) < 32 or ord(letter) == 127 for letter in name):  # noqa: PLR2004 - the control characters
        return "has a control character"
    if "\\" in name:
        return "has a backslash"
    if name.startswith("/") or name[1:2] == ":":
        return "is absolute"
    return next(filter(None, map(_misfit_of_part, name.split("/"))), None)


def _misfit_of_part(part: str) -> str | None:
    if part == "":
        return "has an empty part"
    if part in {".", ".."}:
        return f"has a {part!r} part"
    if len(part.encode()) > COMPONENT_BYTES:
        return f"has a part longer than {COMPONENT_BYTES} bytes"
    if part[-1] in ". " or part[0] == " ":
        return "has a part that begins or ends with a space, or ends with a dot"
    if part.partition(".")[0].lower() in _RESERVED:
        return f"has the part {part!r}, which some systems reserve"
    return None


def check(names: Iterable[str], *, where: str) -> None:
    """Refuse a set of names of which one could leave its directory, or hide another."""
    seen: dict[str, str] = {}
    folders: dict[str, str] = {}
    for name in names:
        if wrong := misfit(name):
            raise _refused(f"the file name {name!r} {wrong}", where)
        folded = _fold(name)
        if folded in seen:
            raise _refused(f"{seen[folded]!r} and {name!r} are one name on some systems", where)
        seen[folded] = name
        for folder in _folders(name):
            if folders.setdefault(_fold(folder), folder) != folder:
                raise _refused(
                    f"{folders[_fold(folder)]!r} and {folder!r} are one folder on some systems", where
                )
    if both := sorted(seen.keys() & folders.keys()):
        raise _refused(f"{seen[both[0]]!r} is both a file and a folder", where)


def _folders(name: str) -> Iterable[str]:
    parts = name.split("/")[:-1]
    return ("/".join(parts[: i + 1]) for i in range(len(parts)))


def _fold(name: str) -> str:
    if name.isascii():
        return name.lower()
    import unicodedata  # noqa: PLC0415 - rare, and a megabyte of tables

    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def _refused(message: str, where: str) -> StorageError:
    return StorageError(
        message, where=where, fix="Leave that file out with exclude=[…], or rename it at its origin."
    )
