"""Declare a model class once; start it cold on RunPod, on Modal or here; see why it took as long as it did.

The road of a datum::

            prepare: your machine                                        run: the worker, cold
    class - declare > Spec - planner > Plan - compile > Bundle - deploy > platform
                                                          |
                                                          +> worker > Lifecycle > hooks, endpoints
                                                                       |     ^
                                                Events <---------------+     +- weights < sync < Store, origin
                                                  +> Trace > explain, waterfall, receipt

Nouns hold data, verbs change it. One place decides: `planner`. What starts cold never imports what prepares
it.
"""

TYPE_CHECKING = False  # what every type checker takes for true, without the cost of importing typing

if TYPE_CHECKING:
    from coldstart_sdk import hook
    from coldstart_sdk.declare.mark import warm_model
    from coldstart_sdk.declare.values import Container, Scale, Volume, Weights
    from coldstart_sdk.hook import endpoint
    from coldstart_sdk.media import Audio, File, Image, Video
    from coldstart_sdk.storage.weights import LocalWeight, LocalWeights

    __version__: str

# Without __version__: a star import should not read the metadata of the distribution.
__all__ = [
    "Audio",
    "Container",
    "File",
    "Image",
    "LocalWeight",
    "LocalWeights",
    "Scale",
    "Video",
    "Volume",
    "Weights",
    "endpoint",
    "hook",
    "warm_model",
]

# Every import of a submodule runs this file first. A worker opens its device, and the command line answers
# --help, without what these names cost; a user's file gets them when it asks.
_HOMES = {
    "Audio": "coldstart_sdk.media",
    "Container": "coldstart_sdk.declare.values",
    "File": "coldstart_sdk.media",
    "Image": "coldstart_sdk.media",
    "LocalWeight": "coldstart_sdk.storage.weights",
    "LocalWeights": "coldstart_sdk.storage.weights",
    "Scale": "coldstart_sdk.declare.values",
    "Video": "coldstart_sdk.media",
    "Volume": "coldstart_sdk.declare.values",
    "Weights": "coldstart_sdk.declare.values",
    "endpoint": "coldstart_sdk.hook",
    "warm_model": "coldstart_sdk.declare.mark",
}


if not TYPE_CHECKING:  # a type checker would take every name to exist

    def __getattr__(name):  # noqa: ANN001, ANN202 - not seen by a type checker
        import importlib  # noqa: PLC0415 - see above

        if name == "__version__":
            from importlib import metadata  # noqa: PLC0415 - see above

            value = metadata.version("coldstart-sdk")
        elif name == "hook":
            value = importlib.import_module("coldstart_sdk.hook")
        elif name in _HOMES:
            value = getattr(importlib.import_module(_HOMES[name]), name)
        else:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, "__version__"})
