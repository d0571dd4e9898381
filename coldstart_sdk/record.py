"""Frozen data to JSON and back, strictly: a missing or an unknown key is an error, never a default.

Understands what our nouns are made of: dataclasses, tuples, string mappings, enums, `X | None` and plain JSON
values. A union of records is told apart by the class name, written under `"is"`.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import json
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

T = TypeVar("T")


class RecordError(ValueError):
    """The JSON does not fit the record; the message names the path to the misfit."""


def to_data(value: object) -> Any:  # noqa: ANN401 - plain JSON has no closer type
    """Plain JSON values of a record, keys in the order of the fields."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        named = {field.name: to_data(getattr(value, field.name)) for field in dataclasses.fields(value)}
        return {"is": type(value).__name__, **named} if getattr(value, "tagged", False) else named
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, Mapping):
        return {str(key): to_data(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [to_data(item) for item in value]
    return value


def from_data(kind: type[T], data: object, at: str = "$") -> T:
    """The record of `kind` that `to_data` wrote as `data`."""
    return typing.cast("T", _read(kind, data, at))


def canonical(value: object) -> str:
    """One spelling for equal values on every machine: sorted keys, no spaces, ASCII."""
    return json.dumps(
        to_data(value),
        sort_keys=True,
        separators=(",", ":"),
        ensure_ascii=True,
        allow_nan=False,
    )


def digest(value: object) -> str:
    """`sha256:…` of the canonical spelling."""
    import hashlib  # noqa: PLC0415 - a worker reads plans and never digests one

    return "sha256:" + hashlib.sha256(canonical(value).encode()).hexdigest()


def _read(kind: Any, data: object, at: str) -> object:  # noqa: ANN401, PLR0911 - a type form has no type; one return a form
    origin = typing.get_origin(kind)
    if kind in (Any, object):
        return data
    if origin in (types.UnionType, typing.Union):
        return _read_union(typing.get_args(kind), data, at)
    if origin is tuple:
        return _read_tuple(typing.get_args(kind), data, at)
    if origin is not None and issubclass(origin, Mapping):
        return _read_mapping(typing.get_args(kind)[1], data, at)
    if dataclasses.is_dataclass(kind):
        return _read_record(typing.cast("type", kind), data, at)
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return _read_choice(kind, data, at)
    return _read_plain(kind, data, at)


def _read_record(kind: type, data: object, at: str) -> object:
    if not isinstance(data, dict):
        raise RecordError(f"{at}: an object was expected, not {_name(data)}")
    hints = _hints(kind)
    keys = set(data) - {"is"}
    if unknown := sorted(keys - set(hints)):
        raise RecordError(f"{at}: unknown key {unknown[0]!r}")
    if missing := sorted(set(hints) - keys):
        raise RecordError(f"{at}: key {missing[0]!r} is missing")
    return kind(**{name: _read(hint, data[name], f"{at}.{name}") for name, hint in hints.items()})


def _read_union(choices: tuple[Any, ...], data: object, at: str) -> object:
    if data is None and type(None) in choices:
        return None
    tag = data.get("is") if isinstance(data, dict) else None
    if tag is not None:
        for choice in choices:
            if getattr(choice, "__name__", None) == tag:
                return _read_record(choice, data, at)
        raise RecordError(f"{at}: unknown kind {tag!r}")
    misfits: list[RecordError] = []
    for choice in (choice for choice in choices if choice is not type(None)):
        try:
            return _read(choice, data, at)
        except RecordError as misfit:  # noqa: PERF203 - the next choice may fit
            misfits.append(misfit)
    raise misfits[-1]


def _read_tuple(items: tuple[Any, ...], data: object, at: str) -> object:
    if not isinstance(data, list):
        raise RecordError(f"{at}: a list was expected, not {_name(data)}")
    if items[-1] is Ellipsis:
        return tuple(_read(items[0], item, f"{at}[{i}]") for i, item in enumerate(data))
    if len(items) != len(data):
        raise RecordError(f"{at}: {len(items)} values were expected, not {len(data)}")
    return tuple(
        _read(kind, item, f"{at}[{i}]") for i, (kind, item) in enumerate(zip(items, data, strict=True))
    )


def _read_mapping(kind: Any, data: object, at: str) -> object:  # noqa: ANN401 - a type form
    if not isinstance(data, dict):
        raise RecordError(f"{at}: an object was expected, not {_name(data)}")
    return {key: _read(kind, item, f"{at}.{key}") for key, item in data.items()}


def _read_choice(kind: type[enum.Enum], data: object, at: str) -> enum.Enum:
    try:
        return kind(data)
    except ValueError:
        have = ", ".join(repr(choice.value) for choice in kind)
        raise RecordError(f"{at}: {data!r} is none of {have}") from None


def _read_plain(kind: type, data: object, at: str) -> object:
    if kind is float and isinstance(data, int) and not isinstance(data, bool):
        return float(data)
    if not isinstance(data, kind) or (isinstance(data, bool) and kind is not bool):
        raise RecordError(f"{at}: {kind.__name__} was expected, not {_name(data)}")
    return data


@functools.cache
def _hints(kind: type) -> dict[str, Any]:
    hints = typing.get_type_hints(kind)
    return {field.name: hints[field.name] for field in dataclasses.fields(kind)}


def _name(value: object) -> str:
    return "null" if value is None else type(value).__name__
