"""Which very image a name means: as it is known here, or as `base.lock` beside the declaration says.

A name may mean another image tomorrow. The official ones are known by what their publishers last said of
them; `build --pin` asks the registry, of any image, and what it writes down goes first. A bundle is then
made of what was known, and no registry is asked.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

from coldstart_sdk.errors import BundleError

NAME = "base.lock"
# Of August and September 2026. Python's are those of github.com/docker-library/repo-info, which lists what
# Docker Hub has; NVIDIA's are what Docker Hub shows, as several public Dockerfiles have recorded them.
OFFICIAL: Mapping[str, str] = {
    name: f"sha256:{digest}"
    for name, digest in {
        "python:3.10-slim-bookworm": "68d914ec641a0b69267ce65184d000a2bc3a9ee2590ab702b82250ab2385735a",
        "python:3.11-slim-bookworm": "a36c24f9cbdf4fd0f52d67f0823eeac19c2028c637cecc392d97f980d4fec56b",
        "python:3.12-slim-bookworm": "782412e85d0f0984994c290652577d4018aff08145c85b262bb63dc0c7522254",
        "python:3.13-slim-bookworm": "67a1e1f215ccda113cfc024e8639049257e88f273898f595b61476d128d387e8",
        "nvidia/cuda:12.1.1-cudnn8-devel-ubuntu22.04": (
            "21196d81f56b48dbee70494d5f10322e1a77cc47ffe202a3bf68eab81533c20f"
        ),
        "nvidia/cuda:12.4.1-cudnn-devel-ubuntu22.04": (
            "622e78a1d02c0f90ed900e3985d6c975d8e2dc9ee5e61643aed587dcf9129f42"
        ),
        "nvidia/cuda:12.6.3-cudnn-devel-ubuntu24.04": (
            "0f8250615943f311785f9ce6379a49520a4b53c124d22b42ba859edf93af3991"
        ),
        "nvidia/cuda:12.8.1-cudnn-devel-ubuntu24.04": (
            "24c8e3581ea6330038b0d374920721983312627f8adbfcf390bdb4b399d280ed"
        ),
    }.items()
}
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


def pinned(image: str, project: Path) -> str:
    """The image by its digest, where one is known; else as it is."""
    digest = None if "@" in image else {**OFFICIAL, **_read(project)}.get(image)
    return f"{image}@{digest}" if digest else image


def pin(image: str, project: Path) -> Path:
    """Write down what the name means now."""
    from coldstart_sdk.backends.runpod.registry import Reference, Repository  # noqa: PLC0415 - only `--pin` asks

    name = image.partition("@")[0]
    asked = Reference.parse(image)
    digest = Repository(asked.host, asked.repository).digest(asked.tag)
    path = project / NAME
    known = {**_read(project), name: digest}
    path.write_text(json.dumps(known, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    return path


def _read(project: Path) -> Mapping[str, str]:
    path = project / NAME
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError):
        known = None
    if not isinstance(known, dict) or not all(_DIGEST.fullmatch(str(each)) for each in known.values()):
        raise BundleError(
            f"{NAME} does not hold digests of images",
            fix="Remove it, and write it again: coldstart build FILE --target runpod --pin",
            where=str(path),
        )
    return known
