"""The marks a user sets on the methods of their class.

A mark is a note on the function, nothing more: the method stays what it was, and a subclass may override it.
`declare` reads the notes. What `warm_model` notes on the class itself is kept here too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NoReturn, Protocol, TypeVar, overload

from coldstart_sdk.errors import DeclarationError
from coldstart_sdk.frozen import dataclass
from coldstart_sdk.spec import Kind

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T", bound=type)
_NOTE = "__coldstart_marks__"
_DECLARED = "__coldstart_declared__"


@dataclass(frozen=True)
class Mark:
    """What stands on a method: which hook it is (None for an endpoint) and its options, as written."""

    kind: Kind | None
    options: Mapping[str, object]


class _Hook(Protocol):
    @overload
    def __call__(self, method: F, /) -> F: ...
    @overload
    def __call__(
        self,
        *,
        required: bool = ...,
        timeout: str | float | None = ...,
        after: str | tuple[str, ...] | list[str] | None = ...,
    ) -> Callable[[F], F]: ...


class _Warmup(Protocol):
    @overload
    def __call__(self, method: F, /) -> F: ...
    @overload
    def __call__(
        self,
        *,
        required: bool = ...,
        timeout: str | float | None = ...,
        after: str | tuple[str, ...] | list[str] | None = ...,
        canary: bool = ...,
    ) -> Callable[[F], F]: ...


class _Endpoint(Protocol):
    @overload
    def __call__(self, method: F, /) -> F: ...
    @overload
    def __call__(self, *, default: bool = ..., timeout: str | float | None = ...) -> Callable[[F], F]: ...


def _marker(kind: Kind | None) -> Any:  # noqa: ANN401 - each use names the Protocol it satisfies
    def mark(method: Any = None, /, **options: object) -> Any:  # noqa: ANN401 - the method stays what it was
        return (
            _note(method, Mark(kind, options))
            if method is not None
            else lambda method: _note(method, Mark(kind, options))
        )

    return mark


build: _Hook = _marker(Kind.BUILD)
fetch: _Hook = _marker(Kind.FETCH)
cuda_init: _Hook = _marker(Kind.CUDA_INIT)
load: _Hook = _marker(Kind.LOAD)
restored: _Hook = _marker(Kind.RESTORED)
warmup: _Warmup = _marker(Kind.WARMUP)
background: _Hook = _marker(Kind.BACKGROUND)
close: _Hook = _marker(Kind.CLOSE)


endpoint: _Endpoint = _marker(None)


def marks_of(member: object) -> tuple[Mark, ...]:
    """The notes on a member of a class, seen through static and class methods; more than one is a mistake."""
    marks = getattr(getattr(member, "__func__", member), _NOTE, ())
    return marks if isinstance(marks, tuple) else ()


def declare(cls: T, options: Mapping[str, object]) -> T:
    """Note on the class, and on no subclass of it, that it is a declaration."""
    setattr(cls, _DECLARED, (*declarations_of(cls), options))
    return cls


def declarations_of(cls: type) -> tuple[Mapping[str, object], ...]:
    """The options of each `warm_model` on this very class; more than one is a mistake."""
    declared = vars(cls).get(_DECLARED, ())
    return declared if isinstance(declared, tuple) else ()


def _note(method: F, mark: Mark) -> F:
    function = getattr(method, "__func__", method)
    try:
        setattr(function, _NOTE, (*marks_of(method), mark))
    except (AttributeError, TypeError) as exc:
        raise DeclarationError(
            f"a mark was set on {type(method).__name__} {method!r:.60}",
            fix="Mark a method: a function with `def` in the class.",
        ) from exc
    return method


class UnknownMarkError(DeclarationError, AttributeError):
    """`hook.warm_up`: no such hook."""


if not TYPE_CHECKING:  # a type checker would take every name to exist

    def __getattr__(name: str) -> NoReturn:
        if name.startswith("__"):
            raise AttributeError(name)
        import difflib  # noqa: PLC0415 - only a mistake pays for it

        have = [kind.value for kind in Kind]
        near = difflib.get_close_matches(name, have, n=1, cutoff=0.5)
        raise UnknownMarkError(
            f"there is no hook.{name}",
            fix=f"Did you mean hook.{near[0]}?" if near else f"The hooks are {', '.join(have)}.",
        )
