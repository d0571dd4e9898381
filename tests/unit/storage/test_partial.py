"""A file on its way, and the threads that write into it while another one ends it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from coldstart_sdk.storage.cancel import Cancelled
from coldstart_sdk.storage.partial import Part

LATE = memoryview(b"late")


@pytest.fixture
def part(tmp_path: Path) -> Part:
    return Part(tmp_path, "key", len(LATE))


@pytest.mark.parametrize(
    "work",
    [
        lambda part: part.write(0, LATE),
        lambda part: part.read_into(0, memoryview(bytearray(4))),
        lambda part: part.mark(0, "digest"),
    ],
    ids=["write", "read", "mark"],
)
@pytest.mark.parametrize("end", [Part.close, Part.discard], ids=["closed", "discarded"])
def test_who_still_works_on_a_part_that_was_let_go_is_cancelled_and_touches_nothing(
    part: Part, end: Callable[[Part], None], work: Callable[[Part], object], tmp_path: Path
) -> None:
    end(part)
    other = tmp_path / "another file"
    descriptor = os.open(other, os.O_RDWR | os.O_CREAT)  # takes the number that has become free

    with pytest.raises(Cancelled):
        work(part)

    os.close(descriptor)
    assert other.read_bytes() == b""
    assert set(tmp_path.iterdir()) == {other}


def test_a_write_that_is_under_way_when_the_part_is_let_go_still_ends_in_its_own_file(
    part: Part, tmp_path: Path
) -> None:
    other = tmp_path / "another file"

    with part._file.used() as ours:  # noqa: SLF001 - the very moment between a check and a write
        part.mark(0, "digest")
        part.close()
        theirs = os.open(other, os.O_RDWR | os.O_CREAT)
        os.pwrite(ours, LATE, 0)

    os.close(theirs)
    assert other.read_bytes() == b""
    assert part.path.read_bytes() == LATE


def test_a_part_leaves_no_descriptor_open(part: Part) -> None:
    before = _open_descriptors() - 1
    part.mark(0, "digest")

    part.close()
    part.close()

    assert _open_descriptors() == before


def _open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))
