"""The real `modal` package in each version that we promise: the installed one, and two minors before it.

The older ones lie in `DIR/modal-VERSION`, where DIR is the environment's own folder. `make test` puts them
there, without dependencies, which are the same; the Makefile names the versions once more.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from importlib import metadata, util
from pathlib import Path

import pytest

OLDER = ("1.5.5", "1.4.3")


@dataclass(frozen=True, kw_only=True)
class Client:
    """One version of the package, for processes that a test starts."""

    version: str
    path: Path | None = None
    """Where it lies, if it is not the installed one."""

    def env(self, **more: str) -> dict[str, str]:
        """An environment in which this version is found, and no account is."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("MODAL_")}
        path = {"PYTHONPATH": str(self.path)} if self.path else {}
        return {**kept, "MODAL_CONFIG_PATH": "/nonexistent/modal.toml", "NO_COLOR": "1", **path, **more}


def _clients() -> list[object]:
    if util.find_spec("modal") is None:
        skip = pytest.mark.skip(reason="could not import 'modal': No module named 'modal'")
        return [pytest.param(Client(version="none"), marks=skip, id="none")]
    newest = metadata.version("modal")
    params: list[object] = [pytest.param(Client(version=newest), id=newest)]
    for version in OLDER:
        path = Path(sys.prefix) / f"modal-{version}"
        reason = (
            f"could not import 'modal.{version.replace('.', '_')}': {path.name} is not beside the environment"
        )
        marks = [] if path.is_dir() else [pytest.mark.skip(reason=reason)]
        params.append(pytest.param(Client(version=version, path=path), id=version, marks=marks))
    return params


CLIENTS = _clients()
every_client = pytest.mark.parametrize("client", CLIENTS)
newest_client = pytest.mark.parametrize("client", CLIENTS[:1])
