"""What is loaded before anything heavy is imported beside a fetch, and what is not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

LOADED = """
import sys
from pathlib import Path
from coldstart_sdk.spec import Origin, WeightSpec
from coldstart_sdk.storage import ahead, home, sync

weight = WeightSpec(origin=Origin.URL, source="https://example.com/model.bin")
rooms, here = Path({home!r}), Path({home!r}, "project")
if {is_here}:
    ref = home.Home.open(rooms).ref(sync.ref_of(weight, here))
    ref.parent.mkdir(parents=True, exist_ok=True)
    ref.touch()
ahead.load([weight], store={store!r}, home=rooms, project=here)
print(*sorted(name.removeprefix("coldstart_sdk.storage.") for name in sys.modules))
"""


def loaded(folder: Path, *, is_here: bool = False, store: str | None = None) -> set[str]:
    code = LOADED.format(home=str(folder), is_here=is_here, store=store)
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return set(done.stdout.split())


def test_what_must_be_fetched_has_its_engine_and_its_origin_alone(tmp_path: Path) -> None:
    names = loaded(tmp_path)

    assert {"listing", "transfer", "streams", "origins.url"} <= names
    assert not {"origins.hf", "origins.s3", "stores.s3"} & names


def test_a_store_is_loaded_where_one_is_known(tmp_path: Path) -> None:
    assert "stores.s3" in loaded(tmp_path, store="s3://bucket/models")


def test_what_is_here_loads_no_engine(tmp_path: Path) -> None:
    assert not {"transfer", "streams", "origins.url"} & loaded(tmp_path, is_here=True)
