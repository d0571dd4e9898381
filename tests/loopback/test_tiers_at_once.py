"""The sets of one start, each from the tier that has it, at the same time."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from coldstart_sdk.rehearsal.origin import Origin
from coldstart_sdk.rehearsal.s3 import S3
from tests.commands import a_project, coldstart
from tests.syncing import content, sha256

SIZE = 3 << 20
RATE_BYTES_S = 3e6
STORE = "s3://bucket/models"
DECLARED = """
@warm_model(weights={{
    "kept": Weights.url("{origin}/kept.bin", sha256="{kept}"),
    "fresh": Weights.url("{origin}/fresh.bin", sha256="{fresh}"),
}})
class Voice:
    @hook.load
    def load(self, weights):
        self.names = list(weights)

    @endpoint
    def speak(self) -> str:
        return "spoken"
"""


def test_one_weight_comes_from_the_store_while_another_comes_from_its_origin(tmp_path: Path) -> None:
    served, project = tmp_path / "served", tmp_path / "project"
    served.mkdir()
    kept, fresh = content(SIZE, seed=51), content(SIZE, seed=52)
    (served / "kept.bin").write_bytes(kept)
    (served / "fresh.bin").write_bytes(fresh)
    with (
        Origin(served, rate_bytes_s=RATE_BYTES_S) as origin,
        S3(tmp_path / "s3", rate_bytes_s=RATE_BYTES_S) as s3,
    ):
        a_project(
            project,
            DECLARED.format(origin=origin.url("").rstrip("/"), kept=sha256(kept), fresh=sha256(fresh)),
        )
        env = {
            "COLDSTART_HOME": str(tmp_path / "home"),
            "AWS_ENDPOINT_URL": s3.endpoint,
            "AWS_ACCESS_KEY_ID": "AKIACANARY",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_DEFAULT_REGION": "us-east-1",
        }
        coldstart("weights", "push", "app.py", "kept", "--store", STORE, cwd=project, env=env)
        shutil.rmtree(tmp_path / "home")

        said = coldstart("run", "app.py", "--store", STORE, "--trace", "start.json", cwd=project, env=env)

    assert said.code == 0, said.err
    files = _files(json.loads((project / "start.json").read_text()))
    assert {name: file["tier"] for name, file in files.items()} == {
        "kept.bin": "store",
        "fresh.bin": "origin",
    }
    began, ended = ([file[edge] for file in files.values()] for edge in ("start_s", "end_s"))
    assert max(began) < min(ended)


def _files(trace: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Each fetched file's span, by its name."""
    return {
        span["name"].rpartition("/")[2]: span
        for span in trace["spans"]
        if span.get("tier") in {"store", "origin"} and ".bin" in span["name"]
    }
