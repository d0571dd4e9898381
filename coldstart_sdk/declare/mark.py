"""`warm_model`: notes a declaration on a class and returns that very class."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar, overload

from coldstart_sdk import hook
from coldstart_sdk.errors import DeclarationError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Literal

    from coldstart_sdk.declare.values import Container, Scale, Volume, Weights, Where

C = TypeVar("C", bound=type)


@overload
def warm_model(cls: C, /) -> C: ...
@overload
def warm_model(
    *,
    name: str = ...,
    gpu: str | Sequence[str] | None = ...,
    image: Container | None = ...,
    weights: Mapping[str, Weights] | None = ...,
    store: str | None = ...,
    place: Where | None = ...,
    volume: Volume | None = ...,
    read_url: str | None = ...,
    results: str | None = ...,
    snapshot: Literal["none", "cpu", "gpu", "auto"] = ...,
    scale: Scale | None = ...,
    timeout: str | float = ...,
    imports: str | Sequence[str] = ...,
    env: Mapping[str, str] | None = ...,
    secrets: str | Sequence[str] = ...,
    overrides: Mapping[str, Mapping[str, Any]] | None = ...,
) -> Callable[[C], C]: ...
def warm_model(cls: Any = None, /, **options: object) -> Any:
    """Declare a model class.

    `name` is the app or endpoint on each platform (default: from the class), `gpu` one card or several in
    order of preference, `weights` what is fetched before `hook.load`, `store` your own warm copy. Nothing is
    checked here: `coldstart check` shows every mistake at once.
    """
    if cls is None:
        return lambda cls: _noted(cls, options)
    return _noted(cls, options)


def _noted(cls: Any, options: Mapping[str, object]) -> Any:  # noqa: ANN401 - whatever was decorated comes back
    if isinstance(cls, type):
        return hook.declare(cls, options)
    code = getattr(cls, "__code__", None)
    raise DeclarationError(
        f"warm_model marks a class, and {getattr(cls, '__name__', repr(cls))} is {_a(cls)}",
        fix="Decorate a class that has the hooks and endpoints as methods.",
        where=f"{code.co_filename}:{code.co_firstlineno}" if code else None,
    )


def _a(value: object) -> str:
    kind = type(value).__name__
    return f"{'an' if kind[0] in 'aeiou' else 'a'} {kind}"
