"""Time the endpoints' methods by the shape of what they are given, in warm-up and in the first requests."""

from __future__ import annotations

import functools
from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from contextlib import aclosing, suppress
from typing import Any

from coldstart_sdk.events import Resource, now
from coldstart_sdk.recorder.names import CALL
from coldstart_sdk.recorder.seams import Seams
from coldstart_sdk.recorder.sink import Sink
from coldstart_sdk.spec import CallStyle, EndpointSpec

_LONGEST = 12
"""Characters that are shown of one number."""


def watch(sink: Sink, seams: Seams, instance: object, endpoints: Sequence[EndpointSpec]) -> None:
    """Put a timer in front of each method of this very instance."""
    for endpoint in endpoints:
        with suppress(AttributeError, TypeError):  # an instance with slots, or one that guards itself
            method = getattr(instance, endpoint.method)
            setattr(instance, endpoint.method, _timed(method, endpoint, sink))
            seams.also(functools.partial(_unset, instance, endpoint.method))


def shape(endpoint: EndpointSpec, given: Sequence[object], named: dict[str, Any]) -> str:
    """`speak(text=12, speed=1.0)`: lengths of what has one, values of numbers; nothing that was said."""
    names = [parameter.name for parameter in endpoint.parameters]
    arguments = {**dict(zip(names, given, strict=False)), **named}
    return f"{endpoint.method}({', '.join(f'{name}={_shape(value)}' for name, value in arguments.items())})"


def _shape(value: Any) -> str:  # noqa: ANN401 - a user's value
    if value is None or isinstance(value, bool | int | float):
        return str(value)[:_LONGEST]
    if (extent := getattr(value, "shape", None)) is not None:
        return (
            "x".join(str(size) for size in extent)
            if isinstance(extent, tuple | list)
            else type(value).__name__
        )
    with suppress(TypeError):
        return str(len(value))
    return type(value).__name__


def _timed(method: Any, endpoint: EndpointSpec, sink: Sink) -> Callable[..., Any]:  # noqa: ANN401 - a user's method
    def tell(started_s: float, given: tuple[object, ...], named: dict[str, Any]) -> None:
        sink.span(f"{CALL}:{shape(endpoint, given, named)}", Resource.CPU, started_s, now())

    @functools.wraps(method)
    def plain(*given: object, **named: object) -> object:
        started_s = now()
        try:
            return method(*given, **named)
        finally:
            tell(started_s, given, named)

    @functools.wraps(method)
    def generator(*given: object, **named: object) -> Generator[object, None, object]:
        started_s = now()
        try:
            return (yield from method(*given, **named))
        finally:
            tell(started_s, given, named)

    @functools.wraps(method)
    async def asynchronous(*given: object, **named: object) -> object:
        started_s = now()
        try:
            return await method(*given, **named)
        finally:
            tell(started_s, given, named)

    @functools.wraps(method)
    async def asynchronous_generator(*given: object, **named: object) -> AsyncGenerator[object, None]:
        started_s = now()
        try:
            async with aclosing(method(*given, **named)) as chunks:
                async for chunk in chunks:
                    yield chunk
        finally:
            tell(started_s, given, named)

    styles: dict[CallStyle, Callable[..., Any]] = {
        CallStyle.PLAIN: plain,
        CallStyle.GENERATOR: generator,
        CallStyle.ASYNC: asynchronous,
        CallStyle.ASYNC_GENERATOR: asynchronous_generator,
    }
    return styles[endpoint.style]


def _unset(instance: object, name: str) -> None:
    with suppress(AttributeError):
        delattr(instance, name)
