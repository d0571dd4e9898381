"""What a warm start pays for storage."""

from __future__ import annotations

import os
import subprocess
import sys


def test_a_warm_sync_loads_no_client_no_tls_and_no_other_origin() -> None:
    shown = "import sys; import coldstart_sdk.storage.sync; print(*sorted(sys.modules))"
    # What measures a child loads sockets and more into it before our first line.
    bare = {name: value for name, value in os.environ.items() if not name.startswith("COV")}

    loaded = set(
        subprocess.run(
            [sys.executable, "-c", shown], capture_output=True, text=True, check=True, env=bare
        ).stdout.split()
    )

    heavy = {
        "ssl",
        "socket",
        "http.client",
        "email",
        "urllib.request",
        "random",
        "shutil",
        "boto3",
        "huggingface_hub",
    }
    assert loaded & heavy == set()
    assert {name for name in loaded if name.startswith("coldstart_sdk.storage.")} == {
        f"coldstart_sdk.storage.{name}"
        for name in (
            *("blobs", "cancel", "chunks", "home", "manifests", "names"),
            *("report", "sync", "transient", "views", "weights"),
        )
    }
