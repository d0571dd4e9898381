"""What a canary gave before the snapshot is what it gives after the restore, up to rounding."""

from __future__ import annotations

from typing import Any

import pytest

from coldstart_sdk import Audio
from coldstart_sdk.backends.modal.canary import difference, held


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ([1.0, 2.0], [1.0, 2.0005], None),
        ([1.0, 2.0], [1.0, 2.5], "it[1] was 2, and is 2.5"),
        ([1.0], [1.0, 2.0], "it had 1 items, and has 2"),
        ({"a": 1}, {"b": 1}, "it has other keys"),
        ({"a": [1, {"b": "x"}]}, {"a": [1, {"b": "y"}]}, "it['a'][1]['b'] was a str, and is a str"),
        (float("nan"), float("nan"), "it was nan, and is nan"),
        (0.0, 1e-9, None),
        (True, 1, "it was True, and is a int"),
        (None, "x", "it was a NoneType, and is a str"),
        (b"ab", b"ab", None),
        (b"ab", b"abc", "it was 2 bytes, and is 3 bytes"),
    ],
)
def test_a_difference_is_told_where_it_is_first_and_never_what_was_said(
    before: Any,  # noqa: ANN401 - any value of a hook
    after: Any,  # noqa: ANN401 - as above
    said: str | None,
) -> None:
    assert difference(held(before), held(after)) == said


def test_arrays_are_held_by_value() -> None:
    numpy = pytest.importorskip("numpy")
    array = numpy.arange(6.0).reshape(2, 3)
    before = held(array)

    array[1, 2] = 7.0

    assert difference(before, held(array)) == "it['values'][5] was 5, and is 7"
    assert difference(before, held(array.reshape(3, 2))) == "it['shape'][0] was 2, and is 3"


def test_tensors_are_held_by_value() -> None:
    torch = pytest.importorskip("torch")
    tensor = torch.zeros(2, requires_grad=True)
    before = held(tensor)

    assert difference(before, held(torch.zeros(2))) is None
    assert difference(before, held(torch.ones(2))) == "it['values'][0] was 0, and is 1"


def test_media_are_held_by_their_bytes() -> None:
    assert difference(held(Audio.silence("0.1s")), held(Audio.silence("0.1s"))) is None
    assert difference(held(Audio.silence("0.1s")), held(Audio.silence("0.2s"))) is not None
