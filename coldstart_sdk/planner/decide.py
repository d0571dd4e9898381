"""Settle every choice that the declaration leaves open: snapshot, cards, places, volume, tiers."""

from __future__ import annotations

import dataclasses

from coldstart_sdk.gpu import unmarked
from coldstart_sdk.plan import Card
from coldstart_sdk.planner.asked import Asked, Settled
from coldstart_sdk.spec import Kind, Origin, Place, Snapshot, VolumeSpec

TIERS = ("disk", "image", "platform cache", "volume", "store", "origin")
"""Nearest first. The order is fixed; a platform and a declaration only decide which of them exist."""


def settle(asked: Asked) -> Settled:
    cards = _cards(asked)
    place = _place(asked)
    places = {
        name: weight.place if weight.place and can_put(asked, weight.place) else place
        for name, weight in asked.spec.weights.items()
    }
    volume = _volume(asked, set(places.values()))
    return Settled(
        snapshot=_snapshot(asked),
        cards=cards,
        unsold=_unsold(asked),
        gpu=asked.spec.gpu if asked.capabilities.cards is None else tuple(card.sold_as for card in cards),
        place=place,
        places=places,
        volume=volume,
        tiers=_tiers(asked, volume, set(places.values())),
    )


def can_put(asked: Asked, place: Place) -> bool:
    """Whether weights can be put there, on this platform and with what was declared."""
    if place not in asked.capabilities.places:
        return False
    match place:
        case Place.STORE:
            return asked.store is not None
        case Place.VOLUME:
            return asked.spec.volume is not None or asked.capabilities.volume_by_default
        case Place.IMAGE | Place.ORIGIN:
            return True


def _snapshot(asked: Asked) -> Snapshot:
    possible = asked.capabilities.snapshots
    if asked.snapshot is not Snapshot.AUTO:
        return asked.snapshot if asked.snapshot in possible else Snapshot.NONE
    # Without hook.restored nothing would move a model that was loaded on the CPU to its GPU.
    splits = asked.has(Kind.RESTORED) or not asked.spec.gpu
    return Snapshot.CPU if splits and Snapshot.CPU in possible else Snapshot.NONE


def _cards(asked: Asked) -> tuple[Card, ...]:
    wanted = [card for gpu in asked.spec.gpu for card in sold_for(gpu, asked.capabilities.cards or ())]
    return tuple({card.sold_as: card for card in wanted}.values())


def sold_for(gpu: str, cards: tuple[Card, ...]) -> tuple[Card, ...]:
    """What a platform sells under one declared name; `H100:2` is two of each, at twice the price."""
    model, _, number = gpu.partition(":")
    sold = tuple(card for card in cards if card.gpu == model) or tuple(
        card for card in cards if card.gpu == unmarked(model)
    )
    if not number:
        return sold
    return tuple(
        dataclasses.replace(
            card,
            sold_as=f"{card.sold_as}:{number}",
            usd_per_s=None if card.usd_per_s is None else card.usd_per_s * int(number),
        )
        for card in sold
    )


def _unsold(asked: Asked) -> tuple[str, ...]:
    cards = asked.capabilities.cards
    return () if cards is None else tuple(gpu for gpu in asked.spec.gpu if not sold_for(gpu, cards))


def _place(asked: Asked) -> Place:
    wishes = (asked.spec.place, Place.STORE, Place.VOLUME)
    return next((place for place in wishes if place and can_put(asked, place)), Place.ORIGIN)


def _volume(asked: Asked, places: set[Place]) -> VolumeSpec | None:
    if asked.capabilities.volume_path is None:
        return None
    if asked.spec.volume or Place.VOLUME not in places:
        return asked.spec.volume
    return VolumeSpec(name=f"{asked.spec.name}-weights")


def _tiers(asked: Asked, volume: VolumeSpec | None, places: set[Place]) -> tuple[str, ...]:
    from_hub = any(weight.origin is Origin.HF for weight in asked.spec.weights.values())
    exists = {
        "image": Place.IMAGE in places,
        # Platforms cache models of the Hugging Face hub, and only beside a GPU.
        "platform cache": from_hub and bool(asked.spec.gpu),
        "volume": volume is not None,
        "store": asked.store is not None,
    }
    return tuple(tier for tier in TIERS if tier in asked.capabilities.tiers and exists.get(tier, True))
