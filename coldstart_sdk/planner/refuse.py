"""Name what a platform cannot do at all, every case at once."""

from __future__ import annotations

import difflib
from collections.abc import Iterator

from coldstart_sdk.errors import PlanError, Problem
from coldstart_sdk.planner.asked import Asked
from coldstart_sdk.planner.decide import sold_for
from coldstart_sdk.spec import Snapshot


def impossible(asked: Asked) -> None:
    """Raise when there is no plan to make."""
    problems = (*_unsold_cards(asked), *_gpu_snapshot_of_other_than_one(asked), *_unknown_overrides(asked))
    if problems:
        raise PlanError.of(problems)


def _unsold_cards(asked: Asked) -> Iterator[Problem]:
    cards = asked.capabilities.cards
    if cards is None or not asked.spec.gpu or any(sold_for(gpu, cards) for gpu in asked.spec.gpu):
        return
    offered = ", ".join(dict.fromkeys(card.gpu for card in cards)) or "none"
    yield Problem(
        message=f"{asked.capabilities.title} sells none of the declared GPUs: {', '.join(asked.spec.gpu)}",
        fix=f"Add one that it sells to gpu=: {offered}.",
        where=asked.where,
    )


def _gpu_snapshot_of_other_than_one(asked: Asked) -> Iterator[Problem]:
    if asked.snapshot is not Snapshot.GPU or Snapshot.GPU not in asked.capabilities.snapshots:
        return
    if not asked.spec.gpu:
        message, fix = "no GPU is declared", 'Declare gpu=, or set snapshot="cpu".'
    elif several := [gpu for gpu in asked.spec.gpu if ":" in gpu]:
        message, fix = (
            f"{', '.join(several)} is more than one GPU",
            'Declare single GPUs, or set snapshot="cpu".',
        )
    else:
        return
    yield Problem(message=f"a gpu snapshot holds exactly one GPU, and {message}", fix=fix, where=asked.where)


def _unknown_overrides(asked: Asked) -> Iterator[Problem]:
    known = sorted(asked.capabilities.overrides)
    for key in asked.spec.overrides.get(asked.backend, {}):
        if key in known:
            continue
        near = difflib.get_close_matches(key, known, n=1)
        have = f"It takes {', '.join(known)}." if known else "It takes none: remove it."
        yield Problem(
            message=f"overrides[{asked.backend!r}] has no key {key!r}",
            fix=f"Did you mean {near[0]!r}? {have}" if near else have,
            where=asked.where,
        )
