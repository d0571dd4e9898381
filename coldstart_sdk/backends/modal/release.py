"""What was deployed from here, and how a bundle differs from it.

Modal keeps of a release its number and its tag; what was in it is kept beside the bundle.
"""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from coldstart_sdk import bundle as bundles
from coldstart_sdk.backends.modal.compile import MODULE, class_name
from coldstart_sdk.plan import Plan

FILE = "deployed.json"


def tag(plan: Plan, bundle: Path) -> str:
    """The class that a release serves, and the digest of its bundle."""
    digest = hashlib.sha256((bundle / bundles.MANIFEST).read_bytes()).hexdigest()
    return f"{class_name(plan.spec)}.{digest[:12]}"


def keep(bundle: Path, tag: str) -> None:
    """Remember what was deployed."""
    kept = {"tag": tag, "module": _module(bundle), "files": _files(bundle)}
    (bundle / FILE).write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")


def changes(bundle: Path, live: Mapping[str, Any], wanted: str) -> Iterator[str]:
    """What a deployment would change, a line each; `live` is empty where there is no release yet."""
    tag, version = live.get("tag"), live.get("version")
    yield f"release: {tag or (f'{version}, by `modal deploy` alone' if version else 'none')} -> {wanted}"
    known = _kept(bundle)
    if not tag:
        return
    if known.get("tag") != tag:
        yield "what is live was not deployed from this folder: its files are not known here"
        return
    before, after = known["module"].splitlines(), _module(bundle).splitlines()
    for line in difflib.unified_diff(before, after, lineterm="", n=0):
        if line[:1] in {"-", "+"} and line[:3] not in {"---", "+++"}:
            yield f"{MODULE}: {line[0]} {line[1:].strip()}"
    yield from _changed(known["files"], _files(bundle))


def _changed(before: Mapping[str, str], after: Mapping[str, str]) -> Iterator[str]:
    for path in sorted(before.keys() | after.keys()):
        if path != MODULE and before.get(path) != after.get(path):
            what = "is new" if path not in before else "goes away" if path not in after else "changes"
            yield f"{path}: {what}"


def _kept(bundle: Path) -> dict[str, Any]:
    """Empty where nothing was deployed from here, or what says so cannot be read."""
    try:
        kept = json.loads((bundle / FILE).read_text(encoding="utf-8"))
        return {"tag": str(kept["tag"]), "module": str(kept["module"]), "files": dict(kept["files"])}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _module(bundle: Path) -> str:
    return (bundle / MODULE).read_text(encoding="utf-8")


def _files(bundle: Path) -> dict[str, str]:
    files: dict[str, str] = json.loads((bundle / bundles.MANIFEST).read_text(encoding="utf-8"))["files"]
    return files
