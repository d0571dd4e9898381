"""Traces that starts have left behind, and the environment that they ran in."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from coldstart_sdk.errors import UsageError
from coldstart_sdk.trace.model import Trace

if TYPE_CHECKING:
    from importlib.metadata import Distribution


def traces(home: Path) -> Iterator[Path]:
    """The kept ones, the newest first."""
    found = [*(home / "traces").glob("*.trace.json")]
    yield from sorted(found, key=lambda path: path.stat().st_mtime_ns, reverse=True)


def newest(home: Path) -> Path:
    path = next(traces(home), None)
    if path is None:
        raise UsageError(
            f"no start has been traced in {home}",
            fix="Start one, `coldstart run FILE`, or name a trace.",
        )
    return path


def read(path: Path) -> Trace:
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as exc:
        raise UsageError(
            "this is not a trace: it is not UTF-8", fix="Name a JSON trace.", where=str(path)
        ) from exc
    except OSError as refused:
        raise UsageError(
            f"{path} cannot be read: {refused.strerror}",
            fix="Name a file that `coldstart run --trace` wrote.",
        ) from refused
    return Trace.from_json(text, where=str(path))


def package_sizes(declared: Iterable[str]) -> dict[str, int]:
    """Bytes of what these requirements bring, each by the packages that one imports: `torch/torchgen`."""
    from importlib.metadata import distributions, packages_distributions  # noqa: PLC0415 - slow

    installed = {_plain(distribution.name): distribution for distribution in distributions()}
    packages: dict[str, list[str]] = {}
    for package, names in packages_distributions().items():
        for name in names:
            packages.setdefault(_plain(name), []).append(package)
    sizes: dict[str, int] = {}
    for name in _brought(declared, installed):
        with suppress(OSError, ValueError):  # a broken installation has no size
            size = sum(file.size or 0 for file in installed[name].files or ())
            if size and name in packages:
                sizes["/".join(sorted(packages[name]))] = size
    return sizes


def _brought(declared: Iterable[str], installed: Mapping[str, Distribution]) -> Iterator[str]:
    """The distributions that are declared and here, and those that they require."""
    waiting = [*declared]
    seen: set[str] = set()
    while waiting:
        name = _plain(waiting.pop())
        if name in seen or name not in installed:
            continue
        seen.add(name)
        yield name
        waiting += [need for need in installed[name].requires or () if "extra ==" not in need]


def _plain(requirement: str) -> str:
    """`F5_TTS==1.1` as indexes compare it: `f5-tts`."""
    name = re.match(r"[A-Za-z0-9._-]*", requirement)
    return re.sub(r"[-_.]+", "-", name[0] if name else "").lower()
