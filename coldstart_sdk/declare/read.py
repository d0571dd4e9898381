"""Read a declared class once, and pin a `Spec` to it; every mistake in it is found at once.

Reads the class and its file; runs nothing of the user's beyond the import that has already happened.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping

from coldstart_sdk import entry
from coldstart_sdk.declare import endpoints, hooks, members, surroundings
from coldstart_sdk.declare.findings import Findings
from coldstart_sdk.declare.options import Options
from coldstart_sdk.declare.source import Source, file_of, of_function
from coldstart_sdk.errors import DeclarationError, Problem
from coldstart_sdk.hook import declarations_of
from coldstart_sdk.spec import Kind, Place, Spec


def read(cls: type) -> Spec:
    """The class as data; `DeclarationError` holds every mistake in it."""
    spec, found = _examine(cls)
    if found:
        raise DeclarationError.of(found)
    return spec


def read_file(reference: str) -> Spec:
    """The one declaration in a file, or the one that `FILE:Class` names."""
    return read(entry.load(reference))


def problems(cls: type) -> tuple[Problem, ...]:
    """Every mistake of the declaration, in the order of its lines; empty when it is sound."""
    return _examine(cls)[1]


def _examine(cls: type) -> tuple[Spec, tuple[Problem, ...]]:
    found = Findings(Source(cls))
    _check_class(cls, found)
    written = _written(cls, found)
    options = Options(written, found)
    options.check_known()
    marked = members.read(cls, found)
    gpus = options.gpu()
    weights = options.weights()
    hook_specs = hooks.read(marked, found)
    spec = Spec(
        name=options.name(cls.__name__),
        module=_module(cls),
        qualname=cls.__qualname__,
        gpu=gpus,
        image=options.image(),
        weights=weights,
        store=options.store(),
        place=options.place(),
        volume=options.volume(),
        read_url=options.read_url(),
        results=options.results(),
        snapshot=options.snapshot(gpus),
        scale=options.scale(),
        timeout_s=options.timeout_s(),
        imports=options.imports(),
        env=options.env(),
        secrets=options.secrets(),
        overrides=options.overrides(),
        hooks=hook_specs,
        endpoints=endpoints.read(cls, marked, found),
    )
    hooks.check_near_misses(cls, hook_specs, found)
    _check_together(cls, spec, written, found)
    surroundings.check(weights, found)
    return spec, found.problems


def _written(cls: type, found: Findings) -> Mapping[str, object]:
    """The options as written; of two decorators the upper one, which Python applied last."""
    declared = declarations_of(cls)
    if len(declared) > 1:
        found.add(
            f"{cls.__name__} is decorated with warm_model twice",
            fix="Write its options in one @warm_model.",
            where=found.source.of_class(),
        )
    if declared:
        return declared[-1]
    base = next((base for base in cls.__mro__[1:] if declarations_of(base)), None)
    found.add(
        f"{cls.__name__} is not marked"
        + (f"; a declaration is not inherited from {base.__name__}" if base else ""),
        fix=f"Write @warm_model above class {cls.__name__}.",
        where=found.source.of_class(),
    )
    return {}


def _check_class(cls: type, found: Findings) -> None:
    where = found.source.of_class()
    if cls.__module__ == "__main__":
        found.add(
            f"{cls.__name__} is declared in __main__, where no worker can find it",
            fix="Move it to a module: a file of its own, given to coldstart by its path.",
            where=where,
        )
    elif found.source.path is None:
        found.add(
            f"{cls.__name__} has no file, and a worker imports it from one",
            fix="Move it to a module: a file of its own, given to coldstart by its path.",
            where=where,
        )
    if "." in cls.__qualname__:
        inside = "a function" if "<locals>" in cls.__qualname__ else "another class"
        found.add(
            f"{cls.__name__} is defined in {inside}, where no worker can find it",
            fix="Move it to the top of its module.",
            where=where,
        )
    if needed := _needed_to_construct(cls):
        found.add(
            f"{cls.__name__}() needs {', '.join(needed)}, and a worker has nothing to give",
            fix="Give each a default; what depends on weights or the device belongs in a @hook.load.",
            where=where,
        )


def _needed_to_construct(cls: type) -> tuple[str, ...]:
    try:
        parameters = inspect.signature(cls).parameters.values()
    except (TypeError, ValueError):
        return ()  # a C type's constructor tells nothing; the worker's own error will
    variable = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return tuple(
        parameter.name
        for parameter in parameters
        if parameter.default is inspect.Parameter.empty and parameter.kind not in variable
    )


def _check_together(cls: type, spec: Spec, written: Mapping[str, object], found: Findings) -> None:
    """Mistakes that no option has alone."""
    loads = spec.hooks_of(Kind.LOAD)
    if spec.weights and not loads:
        found.add(
            "weights are declared, and no @hook.load turns them into a model",
            fix="Write @hook.load above a method that takes (self, weights).",
            where=found.source.of_option("weights"),
        )
    if written.get("gpu") is None:
        for hook in spec.hooks_of(Kind.CUDA_INIT):
            found.add(
                f"{hook.method} is a cuda_init hook, and no GPU is declared",
                fix='Name a card, such as gpu="L4", or take the hook away.',
                where=of_function(getattr(cls, hook.method)),
            )
    _check_build(cls, spec, found)


def _check_build(cls: type, spec: Spec, found: Findings) -> None:
    in_image = spec.place is Place.IMAGE or any(
        weights.place is Place.IMAGE for weights in spec.weights.values()
    )
    for hook in spec.hooks_of(Kind.BUILD):
        if "weights" in hook.receives and not in_image:
            found.add(
                f"{hook.method}: a build hook asks for weights, and none are put in the image",
                fix='Write place="image" on warm_model or on those weights, or use @hook.fetch.',
                where=of_function(getattr(cls, hook.method)),
            )


def _module(cls: type) -> str:
    path = file_of(cls)
    return path.stem if path else cls.__module__
