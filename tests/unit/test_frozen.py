"""Our cheap `dataclass` behaves like the standard one, but for what it costs."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, field, fields, replace

import pytest

from coldstart_sdk.frozen import dataclass


@dataclass(frozen=True, kw_only=True)
class Point:
    x: int
    y: int = 0


@dataclass(frozen=True, kw_only=True)
class Named(Point):
    name: str


@dataclass(frozen=True, kw_only=True)
class Opened:
    name: str
    key: str = field(repr=False)


def test_equal_fields_make_equal_records_of_one_class_only() -> None:
    assert Point(x=1) == Point(x=1, y=0)
    assert Point(x=1) != Point(x=2)
    assert Point(x=1) != Named(x=1, name="a")
    assert hash(Point(x=1)) == hash(Point(x=1))


def test_a_record_is_shown_with_its_fields() -> None:
    assert repr(Named(x=1, name="a")) == "Named(x=1, y=0, name='a')"


def test_a_field_that_is_not_to_be_shown_is_not() -> None:
    assert repr(Opened(name="a", key="secret")) == f"{Opened.__qualname__}(name='a')"


def test_a_record_takes_fields_by_name_only() -> None:
    with pytest.raises(TypeError):
        Point(1)  # type: ignore[call-arg] # the mistake under test
    with pytest.raises(TypeError):
        Point(y=1)  # type: ignore[call-arg] # the mistake under test


def test_nothing_of_a_record_can_change() -> None:
    point = Point(x=1)

    with pytest.raises(FrozenInstanceError):
        point.x = 2  # type: ignore[misc] # the mistake under test
    with pytest.raises(FrozenInstanceError):
        point.z = 2  # type: ignore[attr-defined] # the mistake under test
    with pytest.raises(FrozenInstanceError):
        del point.x


def test_the_standard_functions_know_it() -> None:
    assert replace(Point(x=1), y=2) == Point(x=1, y=2)
    assert [field.name for field in fields(Named)] == ["x", "y", "name"]
