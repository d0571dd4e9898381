"""A model class, declared once: what starts before the first answer, and what answers."""

from coldstart_sdk import endpoint, hook, warm_model


@warm_model(name="blank")
class Model:
    @hook.load
    def load(self) -> None:
        # Load your model here. Ask for its files in a parameter called `weights`, once you have declared
        # weights={"name": Weights.hf("org/name")} above.
        self.greeting = "hello"

    @hook.warmup
    def warm(self) -> None:
        # The smallest real request: the worker is READY when it has been answered.
        self.greet(name="nobody")

    @endpoint
    def greet(self, name: str) -> str:
        return f"{self.greeting} {name}"
