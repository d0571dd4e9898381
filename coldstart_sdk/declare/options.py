"""Read the options of `warm_model` that are neither weights nor image."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from coldstart_sdk import entry, gpu
from coldstart_sdk.declare import addresses, amounts, container, overrides, secret, weights
from coldstart_sdk.declare.findings import Findings, did_you_mean, kind
from coldstart_sdk.declare.values import Container, Scale, Volume
from coldstart_sdk.spec import ContainerSpec, Place, ScaleSpec, Snapshot, VolumeSpec, WeightSpec

KNOWN = (
    "name",
    "gpu",
    "image",
    "weights",
    "store",
    "place",
    "volume",
    "read_url",
    "results",
    "snapshot",
    "scale",
    "timeout",
    "imports",
    "env",
    "secrets",
    "overrides",
)
NAME_LENGTH = 60
TIMEOUT_S = 600.0
_NAME = re.compile(r"[a-z](?:[a-z0-9-]*[a-z0-9])?")
_VOLUME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_SECRET = re.compile(r"[A-Z_][A-Z0-9_]{0,63}")
"""The name of an environment variable, as platforms and shells take it; a short key has other letters."""
_MOST = 10_000


class Options:
    """The options as written, read one by one."""

    def __init__(self, written: Mapping[str, object], found: Findings) -> None:
        self._written = written
        self._found = found

    def check_known(self) -> None:
        for option in self._written:
            if option not in KNOWN:
                self._found.on_option(
                    f"warm_model has no option {option!r}",
                    option,
                    fix=did_you_mean(option, KNOWN, form="{}=") or f"It takes {', '.join(KNOWN)}.",
                )

    def name(self, class_name: str) -> str:
        name = self._written.get("name")
        if name is None:
            name = app_name(class_name)
        text = self._found.text(name, "name", example='name="f5-tts"')
        if text and (len(text) > NAME_LENGTH or not _NAME.fullmatch(text)):
            meant = app_name(text)
            self._found.on_option(
                f"name: {text!r:.80} is not a name that every platform takes",
                "name",
                fix=f"Use lower-case letters, digits and dashes, at most {NAME_LENGTH}, a letter first"
                + (f': name="{meant}".' if _NAME.fullmatch(meant) else "."),
            )
        return text or ""

    def gpu(self) -> tuple[str, ...]:
        value = self._written.get("gpu")
        if value is None:
            return ()
        if isinstance(value, list | tuple) and not value:
            self._found.on_option(
                "gpu=[] names no card",
                "gpu",
                fix='Leave gpu= out to run on a CPU, or name a card: gpu="L4".',
            )
        cards: list[str] = []
        for name in self._found.texts(value, "gpu", example='gpu="L4" or gpu=["L4", "RTX 4090"]'):
            card = gpu.canonical(name)
            if card is None:
                self._refuse_gpu(name)
            elif card in cards:
                self._found.on_option(f"gpu: {card} is named twice", "gpu", name, fix="Name each card once.")
            else:
                cards.append(card)
        return tuple(cards)

    def _refuse_gpu(self, name: str) -> None:
        if gpu.find(name.partition(":")[0]):
            self._found.on_option(
                f"gpu: {name!r} has no proper count",
                "gpu",
                name,
                fix=f'Write "{name.partition(":")[0]}:2" for two, or no count for one.',
            )
            return
        near = gpu.nearest(name)
        self._found.on_option(
            f"gpu: there is no card {name!r}",
            "gpu",
            name,
            fix=f"Did you mean {' or '.join(near)}?"
            if near
            else f"The cards are {', '.join(card.name for card in gpu.GPUS)}.",
        )

    def image(self) -> ContainerSpec:
        return container.read(self._written.get("image"), self._found)

    def weights(self) -> dict[str, WeightSpec]:
        return weights.read(self._written.get("weights"), self._found)

    def store(self) -> str | None:
        return addresses.store(self._written.get("store"), "store", self._found)

    def results(self) -> str | None:
        return addresses.store(self._written.get("results"), "results", self._found)

    def read_url(self) -> str | None:
        return addresses.read_url(self._written.get("read_url"), self._found)

    def overrides(self) -> dict[str, dict[str, Any]]:
        return overrides.read(self._written.get("overrides"), self._found)

    def place(self) -> Place | None:
        value = self._written.get("place")
        return None if value is None else self._found.choice(value, Place, "place")

    def volume(self) -> VolumeSpec | None:
        value = self._written.get("volume")
        if value is None:
            return None
        if not isinstance(value, Volume):
            named = value if isinstance(value, str) and _VOLUME.fullmatch(value) else "models"
            self._found.on_option(
                f"volume is {kind(value)}, not a Volume", "volume", fix=f'Write volume=Volume("{named}").'
            )
            return None
        name = self._found.text(value.name, "volume", "name", example='Volume("models")') or ""
        if name and not _VOLUME.fullmatch(name):
            self._found.on_option(
                f"volume: {name!r} is not a name",
                "volume",
                fix='Use letters, digits, "-", "_" and ".", at most 63.',
            )
        region = (
            None
            if value.region is None
            else self._found.text(value.region, "volume", "region", example='region="EU-RO-1"')
        )
        size = None if value.size is None else amounts.size_bytes(value.size)
        if value.size is not None and size is None:
            self._found.on_option(
                f"volume: size {value.size!r} is not a size", "volume", "size", fix=f"Write {amounts.SIZE}."
            )
        return VolumeSpec(name=name, size_bytes=size, region=region)

    def snapshot(self, gpus: tuple[str, ...]) -> Snapshot:
        value = self._written.get("snapshot", Snapshot.AUTO)
        if value is None:
            value = Snapshot.NONE
        snapshot = self._found.choice(value, Snapshot, "snapshot") or Snapshot.AUTO
        if snapshot is Snapshot.GPU and self._written.get("gpu") is None and not gpus:
            self._found.on_option(
                "a gpu snapshot is asked for, and no GPU",
                "snapshot",
                fix='Name a card, such as gpu="L4", or write snapshot="cpu".',
            )
        return snapshot

    def scale(self) -> ScaleSpec:
        value = self._written.get("scale")
        if value is None:
            return ScaleSpec()
        if not isinstance(value, Scale):
            self._found.on_option(
                f"scale is {kind(value)}, not a Scale", "scale", fix="Write scale=Scale(min=0, max=3)."
            )
            return ScaleSpec()
        least, most = self._count(value, "min", 0), self._count(value, "max", 1)
        if least is not None and most is not None and least > most:
            self._found.on_option(
                f"scale: min={least} is more than max={most}",
                "scale",
                "min",
                fix=f"Write Scale(min={least}, max={least}) or more.",
            )
        idle = self._found.seconds(value.idle, "scale/idle", self._found.source.of_option("scale", "idle"))
        return ScaleSpec(
            min=least or 0,
            max=most or 1,
            idle_s=idle or 0.0,
            concurrency=self._count(value, "concurrency", 1) or 1,
            queue=self._count(value, "queue", 0) or 0,
        )

    def _count(self, scale: Scale, field: str, least: int) -> int | None:
        value: object = getattr(scale, field)
        if isinstance(value, int) and not isinstance(value, bool) and least <= value <= _MOST:
            return value
        self._found.on_option(
            f"scale: {field} is {value!r:.40}",
            "scale",
            field,
            fix=f"Write a whole number from {least} to {_MOST}.",
        )
        return None

    def timeout_s(self) -> float:
        value = self._written.get("timeout", TIMEOUT_S)
        return self._found.seconds(value, "timeout", self._found.source.of_option("timeout")) or TIMEOUT_S

    def imports(self) -> tuple[str, ...]:
        modules = self._found.texts(
            self._written.get("imports", ()), "imports", example='imports=["torch", "transformers"]'
        )
        for module in modules:
            if not all(part.isidentifier() for part in module.split(".")):
                self._found.on_option(
                    f"imports: {module!r} is not a module",
                    "imports",
                    module,
                    fix='Write what `import` takes, not what pip does: "sklearn", "torch.nn".',
                )
            else:
                self._check_is_somewhere(module)
        return tuple(dict.fromkeys(modules))

    def _check_is_somewhere(self, module: str) -> None:
        """A module may be absent here when the image brings it; a slip of the finger is in neither."""
        path = self._found.source.path
        if path is None or entry.is_here(module, folder=path.parent):
            return
        image = self._written.get("image")
        brings = isinstance(image, Container) and container.brings(image)
        if not brings or (entry.near_module(module) and not container.names(image, module)):
            self._found.on_option(
                f"imports: there is no module {module!r} here"
                + (", and the image installs none of that name" if brings else ""),
                "imports",
                module,
                fix=f"{entry.mend_missing(module)}.",
            )

    def env(self) -> dict[str, str]:
        value = self._written.get("env")
        if value is None:
            return {}
        if not isinstance(value, Mapping):
            self._found.on_option(
                f"env is {kind(value)}, not a mapping", "env", fix='Write env={"NAME": "value"}.'
            )
            return {}
        return container.environment(list(value.items()), self._found, "env")

    def secrets(self) -> tuple[str, ...]:
        value = self._written.get("secrets", ())
        items = (value,) if isinstance(value, str) else value
        if isinstance(items, Mapping) or not isinstance(items, list | tuple):
            self._found.on_option(
                f"secrets is {kind(value)}, not a list of names", "secrets", fix='Write secrets=["HF_TOKEN"].'
            )
            return ()
        names: list[str] = []
        for item in items:
            if isinstance(item, str) and secret.is_value(item):
                self._found.add(
                    "secrets holds a secret's value where its name belongs",
                    fix='Take it out, revoke it, and write the name: secrets=["HF_TOKEN"].',
                    where=self._found.source.of_option("secrets", item),
                )
            elif not isinstance(item, str) or not _SECRET.fullmatch(item):
                # Whatever stands here may be a secret, so it is not shown.
                self._found.on_option(
                    "secrets holds something that is not a secret's name",
                    "secrets",
                    str(item),
                    fix='Write names of capital letters, digits and "_": secrets=["HF_TOKEN"].',
                )
            else:
                names.append(item)
        return tuple(dict.fromkeys(names))


def app_name(text: str) -> str:
    """The nearest name that every platform takes: `F5TTSModel` → `f5-tts-model`."""
    apart = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "-", text)
    dashed = re.sub(r"[^a-z0-9]+", "-", apart.lower())
    return re.sub(r"^[^a-z]+", "", dashed)[:NAME_LENGTH].strip("-")
