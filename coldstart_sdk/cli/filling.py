"""Fill a store as a first machine does, before a second one is measured."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from coldstart_sdk.cli.prepare import Prepared
from coldstart_sdk.events import ignore
from coldstart_sdk.spec import Origin, Place, WeightSpec
from coldstart_sdk.storage import layout, stores, tiers, uploads
from coldstart_sdk.storage.sync import ref_of

_WITHIN_S = 600.0
_TICK_S = 0.1


def fill(prepared: Prepared, *, store: str, home: Path) -> bool:
    """Send what `home` has, and wait until the store has it all; whether that came about.

    The worker that fetched it may be sending too: then this upload ends at once, and that one is waited for.
    """
    plan, project = prepared.plan, prepared.project
    wanted = [
        weight
        for name, weight in plan.spec.weights.items()
        if plan.places.get(name) is Place.STORE and weight.origin is not Origin.LOCAL
    ]
    until_s = time.monotonic() + _WITHIN_S
    while wanted and not _has(stores.placed(store, project), wanted, project):
        sending = uploads.start(wanted, store=store, home=home, project=project, step="fill", emit=ignore)
        if sending.wait(timeout=_WITHIN_S) or time.monotonic() > until_s:
            return False
        time.sleep(_TICK_S)
    return True


def _has(store: str, wanted: Sequence[WeightSpec], project: Path) -> bool:
    """Every set: a ref is the last thing that an upload writes."""
    with closing(tiers.store_below(store)) as opened:
        return all(layout.pointed(opened, ref_of(weight, project)) for weight in wanted)
