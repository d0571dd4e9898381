"""What RunPod carries of a request, looked at before it is sent: a refusal there does not say why."""

from __future__ import annotations

import json
from typing import Any

from coldstart_sdk.backends.runpod.capabilities import CAPABILITIES
from coldstart_sdk.errors import UsageError

HTTP_BYTES = 30_000_000
"""Behind the load balancer (docs, serverless/load-balancing/overview)."""


def refuse_large(arguments: Any, *, http: bool = False) -> None:  # noqa: ANN401 - plain JSON
    """A request that would not arrive."""
    limit = HTTP_BYTES if http else CAPABILITIES.request_limit_bytes
    size = len(json.dumps(arguments).encode())
    if limit is not None and size > limit:
        raise UsageError(
            f"the request has {size / 1e6:.1f} MB, and RunPod carries at most {limit / 1e6:g} MB",
            fix="Put the file where the worker can fetch it, and send its URL.",
        )
