"""What Modal can do.

Sources: the `modal` package 1.6.4 (signatures of `App.cls`), and Modal's documentation as of 2026-08.
"""

from __future__ import annotations

from coldstart_sdk.plan import Capabilities, Card
from coldstart_sdk.spec import Place, Snapshot

CAPABILITIES = Capabilities(
    title="Modal",
    snapshots=frozenset({Snapshot.NONE, Snapshot.CPU, Snapshot.GPU}),  # docs, guide/memory-snapshots
    # docs, guide/gpu. Modal's own prices are not quoted here: none was read.
    cards=(
        Card(gpu="T4", sold_as="T4"),
        Card(gpu="L4", sold_as="L4"),
        Card(gpu="A10", sold_as="A10"),
        Card(gpu="A10G", sold_as="A10"),  # one card under two names
        Card(gpu="L40S", sold_as="L40S"),
        Card(gpu="A100-40GB", sold_as="A100-40GB"),
        Card(gpu="A100-80GB", sold_as="A100-80GB"),
        Card(gpu="RTX PRO 6000", sold_as="RTX-PRO-6000"),
        Card(gpu="H100", sold_as="H100"),  # or an H200, at the same price
        Card(gpu="H100!", sold_as="H100!"),
        Card(gpu="H200", sold_as="H200"),
        Card(gpu="B200", sold_as="B200"),
        Card(gpu="B200+", sold_as="B200+"),  # or a B300
        Card(gpu="B300", sold_as="B300"),
    ),
    tiers=("image", "volume", "store", "origin"),
    places=frozenset(Place),
    builds_image=True,
    # Above 2 MiB the client itself goes through blobs (package, _utils/blob_utils); no limit is named.
    request_limit_bytes=None,
    response_limit_bytes=None,
    # Free of what the client refuses: `/`, `/root` and the temporary directory (package, _utils/mount_utils).
    volume_path="/coldstart",
    # docs, guide/model-weights: as fast as the image, and nothing is downloaded again after a build.
    volume_by_default=True,
    # `region` as everywhere; the rest are arguments of `App.cls` that say nothing a declaration says already.
    overrides=frozenset(
        {
            "region",
            "routing_region",
            "cloud",
            "cpu",
            "memory",
            "ephemeral_disk",
            "buffer_containers",
            "startup_timeout",
            "retries",
            "nonpreemptible",
            "single_use_containers",
            "block_network",
            "public",  # true: no proxy auth in front of the HTTP app
            "secrets",  # variable → the Modal secret that holds it, where the two names differ
        }
    ),
    lacks={
        # docs, guide/memory-snapshots; package: exit code 222 starts the task again without its snapshot.
        "snapshot=gpu": "Modal's gpu snapshot is alpha: one GPU, and a failed restore is a full start",
    },
)
