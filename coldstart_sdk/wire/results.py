"""What an endpoint gave, as JSON values; what JSON cannot hold is refused by name, with what to return.

Nothing is guessed: an array is sound to one user and numbers to another, and a path may name any file.
"""

from __future__ import annotations

import dataclasses
import enum
import math
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, TypeAlias

from coldstart_sdk.media import Media, forms
from coldstart_sdk.wire.errors import ResultError

Spill: TypeAlias = Callable[[Media], "str | None"]
"""Puts a media value where callers can fetch it and gives its URL; None when it should travel inline."""

_STANDARD = frozenset({"datetime", "date", "time", "timedelta", "UUID", "Decimal", "set", "frozenset"})
"""Names of types that pydantic spells in JSON."""
_PLAIN: tuple[tuple[type, Callable[[Any], object]], ...] = (
    (str, str),
    (int, int),
    (float, float),
    (list, list),
    (tuple, list),
    (Mapping, dict),
)
_MEDIA = "Audio.from_bytes(...), Image.from_bytes(...) or File.from_bytes(...)"
_INSTEAD: tuple[tuple[tuple[type, ...], str], ...] = (
    ((bytes, bytearray, memoryview), f"Say what the bytes are: {_MEDIA}."),
    ((PurePath,), "Return File.from_path(path), or Audio, Image or Video: callers cannot read our files."),
    ((BaseException, type), "Raise it: a raised exception becomes an error for the caller."),
    ((Iterator, AsyncIterator), "Yield from it, so that the endpoint itself streams, or return list(...)."),
)


@dataclass(frozen=True, kw_only=True)
class Answer:
    """A result ready to be sent; `media` is set when it is one media value, and may go as raw bytes."""

    plain: object = None
    media: Media | None = None
    spill: Spill | None = None

    @property
    def value(self) -> Any:  # noqa: ANN401 - plain JSON has no closer type
        """The JSON value; media are written when it is asked for, so raw bytes do not pay for it."""
        return self.plain if self.media is None else _write(self.media, self.spill)


def answer(value: object, *, spill: Spill | None = None) -> Answer:
    """A result, or one chunk of a stream, as it will be sent."""
    if isinstance(value, Media):
        _refuse_empty(value, "")
        return Answer(media=value, spill=spill)
    return Answer(plain=encode(value, spill=spill))


def encode(value: object, *, spill: Spill | None = None) -> Any:  # noqa: ANN401 - plain JSON has no closer type
    """The JSON value of a result; ResultError names what cannot be one, and where it stands."""
    try:
        return _encode(value, "", spill)
    except RecursionError:
        raise ResultError(
            "the result is nested too deeply, or contains itself",
            fix="Return plain lists and dicts, without a reference back to an outer one.",
        ) from None


def _encode(value: Any, at: str, spill: Spill | None) -> Any:  # noqa: ANN401 - whatever a user returns
    kind = type(value)
    if value is None or kind is bool or kind is int:
        return value
    if kind is str or kind is float:
        return _text(value, at) if kind is str else _finite(value, at)
    if kind is list or kind is tuple:
        return [_encode(item, f"{at}[{i}]", spill) for i, item in enumerate(value)]
    if kind is dict:
        return _encode_mapping(value, at, spill)
    if isinstance(value, type):
        raise _refused(value, at)
    if isinstance(value, Media):
        _refuse_empty(value, at)
        return _write(value, spill)
    return _encode(_simpler(value, at, spill), at, spill)


def _simpler(value: Any, at: str, spill: Spill | None) -> object:  # noqa: ANN401 - whatever a user returns
    """The same value as one of the plain types."""
    if isinstance(value, enum.Enum):
        return value.value
    if hasattr(value, "__pydantic_serializer__"):
        return _dump(value, at, spill)
    for kind, plain in _PLAIN:
        if isinstance(value, kind):
            return plain(value)
    if dataclasses.is_dataclass(value):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if getattr(value, "shape", None) == () and hasattr(value, "item"):  # a scalar of numpy or torch
        return value.item()
    if type(value).__name__ in _STANDARD:
        return _standard(value, at)
    raise _refused(value, at)


def _encode_mapping(value: Mapping[Any, Any], at: str, spill: Spill | None) -> dict[str, Any]:
    encoded = {}
    for key, item in value.items():
        name = key.value if isinstance(key, enum.Enum) else key
        if not isinstance(name, (str, int)):
            raise ResultError(
                f"a key{_where(at)} is {_named(key)}, and JSON keys are strings",
                fix="Return a dict with str keys.",
            )
        encoded[str(name)] = _encode(item, f"{at}.{name}" if at else str(name), spill)
    return encoded


def _refuse_empty(media: Media, at: str) -> None:
    """A File may be empty; there is no sound or picture of no bytes."""
    if media.families and not len(media):
        name = type(media).__name__
        raise ResultError(
            f"the {name}{_where(at)} is empty: {media.type} without a byte",
            fix=f"Give {name}.from_bytes what an encoder wrote; of a BytesIO, its getvalue().",
        )


def _write(media: Media, spill: Spill | None) -> dict[str, str]:
    url = spill(media) if spill else None
    return forms.write(media) if url is None else {"url": url, "type": media.type}


def _dump(model: Any, at: str, spill: Spill | None) -> Any:  # noqa: ANN401 - pydantic's own any
    """What pydantic makes of a model or dataclass of its own, aliases and serializers included."""
    write = _writer(spill)
    try:
        return model.__pydantic_serializer__.to_python(
            model, mode="json", by_alias=True, context={forms.WRITE: write}
        )
    except (ValueError, TypeError) as exc:  # PydanticSerializationError is a ValueError
        raise ResultError(
            f"pydantic cannot write the {_named(model)}{_where(at)} as JSON",
            fix=f"Give its fields types that JSON can hold; for bytes use {_MEDIA}.",
        ) from exc


def _writer(spill: Spill | None) -> Callable[[Media], dict[str, str]]:
    return lambda media: _write(media, spill)


def _standard(value: object, at: str) -> object:
    from pydantic_core import to_jsonable_python  # noqa: PLC0415 - loaded long before the first result

    try:
        return to_jsonable_python(value)
    except (ValueError, TypeError) as exc:
        raise _refused(value, at) from exc


def _text(value: str, at: str) -> str:
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise ResultError(
                f"the text{_where(at)} holds half a character (a lone surrogate)",
                fix='Decode bytes with errors="replace" before returning them as text.',
            ) from None
    return value


def _finite(value: float, at: str) -> float:
    if math.isfinite(value):
        return value
    raise ResultError(
        f"the result holds {value}{_where(at)}, which JSON has no word for",
        fix="Return None for a number that does not exist, or find what divided by zero.",
    )


def _refused(value: object, at: str) -> ResultError:
    return ResultError(f"{_named(value)}{_where(at)} cannot be sent to a caller", fix=_instead(value))


def _instead(value: object) -> str:
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return (
            "Return Audio.from_samples(samples, rate), Image.from_pil(image), or .tolist() for few numbers."
        )
    if hasattr(value, "convert") and hasattr(value, "save"):
        return "Return Image.from_pil(image)."
    if hasattr(value, "__await__"):
        return "Await it inside the endpoint, or make the endpoint `async def`."
    for kinds, mend in _INSTEAD:
        if isinstance(value, kinds):
            return mend
    return "Return str, numbers, lists, dicts, a dataclass, a pydantic model, or Audio, Image, Video, File."


def _named(value: object) -> str:
    kind = value if isinstance(value, type) else type(value)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    shape = getattr(value, "shape", None)
    shown = f" of shape {tuple(shape)}" if isinstance(shape, tuple) and not isinstance(value, type) else ""
    return f"the class {name}" if isinstance(value, type) else f"{name}{shown}"


def _where(at: str) -> str:
    return f" at {at}" if at else ""
