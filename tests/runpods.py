"""The real `runpod` package in each version that we promise: the installed one, and the next one's candidate.

That one lies in `DIR/runpod-VERSION`, where DIR is the environment's own folder; it was put there by
`pip install --no-deps --target DIR/runpod-VERSION runpod==VERSION`: what its worker needs is the same.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from importlib import metadata, util
from pathlib import Path

import pytest

NEXT = ("2.0.0rc2",)


@dataclass(frozen=True, kw_only=True)
class RunPod:
    """One version of the package, for processes that a test starts."""

    version: str
    path: Path | None = None
    """Where it lies, if it is not the installed one."""

    @property
    def env(self) -> dict[str, str]:
        """What makes a process find this version."""
        return {"PYTHONPATH": str(self.path)} if self.path else {}


def _versions() -> list[object]:
    if util.find_spec("runpod") is None:
        skip = pytest.mark.skip(reason="could not import 'runpod': No module named 'runpod'")
        return [pytest.param(RunPod(version="none"), marks=skip, id="none")]
    installed = metadata.version("runpod")
    params: list[object] = [pytest.param(RunPod(version=installed), id=installed)]
    for version in NEXT:
        path = Path(sys.prefix) / f"runpod-{version}"
        module = f"runpod.{version.replace('.', '_')}"
        reason = f"could not import '{module}': {path.name} is not beside the environment"
        marks = [] if path.is_dir() else [pytest.mark.skip(reason=reason)]
        params.append(pytest.param(RunPod(version=version, path=path), id=version, marks=marks))
    return params


VERSIONS = _versions()
