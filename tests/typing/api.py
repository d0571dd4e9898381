"""What a user's editor sees. Checked by mypy, never run."""

# ruff: noqa: ARG002 - only the types matter here

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from typing_extensions import assert_type

from coldstart_sdk import (
    Audio,
    Container,
    LocalWeight,
    LocalWeights,
    Scale,
    Volume,
    Weights,
    endpoint,
    hook,
    warm_model,
)


class Model:
    """Stands for a torch module."""


@warm_model(
    name="f5-tts",
    gpu=["L4", "RTX 4090"],
    image=Container.python("3.11").apt("ffmpeg").pip("f5-tts==1.1.22").run("make", gpu=True).env(A="b"),
    weights={"f5": Weights.hf("SWivid/F5-TTS", include=["*.safetensors"]), "x": Weights.local("x")},
    store="s3://bucket/models",
    place="image",
    volume=Volume("models", size="10GB"),
    snapshot="auto",
    scale=Scale(min=0, max=5, idle="60s", concurrency=1),
    timeout="5m",
    secrets=["HF_TOKEN"],
    overrides={"modal": {"region": "eu"}},
)
class F5:
    def __init__(self, speed: float = 1.0) -> None:
        self.speed = speed

    @hook.load(after="encoder", timeout="30s", required=True)
    def load(self, weights: LocalWeights) -> int:
        assert_type(weights["f5"], LocalWeight)
        assert_type(weights["f5"].path, Path)
        assert_type(weights["f5"].load_into(Model), Model)
        return len(weights["f5"].tensors(device="cuda"))

    @hook.load
    async def encoder(self, weights: object) -> None: ...

    @hook.warmup(canary=True)
    def warm(self) -> Audio:
        return self.speak(Audio.silence("1s"), "text")

    @hook.build
    @staticmethod
    def kernels() -> bool:
        return True

    @endpoint
    def speak(self, ref: Audio, text: str, speed: float = 1.0) -> Audio:
        return ref

    @endpoint(default=True)
    def stream(self, text: str) -> Iterator[Audio]:
        yield Audio.silence("1s")


@warm_model
class Bare: ...


# A class keeps its type, and so does whatever is marked in it.
assert_type(F5(), F5)
assert_type(F5, type[F5])
assert_type(Bare(), Bare)
assert_type(F5(speed=2.0).speed, float)
assert_type(F5().load(LocalWeights({})), int)
assert_type(F5().warm(), Audio)
assert_type(F5.kernels(), bool)
assert_type(F5().speak(Audio.silence(), text="a", speed=1.5), Audio)
assert_type(F5().stream("a"), Iterator[Audio])
speak: Callable[[F5, Audio, str], Audio] = F5.speak

# A container stays one through every call.
assert_type(Container.python("3.11"), Container)
assert_type(Container.base("a:1").apt("git").copy("a", "b"), Container)
assert_type(Weights.url("https://x/y", sha256="00"), Weights)

# Mistakes that an editor shows at once.
warm_model(gpus="L4")  # type: ignore[call-overload] # no such option
warm_model(place="moon")  # type: ignore[call-overload] # no such place
warm_model(weights=["a/b"])  # type: ignore[call-overload] # a mapping of Weights
warm_model(lambda: None)  # type: ignore[call-overload] # not a class
hook.load(canary=True)  # type: ignore[call-overload] # only a warm-up has one
hook.warm_up  # type: ignore[attr-defined] # no such hook  # noqa: B018 - only its type matters
Container.python(3.11)  # type: ignore[arg-type] # a string
