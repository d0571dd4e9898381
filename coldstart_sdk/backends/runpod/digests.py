"""Which very image a name meant when it was looked up: `base.lock`, beside the declaration.

A name may mean another image tomorrow. `build --pin` asks its registry once; from then on a bundle is made
of what was written down, and no registry is asked.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

from coldstart_sdk.errors import BundleError

NAME = "base.lock"
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


def pinned(image: str, project: Path) -> str:
    """The image by its digest, where one is known; else as it is."""
    digest = None if "@" in image else _read(project).get(image)
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
