"""What baked weights were pinned to when the image was built."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from coldstart_sdk import record
from coldstart_sdk.spec import WeightSpec

_FILE = "pins.json"


def read(home: Path) -> Mapping[str, WeightSpec]:
    """Each baked weight, as a declaration that means exactly what lies there; empty where nothing does."""
    try:
        return record.from_data(dict[str, WeightSpec], json.loads((home / _FILE).read_text()))
    except FileNotFoundError:
        return {}


def write(home: Path, pins: Mapping[str, WeightSpec]) -> None:
    (home / _FILE).write_text(json.dumps(record.to_data(pins), indent=2) + "\n")
