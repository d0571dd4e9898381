"""What RunPod Serverless can do.

Sources, read in 2026-08: RunPod's documentation (github.com/runpod/docs at a900806e, 2026-08-20), its REST v2
specification (2.0.0), and the pools of the `runpod` package (2.0.0rc2, `runpod/apps/gpu.py`).
"""

from __future__ import annotations

from coldstart_sdk.plan import Capabilities, Card
from coldstart_sdk.spec import Place, Snapshot

_MB = 1_000_000

# Pool → (flex USD per second, {name in the GPU table: GPU type ids}).
# Pools and ids: the package. Prices: docs, snippets/serverless-gpu-pricing-table.mdx; None: not listed there.
_POOLS: dict[str, tuple[float | None, dict[str, tuple[str, ...]]]] = {
    "AMPERE_16": (
        0.00016,
        {
            "RTX A4000": ("NVIDIA RTX A4000",),
            "RTX A4500": ("NVIDIA RTX A4500",),
            "RTX 4000 Ada": ("NVIDIA RTX 4000 Ada Generation",),
            "RTX 2000 Ada": ("NVIDIA RTX 2000 Ada Generation",),
        },
    ),
    "AMPERE_24": (
        0.00019,
        {"RTX A5000": ("NVIDIA RTX A5000",), "L4": ("NVIDIA L4",), "RTX 3090": ("NVIDIA GeForce RTX 3090",)},
    ),
    "ADA_24": (0.00031, {"RTX 4090": ("NVIDIA GeForce RTX 4090",)}),
    "ADA_32_PRO": (None, {"RTX 5090": ("NVIDIA GeForce RTX 5090",)}),
    "AMPERE_48": (0.00034, {"A40": ("NVIDIA A40",), "RTX A6000": ("NVIDIA RTX A6000",)}),
    "ADA_48_PRO": (
        0.00053,
        {
            "RTX 6000 Ada": ("NVIDIA RTX 6000 Ada Generation",),
            "L40": ("NVIDIA L40",),
            "L40S": ("NVIDIA L40S",),
        },
    ),
    "AMPERE_80": (0.00076, {"A100-80GB": ("NVIDIA A100 80GB PCIe", "NVIDIA A100-SXM4-80GB")}),
    "ADA_80_PRO": (
        0.00116,
        {
            "H100 PCIe": ("NVIDIA H100 PCIe",),
            "H100": ("NVIDIA H100 80GB HBM3",),
            "H100 NVL": ("NVIDIA H100 NVL",),
        },
    ),
    "HOPPER_141": (0.00155, {"H200": ("NVIDIA H200",)}),
    "BLACKWELL_96": (
        0.00111,
        {
            "RTX PRO 6000": (
                "NVIDIA RTX PRO 6000 Blackwell Server Edition",
                "NVIDIA RTX PRO 6000 Blackwell Workstation Edition",
                "NVIDIA RTX PRO 6000 Blackwell Max-Q Workstation Edition",
            )
        },
    ),
    "BLACKWELL_180": (0.0024, {"B200": ("NVIDIA B200",)}),
}

CAPABILITIES = Capabilities(
    title="RunPod",
    # FlashBoot may revive a worker, but nothing can be asked of it (docs, serverless/endpoints).
    snapshots=frozenset({Snapshot.NONE}),
    cards=tuple(
        Card(gpu=gpu, sold_as=type_id, pool=pool, usd_per_s=usd_per_s)
        for pool, (usd_per_s, cards) in _POOLS.items()
        for gpu, type_ids in cards.items()
        for type_id in type_ids
    ),
    # The platform cache holds Hugging Face models beside a GPU (docs, serverless/endpoints/model-caching).
    tiers=("image", "platform cache", "volume", "store", "origin"),
    places=frozenset(Place),
    builds_image=True,
    # Queue endpoints: `/run` carries 10 MB, `/runsync` 20 MB, a stream 1 MB a chunk (docs,
    # serverless/endpoints/operation-reference). The caller chooses the route, so the smallest one counts.
    request_limit_bytes=10 * _MB,
    response_limit_bytes=10 * _MB,
    chunk_limit_bytes=1 * _MB,
    volume_path="/runpod-volume",  # docs, storage/network-volumes
    # `mode` is queue or http, `region` the data centres, `image` the repository that images are pushed to,
    # `cachedModel` whether hosts may bring a model before a worker starts;
    # the rest is in v2 CreateEndpointRequest.
    overrides=frozenset(
        {
            "mode",
            "image",
            "cpu",
            "timeout",
            "region",
            "disk",
            "registry",
            "flashboot",
            "scaling",
            "minCudaVersion",
            "allowedCudaVersions",
            "cachedModel",
        }
    ),
    lacks={
        "snapshot": "RunPod has no memory snapshot: load runs on each cold start",
        # docs, storage/network-volumes: one data centre, and no care for two writers.
        "volume": "a RunPod network volume lies in one data centre, and workers start only there",
    },
    priced_on="2026-08-20",
)
