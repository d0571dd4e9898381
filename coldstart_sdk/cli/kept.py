"""Traces that starts have left behind, and the environment that they ran in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from coldstart_sdk.errors import UsageError
from coldstart_sdk.trace.model import Trace


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


def package_sizes() -> dict[str, int]:
    """Bytes of each installed distribution, by the packages that one imports from it: `torch/torchgen`."""
    from importlib.metadata import distributions, packages_distributions  # noqa: PLC0415 - slow

    sizes: dict[str, int] = {}
    for distribution in distributions():
        with suppress(OSError, ValueError, KeyError):  # a broken installation has no size
            sizes[distribution.name] = sum(file.size or 0 for file in distribution.files or ())
    packages: dict[str, list[str]] = {}
    for package, names in packages_distributions().items():
        for name in names:
            packages.setdefault(name, []).append(package)
    return {
        "/".join(sorted(packages[name])): size for name, size in sizes.items() if size and name in packages
    }
