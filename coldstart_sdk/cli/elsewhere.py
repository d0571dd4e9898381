"""One cold start under a platform's own worker, on loopback: what `measure` is for a start here."""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from coldstart_sdk.cli import kept
from coldstart_sdk.cli.measure import Measured, Requests
from coldstart_sdk.cli.prepare import Prepared
from coldstart_sdk.cli.quiet import quietly
from coldstart_sdk.cli.rehearse import rehearsed
from coldstart_sdk.errors import LifecycleError


def measure(prepared: Prepared, requests: Requests | None, options: Mapping[str, str]) -> Measured:
    """Rehearse the bundle with these requests; of the platform's own story only the trace is kept."""
    asked: dict[str, str] = {}
    if requests and requests.count:
        asked = {
            "endpoint": requests.endpoint.method,
            "input": json.dumps(dict(requests.arguments)),
            "requests": str(requests.count),
        }
    with tempfile.TemporaryDirectory(prefix="coldstart-bundle-") as folder:
        with quietly():
            said = rehearsed(prepared, f"{folder}/bundle", {**asked, **options})
        if "trace" not in said:
            raise _refusal(said, prepared)
        trace = kept.read(Path(said["trace"]))
    answers = tuple(said.get("results") or [said.get("result")]) if asked else ()
    return Measured(trace=trace, answers=answers)


def _refusal(said: Mapping[str, Any], prepared: Prepared) -> LifecycleError:
    """Why there was no answer, in the worker's own words where it had any."""
    error: Any = said.get("error") or said.get("log") or "nobody said why"
    with contextlib.suppress(ValueError, TypeError):
        error = json.loads(error)
    if isinstance(error, dict):
        error = error.get("message", error)
    target = prepared.plan.backend
    return LifecycleError(
        f"the rehearsal on {target} got no answer: {str(error)[-400:]}",
        where=prepared.plan.spec.name,
        fix=f"See the whole of it: coldstart rehearse FILE --target {target}",
    )
