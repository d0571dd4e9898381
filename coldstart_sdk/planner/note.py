"""Say what a platform cannot give, and what was decided for the user, each with its reason."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath

from coldstart_sdk.plan import Card, Note
from coldstart_sdk.planner.asked import Asked, Settled
from coldstart_sdk.planner.decide import can_put
from coldstart_sdk.spec import Kind, Origin, Place, Snapshot

SECONDS_IN_HOUR, SECONDS_IN_MINUTE = 3600, 60


def notes(asked: Asked, settled: Settled) -> tuple[Note, ...]:
    return (
        *_lacks(asked, settled),
        *_snapshot(asked, settled),
        *_gpu(asked, settled),
        *_places(asked, settled),
        *_left_behind(asked),
        *_volume(asked, settled),
        *_answers(asked),
    )


def _lacks(asked: Asked, settled: Settled) -> Iterator[Note]:
    for about, text in asked.capabilities.lacks.items():
        if about in _used(asked, settled):
            yield Note(about=about, text=text)


def _used(asked: Asked, settled: Settled) -> set[str]:
    """The fields and hooks that the declaration makes use of, as `Capabilities.lacks` spells them."""
    fields = {name for name, value in vars(asked.spec).items() if value}
    if asked.snapshot is Snapshot.NONE:
        fields.discard("snapshot")
    return {*fields, *(hook.kind.value for hook in asked.spec.hooks), f"snapshot={settled.snapshot.value}"}


def _snapshot(asked: Asked, settled: Settled) -> Iterator[Note]:
    possible = asked.capabilities.snapshots - {Snapshot.NONE}
    if asked.snapshot not in {Snapshot.NONE, Snapshot.AUTO, *possible} or not possible:
        yield from _no_snapshot(asked)
        return
    moves = asked.has(Kind.RESTORED) or not asked.spec.gpu
    match asked.snapshot, settled.snapshot:
        case Snapshot.AUTO, Snapshot.CPU if asked.spec.gpu:
            text = "auto became cpu: load runs on the CPU before the snapshot, restored moves on from there"
        case Snapshot.AUTO, Snapshot.CPU:
            text = "auto became cpu: no GPU is declared, so all that load makes is in the snapshot"
        case Snapshot.AUTO, Snapshot.NONE:
            text = "auto became none: there is no hook.restored to move a model from the snapshot to the GPU"
        case Snapshot.CPU, Snapshot.CPU if not moves:
            text = 'load gets device="cpu", and there is no hook.restored to move the model to the GPU'
        case _:
            return
    yield Note(about="snapshot", text=text)


def _no_snapshot(asked: Asked) -> Iterator[Note]:
    if asked.snapshot is not Snapshot.NONE and "snapshot" not in asked.capabilities.lacks:
        which = "memory" if asked.snapshot is Snapshot.AUTO else asked.snapshot.value
        yield Note(
            about="snapshot",
            text=f"{asked.capabilities.title} has no {which} snapshot: load runs on each cold start",
        )


def _gpu(asked: Asked, settled: Settled) -> Iterator[Note]:
    if settled.unsold:
        remain = ", ".join(card.sold_as for card in settled.cards)
        text = f"{asked.capabilities.title} does not sell {', '.join(settled.unsold)}; what remains: {remain}"
        yield Note(about="gpu", text=text)
    for card in settled.cards:
        if card.usd_per_s is not None:
            yield Note(about="gpu", text=_price(card, card.usd_per_s, asked.capabilities.priced_on))


def _price(card: Card, usd_per_s: float, priced_on: str | None) -> str:
    pool = f" (pool {card.pool})" if card.pool else ""
    read = f", as published on {priced_on}" if priced_on else ""
    return (
        f"{card.sold_as}{pool}: {usd_per_s * SECONDS_IN_HOUR:.2f} USD for each hour of a running worker, "
        f"{usd_per_s * SECONDS_IN_MINUTE:.4f} USD for each minute of a cold start{read}"
    )


def _places(asked: Asked, settled: Settled) -> Iterator[Note]:
    named = {"place": asked.spec.place} | {
        f"weights[{name!r}]": weight.place for name, weight in asked.spec.weights.items()
    }
    for about, place in named.items():
        if place and not can_put(asked, place):
            text = f'place="{place.value}": {_why_not(asked, place)}, so {_instead(settled.place)}'
            yield Note(about=about, text=text)


def _left_behind(asked: Asked) -> Iterator[Note]:
    """A folder of this machine means nothing elsewhere, unless it is copied along."""
    if asked.capabilities.cards is None:  # whatever this machine has: here
        return
    copied = [PurePosixPath(source) for source, _ in asked.spec.image.files]
    for name, weight in asked.spec.weights.items():
        path = PurePosixPath(weight.source)
        if weight.origin is Origin.LOCAL and not any(one in {path, *path.parents} for one in copied):
            text = (
                f"{weight.source} lies on this machine only: copy it along, image=Container.python()"
                f".copy({weight.source!r}, {weight.source!r}), or build refuses it"
            )
            yield Note(about=f"weights[{name!r}]", text=text)
    if asked.store and "://" not in asked.store and not _is_mounted(asked, PurePosixPath(asked.store)):
        text = f"{asked.store} is a folder of each worker's own, and ends with it: name a bucket, s3://…"
        yield Note(about="store", text=text)


def _is_mounted(asked: Asked, folder: PurePosixPath) -> bool:
    volume = asked.capabilities.volume_path
    return volume is not None and PurePosixPath(volume) in {folder, *folder.parents}


def _why_not(asked: Asked, place: Place) -> str:
    if place not in asked.capabilities.places:
        return f"{asked.capabilities.title} has none"
    return "no store is known" if place is Place.STORE else "no volume= is declared"


def _instead(place: Place) -> str:
    if place is Place.ORIGIN:
        return "each machine that starts empty fetches from the origin"
    return f"weights go to the {place.value}"


def _volume(asked: Asked, settled: Settled) -> Iterator[Note]:
    if settled.volume and not asked.spec.volume:
        yield Note(
            about="volume", text=f"weights go to a volume that is made for them, {settled.volume.name!r}"
        )


def _answers(asked: Asked) -> Iterator[Note]:
    """Media can outgrow what a platform carries in one answer, and then need a place to go."""
    if asked.store or asked.spec.results:
        return
    limits = asked.capabilities
    for endpoint in asked.spec.endpoints:
        limit = limits.chunk_limit_bytes if endpoint.streams else limits.response_limit_bytes
        if endpoint.medium and limit:
            what = "a chunk" if endpoint.streams else "an answer"
            yield Note(
                about="results",
                text=f"{limits.title} carries {what} of at most {limit / 1e6:g} MB: without results= or "
                f"store= a larger {endpoint.medium.value} from {endpoint.method} is an error",
            )
