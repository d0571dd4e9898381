"""What may be set beside a declaration: flag > `COLDSTART_*` > declaration > `[tool.coldstart]` in pyproject.

A key that nobody knows is an error with its line, never ignored.
"""

from __future__ import annotations

import difflib
import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from coldstart_sdk.declare import addresses
from coldstart_sdk.errors import StorageError, UsageError
from coldstart_sdk.spec import Snapshot
from coldstart_sdk.storage import stores

LARGEST_BYTES = 1_000_000
"""A pyproject above this size is something else."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """One place's say on each setting; None where it says nothing."""

    home: str | None = None
    """Where files are kept between starts."""
    store: str | None = None
    snapshot: str | None = None
    target: str | None = None
    skip: str | None = None
    """Names of steps to leave out, joined by commas."""
    defer: str | None = None
    """Names of steps to put after READY, joined by commas."""


def of_environment(env: Mapping[str, str]) -> Settings:
    return Settings(**{name: env.get(f"COLDSTART_{name.upper()}") or None for name in _NAMES})


def of_project(folder: Path) -> Settings:
    """`[tool.coldstart]` of the nearest pyproject.toml, from the folder upwards."""
    path = next(
        (at / "pyproject.toml" for at in (folder, *folder.parents) if (at / "pyproject.toml").is_file()), None
    )
    if path is None:
        return Settings()
    text = _read(path)
    if "coldstart" not in text:
        return Settings()
    table = _table(text, path)
    found = {name: _value(name, value, path, text) for name, value in table.items()}
    if found.get("home"):
        found["home"] = str(path.parent / Path(found["home"] or "").expanduser())
    if said := found.get("store"):
        found["store"] = said if addresses.store_fault(said, "store") else stores.placed(said, path.parent)
    return Settings(**found)


def store(flag: str | None, env: Mapping[str, str], declared: str | None, project: Settings) -> str | None:
    """The user's own copy, from the highest place that names one."""
    of_env = of_environment(env).store
    places = (
        (flag, "--store"),
        (of_env, "COLDSTART_STORE"),
        (declared, "store="),
        (project.store, "store in [tool.coldstart]"),
    )
    named, where = next(((said, where) for said, where in places if said), (None, ""))
    if named and (wrong := addresses.store_fault(named, where)):
        raise UsageError(wrong.message, where=where, fix=wrong.fix)
    if named and where in {"--store", "COLDSTART_STORE"}:
        named = stores.placed(named, Path.cwd())  # a declared one begins at its file
    if named or env.get("ENABLE_S3_MODEL_CACHE", "").lower() in {"false", "0", "no"}:
        return named
    bucket = env.get("S3_BUCKET", "").strip()
    return f"s3://{bucket.removeprefix('s3://').strip('/')}/models/" if bucket else None


def snapshot(flag: str | None, env: Mapping[str, str], declared: Snapshot, project: Settings) -> Snapshot:
    said = flag or of_environment(env).snapshot
    if said is None and declared is Snapshot.AUTO:
        said = project.snapshot
    if said is None:
        return declared
    choices = [choice.value for choice in Snapshot]
    if said not in choices:
        raise UsageError(f"there is no snapshot {said!r}", fix=f"Choose one of {', '.join(choices)}.")
    return Snapshot(said)


def home(flag: str | None, env: Mapping[str, str], project: Settings) -> Path:
    """COLDSTART_HOME; made, and known to be writable."""
    said = flag or of_environment(env).home or project.home
    path = Path(said).expanduser() if said else _cache_folder(env) / "coldstart"
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as refused:
        raise _unwritable(path, refused.strerror or str(refused)) from refused
    if not os.access(path, os.W_OK | os.X_OK):
        raise _unwritable(path, "you may not write there")
    return path.resolve()


_NAMES = tuple(field.name for field in fields(Settings))


def _cache_folder(env: Mapping[str, str]) -> Path:
    said = env.get("XDG_CACHE_HOME", "")
    if said.startswith("/"):
        return Path(said)
    own = env.get("HOME", "")
    if not own.startswith("/"):
        raise UsageError(
            "HOME is not set, so there is no place to keep files between starts",
            fix="Set HOME, or COLDSTART_HOME to a folder that you may write to.",
        )
    return Path(own) / ("Library/Caches" if sys.platform == "darwin" else ".cache")


def _unwritable(path: Path, why: str) -> StorageError:
    return StorageError(
        f"cannot keep files in COLDSTART_HOME: {why}",
        where=str(path),
        fix="Set COLDSTART_HOME to a folder that you may write to, on a disk with room for the weights.",
    )


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST_BYTES + 1)
    except OSError as refused:
        raise UsageError(
            f"pyproject.toml cannot be read: {refused.strerror}", where=str(path), fix="Make it readable."
        ) from refused
    if len(data) > LARGEST_BYTES:
        raise UsageError(
            f"pyproject.toml is larger than {LARGEST_BYTES // 1000} kB: that is no settings file",
            where=str(path),
            fix="Move what is not settings out of it.",
        )
    try:
        return data.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as exc:
        line = data[: exc.start].count(b"\n") + 1
        raise UsageError(
            "pyproject.toml is not UTF-8", where=f"{path}:{line}", fix="Save it as UTF-8."
        ) from exc


def _table(text: str, path: Path) -> Mapping[str, Any]:
    if sys.version_info >= (3, 11):
        import tomllib  # noqa: PLC0415 - only a project with settings pays for it
    else:
        import tomli as tomllib  # noqa: PLC0415 - as above
    try:
        table = tomllib.loads(text).get("tool", {}).get("coldstart", {})
    except tomllib.TOMLDecodeError as exc:
        said, line = str(exc), re.search(r"at line (\d+)", str(exc))
        raise UsageError(
            f"pyproject.toml is not TOML: {said.partition(' (at ')[0]}",
            where=f"{path}:{line[1]}" if line else str(path),
            fix="Mend that line; a key may stand only once.",
        ) from exc
    if not isinstance(table, dict):
        raise UsageError("[tool.coldstart] is not a table", where=str(path), fix="Write [tool.coldstart].")
    return table


def _value(name: str, value: object, path: Path, text: str) -> str:
    where = f"{path}:{_line(name, text)}"
    if name not in _NAMES:
        near = difflib.get_close_matches(name, _NAMES, n=1)
        have = f"The keys are {', '.join(_NAMES)}."
        raise UsageError(
            f"[tool.coldstart] has no key {name!r}",
            where=where,
            fix=f"Did you mean {near[0]!r}? {have}" if near else have,
        )
    if name in {"skip", "defer"} and isinstance(value, list) and all(isinstance(item, str) for item in value):
        return ",".join(value)
    if not isinstance(value, str) or not value.strip():
        raise UsageError(
            f"{name} in [tool.coldstart] is not a string that says something",
            where=where,
            fix=f'Write {name} = "…".',
        )
    return value


def _line(name: str, text: str) -> int:
    """The line of a key below [tool.coldstart]; of the table itself where it is spelled in another way."""
    key = re.compile(rf"""\s*["']?{re.escape(name)}["']?\s*[.=]""")
    table = None
    for number, line in enumerate(text.splitlines(), 1):
        if re.match(r"\s*\[tool\.coldstart", line):
            table = number
        elif table is not None and key.match(line):
            return number
    return table or 1
