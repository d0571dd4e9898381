"""What this machine can do as a target."""

from __future__ import annotations

from coldstart_sdk.plan import Capabilities
from coldstart_sdk.spec import Place, Snapshot

CAPABILITIES = Capabilities(
    title="This machine",
    snapshots=frozenset({Snapshot.NONE}),
    cards=None,  # whatever is in it; a start without one runs on the CPU and says so
    tiers=("disk", "store", "origin"),
    places=frozenset({Place.STORE, Place.ORIGIN}),
    builds_image=False,
    request_limit_bytes=None,  # nothing stands between caller and worker but our own server's bound
    response_limit_bytes=None,
    volume_path=None,
    overrides=frozenset(),
    lacks={
        "snapshot": "here is no memory snapshot: load runs on each start",
        "volume": "here is no volume: weights stay on this machine's disk",
        "build": "here is no image build: hook.build runs once in each environment",
    },
)
