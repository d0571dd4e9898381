"""Origins whose client is an extra, where it is not installed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize(
    ("origin", "package", "extra"), [("hf", "huggingface_hub", "hf"), ("s3", "boto3", "s3")]
)
def test_a_client_that_is_not_installed_is_named_with_its_command(
    origin: str, package: str, extra: str, tmp_path: Path
) -> None:
    blocked = f"""
import sys
sys.modules["{package}"] = None
sys.modules["botocore"] = None
import threading
from pathlib import Path
from coldstart_sdk.errors import StorageError
from coldstart_sdk.events import ignore
from coldstart_sdk.spec import Origin, WeightSpec
from coldstart_sdk.storage.sync import sync
try:
    sync("w", WeightSpec(origin=Origin("{origin}"), source="s3://a/b"), home=Path(sys.argv[1]),
         project=Path(), step="fetch:w", emit=ignore, cancelled=threading.Event())
except StorageError as refused:
    print(refused.message, refused.fix, sep="|")
"""
    done = subprocess.run(
        [sys.executable, "-c", blocked, str(tmp_path)], capture_output=True, text=True, check=True
    )

    message, _, fix = done.stdout.strip().partition("|")

    assert package in message
    assert f"pip install 'coldstart-sdk[{extra}]'" in fix
