"""Bytes that go from a connection into a file past this process."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from coldstart_sdk.storage.cancel import Cancelled
from coldstart_sdk.storage.http1 import ProtocolError, Response
from coldstart_sdk.storage.partial import Part
from coldstart_sdk.storage.pour import Pipe
from coldstart_sdk.storage.wire import Wire

DATA = bytes(range(256)) * 100
HEAD = "HTTP/1.1 200 OK\r\n"


@pytest.fixture
def ends() -> Iterator[tuple[Wire, socket.socket]]:
    """Ours, and the other side's."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        ours = socket.create_connection(server.getsockname())
        theirs, _ = server.accept()
        with ours, theirs:
            yield Wire(ours), theirs


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    made = Pipe()
    yield made
    made.close()


def test_what_was_poured_lies_in_its_place_and_is_seen_there(
    ends: tuple[Wire, socket.socket], pipe: Pipe, tmp_path: Path
) -> None:
    wire, theirs = ends
    theirs.sendall(DATA)
    part = Part(tmp_path, "key", 3 * len(DATA))
    at = 4099  # in the midst of a page

    poured = 0
    while poured < len(DATA):
        count = wire.pour(pipe.inlet, len(DATA) - poured)
        part.drain(pipe, count, at + poured)
        with part.seen(at + poured, count) as seen:
            assert bytes(seen) == DATA[poured : poured + count]
        poured += count

    assert part.path.read_bytes() == bytes(at) + DATA + bytes(2 * len(DATA) - at)


def test_a_file_that_takes_nothing_from_pipes_gets_it_all_the_same(pipe: Pipe, tmp_path: Path) -> None:
    with (tmp_path / "appended").open("ab") as file:
        os.write(pipe.inlet, DATA)
        pipe.drain(len(DATA), file.fileno(), 0)

    assert (tmp_path / "appended").read_bytes() == DATA


def test_after_a_full_disk_nothing_is_left_that_would_go_into_the_next_file(
    pipe: Pipe, tmp_path: Path
) -> None:
    with Path("/dev/full").open("wb", buffering=0) as full:
        os.write(pipe.inlet, b"before")
        with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
            pipe.drain(6, full.fileno(), 0)
    with (tmp_path / "next").open("wb") as file:
        os.write(pipe.inlet, b"after")
        pipe.drain(5, file.fileno(), 0)

    assert (tmp_path / "next").read_bytes() == b"after"


def test_nothing_is_poured_into_a_part_that_was_let_go(pipe: Pipe, tmp_path: Path) -> None:
    part = Part(tmp_path, "key", 4)
    os.write(pipe.inlet, b"late")
    part.close()

    with pytest.raises(Cancelled):
        part.drain(pipe, 4, 0)
    with pytest.raises(Cancelled), part.seen(0, 4):
        pass


def test_a_body_is_poured_to_its_end_and_no_further(ends: tuple[Wire, socket.socket], pipe: Pipe) -> None:
    wire, theirs = ends
    theirs.sendall(f"{HEAD}Content-Length: 5\r\n\r\n".encode())
    response = Response(wire, "GET")
    theirs.sendall(f"hello{HEAD}Content-Length: 0\r\n\r\n".encode())

    poured = 0
    while not response.is_over:
        poured += response.pour(pipe.inlet, 1000)

    assert poured == 5
    assert response.leaves_the_connection_free
    assert Response(wire, "GET").is_over


def test_what_came_along_with_the_head_is_read(ends: tuple[Wire, socket.socket]) -> None:
    wire, theirs = ends
    theirs.sendall(f"{HEAD}Content-Length: 5\r\n\r\nhello".encode())
    response = Response(wire, "GET")

    assert not response.pours
    assert response.read(100) == b"hello"


def test_a_body_that_ends_early_is_no_body(ends: tuple[Wire, socket.socket], pipe: Pipe) -> None:
    wire, theirs = ends
    theirs.sendall(f"{HEAD}Content-Length: 5\r\n\r\n".encode())
    response = Response(wire, "GET")
    theirs.shutdown(socket.SHUT_WR)

    with pytest.raises(ProtocolError):
        response.pour(pipe.inlet, 5)


def test_chunks_are_read_for_their_sizes_stand_between_them(ends: tuple[Wire, socket.socket]) -> None:
    wire, theirs = ends
    theirs.sendall(f"{HEAD}Transfer-Encoding: chunked\r\n\r\n".encode())

    assert not Response(wire, "GET").pours


def test_silence_ends_a_pour_as_it_ends_a_read(ends: tuple[Wire, socket.socket], pipe: Pipe) -> None:
    wire, _ = ends
    wire.bound(0.05)

    with pytest.raises(TimeoutError):
        wire.pour(pipe.inlet, 1000)
