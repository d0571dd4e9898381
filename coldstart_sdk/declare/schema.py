"""Type hints → JSON schemas, by pydantic, on the machine that prepares: a worker reads the result."""

from __future__ import annotations

import collections.abc
import enum
import inspect
import types
import typing
from pathlib import PurePath
from typing import Any, Literal

from coldstart_sdk.media import Media
from coldstart_sdk.spec import CallStyle, Medium

if typing.TYPE_CHECKING:
    from pydantic import TypeAdapter

_STREAMS: dict[CallStyle, tuple[str, set[object]]] = {
    CallStyle.GENERATOR: (
        "Iterator",
        {collections.abc.Iterator, collections.abc.Iterable, collections.abc.Generator},
    ),
    CallStyle.ASYNC_GENERATOR: (
        "AsyncIterator",
        {collections.abc.AsyncIterator, collections.abc.AsyncIterable, collections.abc.AsyncGenerator},
    ),
}
_RAW = (bytes, bytearray, memoryview)


class MisfitError(Exception):
    """A hint that cannot cross the wire: what is wrong, and the mend."""

    def __init__(self, message: str, *, fix: str) -> None:
        super().__init__(message)
        self.fix = fix


def hints_of(function: collections.abc.Callable[..., Any]) -> dict[str, Any]:
    try:
        return typing.get_type_hints(function, include_extras=True)
    except NameError as exc:
        raise MisfitError(
            f"the annotation {exc.name!r} is not known when the file runs",
            fix="Import it at the top of the file, outside `if TYPE_CHECKING`.",
        ) from exc
    except (TypeError, SyntaxError, AttributeError) as exc:
        raise MisfitError(f"an annotation cannot be read: {exc}", fix="Use a type.") from exc


def schema_of(hint: object, *, of_result: bool) -> dict[str, Any]:
    """The JSON schema of the values that callers send, or get."""
    bare = _bare(hint)
    if isinstance(bare, type) and issubclass(bare, (*_RAW, PurePath)):
        raise MisfitError(
            f"{bare.__name__} does not cross the wire",
            fix="Use Audio, Image, Video or File, which hold bytes and files.",
        )
    try:
        return _adapter(hint).json_schema(mode="serialization" if of_result else "validation")
    except Exception as exc:  # anything may stand as a hint, and the user's own schema code runs
        raise MisfitError(
            f"{_named(bare)} does not cross the wire",
            fix="Use Audio, Image, Video, File, plain values, lists, dataclasses or pydantic models "
            f"({(str(exc).splitlines() or [type(exc).__name__])[0]:.120}).",
        ) from exc


def default_of(hint: object, default: object) -> Any:  # noqa: ANN401 - plain JSON has no closer type
    """The default as JSON; None for media, which stay with the method."""
    if isinstance(default, Media):
        return None
    import pydantic  # noqa: PLC0415 - heavy, and only needed where there is an endpoint

    adapter = _adapter(hint)
    try:
        return adapter.dump_python(adapter.validate_python(default), mode="json")
    except pydantic.ValidationError as exc:
        raise MisfitError(
            f"the default {default!r:.60} is not {_named(hint)}",
            fix=f"Annotate it as {_named(hint)} | None, or give another default."
            if default is None
            else "Change the default or the annotation.",
        ) from exc
    except Exception as exc:  # the user's own validators run
        raise MisfitError(
            f"the default {default!r:.60} cannot be written as JSON", fix="Use a plain value, or None."
        ) from exc


def chunk_of(hint: object, style: CallStyle) -> object:
    """The type of the result, or of each chunk of a stream."""
    origin = typing.get_origin(hint) or hint
    if style in _STREAMS:
        name, kinds = _STREAMS[style]
        if origin not in kinds:
            raise MisfitError(
                f"it yields, and is annotated {_named(hint)}", fix=f"Write -> {name}[{_named(hint)}]."
            )
        return (*typing.get_args(hint), Any)[0]
    if any(origin in kinds for _, kinds in _STREAMS.values()):
        raise MisfitError(
            f"it is annotated {_named(hint)}, and does not yield",
            fix="Write `yield` or `yield from` in it, or return a list.",
        )
    return hint


def medium_of(hint: object) -> Medium | None:
    bare = _bare(hint)
    if not isinstance(bare, type) or not issubclass(bare, Media):
        return None
    names = {medium.value: medium for medium in Medium}
    return next((names[base.__name__] for base in bare.__mro__ if base.__name__ in names), None)


def is_text(hint: object) -> bool:
    """Whether every value of it is a string, so that a command line needs no quotes."""
    bare = _bare(hint)
    if typing.get_origin(bare) is Literal:
        return all(isinstance(value, str) for value in typing.get_args(bare))
    if isinstance(bare, type) and issubclass(bare, enum.Enum):
        return all(isinstance(member.value, str) for member in bare)
    return bare is str


def guess(default: object) -> str:
    """An annotation to suggest."""
    plain = (bool, int, float, str, list, dict)
    return next((kind.__name__ for kind in plain if isinstance(default, kind)), "str")


def _bare(hint: object) -> object:
    """The hint without Annotated, and without `| None`."""
    if typing.get_origin(hint) is typing.Annotated:
        return _bare(typing.get_args(hint)[0])
    if typing.get_origin(hint) in {typing.Union, types.UnionType}:
        kinds = [kind for kind in typing.get_args(hint) if kind is not type(None)]
        return _bare(kinds[0]) if len(kinds) == 1 else hint
    return hint


def _adapter(hint: Any) -> TypeAdapter[Any]:  # noqa: ANN401 - a type form, which typing cannot name
    from pydantic import TypeAdapter  # noqa: PLC0415 - as above

    return TypeAdapter(hint)


def _named(hint: object) -> str:
    if hint is None or hint is type(None):
        return "None"
    if isinstance(hint, type) and typing.get_origin(hint) is None:
        return hint.__qualname__ if hint.__module__ == "builtins" else hint.__name__
    return inspect.formatannotation(hint).replace("collections.abc.", "").replace("coldstart_sdk.media.", "")
