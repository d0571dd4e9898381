"""Records to JSON and back: whole, strict, and the same on every machine."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import field
from typing import ClassVar

import pytest

from coldstart_sdk import record
from coldstart_sdk.frozen import dataclass


class Colour(str, enum.Enum):
    RED = "red"


@dataclass(frozen=True, kw_only=True)
class Leaf:
    name: str
    size: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Ping:
    tagged: ClassVar[bool] = True
    at: float


@dataclass(frozen=True, kw_only=True)
class Pong:
    tagged: ClassVar[bool] = True
    at: float


@dataclass(frozen=True, kw_only=True)
class Tree:
    leaves: tuple[Leaf, ...]
    colour: Colour
    pair: tuple[int, str]
    notes: Mapping[str, Leaf] = field(default_factory=dict)
    parent: str | None = None
    said: Ping | Pong | None = None


A_TREE = Tree(
    leaves=(Leaf(name="a", size=1.5), Leaf(name="b")),
    colour=Colour.RED,
    pair=(1, "one"),
    notes={"x": Leaf(name="x")},
    said=Pong(at=2.0),
)


def test_a_record_comes_back_equal() -> None:
    assert record.from_data(Tree, record.to_data(A_TREE)) == A_TREE


def test_members_of_a_union_are_told_apart_by_name() -> None:
    assert record.to_data(A_TREE)["said"] == {"is": "Pong", "at": 2.0}


def test_whole_numbers_are_read_as_floats_where_floats_are_kept() -> None:
    assert record.from_data(Leaf, {"name": "a", "size": 2}) == Leaf(name="a", size=2.0)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ({"name": "a"}, r"\$: key 'size' is missing"),
        ({"name": "a", "size": 1, "sise": 2}, r"\$: unknown key 'sise'"),
        ({"name": 3, "size": 1}, r"\$\.name: str was expected, not int"),
        ({"name": "a", "size": True}, r"\$\.size: float was expected, not bool"),
        ([], r"\$: an object was expected, not list"),
    ],
)
def test_what_does_not_fit_is_named_with_its_place(data: object, says: str) -> None:
    with pytest.raises(record.RecordError, match=says):
        record.from_data(Leaf, data)


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("colour", "blue", r"\$\.colour: 'blue' is none of 'red'"),
        ("leaves", {}, r"\$\.leaves: a list was expected"),
        ("leaves", [{"name": "a", "size": None}], r"\$\.leaves\[0\]\.size"),
        ("pair", [1], r"\$\.pair: 2 values were expected, not 1"),
        ("notes", [], r"\$\.notes: an object was expected"),
        ("said", {"is": "Boo", "at": 1}, r"\$\.said: unknown kind 'Boo'"),
        ("parent", 3, r"\$\.parent: str was expected"),
    ],
)
def test_what_does_not_fit_deep_inside_is_named_too(key: str, value: object, says: str) -> None:
    with pytest.raises(record.RecordError, match=says):
        record.from_data(Tree, {**record.to_data(A_TREE), key: value})


def test_equal_records_have_equal_digests_whatever_the_order_of_their_mappings() -> None:
    one = Tree(leaves=(), colour=Colour.RED, pair=(1, "a"), notes={"x": Leaf(name="x"), "y": Leaf(name="y")})
    other = Tree(
        leaves=(), colour=Colour.RED, pair=(1, "a"), notes={"y": Leaf(name="y"), "x": Leaf(name="x")}
    )

    assert record.digest(one) == record.digest(other)
    assert record.digest(one).startswith("sha256:")
