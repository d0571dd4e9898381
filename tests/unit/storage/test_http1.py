"""The byte path's HTTP: what goes out, and each thing that may come in, on a real pair of sockets."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from coldstart_sdk.storage.http1 import Headers, ProtocolError, Response, send
from coldstart_sdk.storage.wire import Wire

HEAD = "HTTP/1.1 200 OK\r\n"


@pytest.fixture
def ends() -> Iterator[tuple[Wire, socket.socket]]:
    """Ours, and the other side's."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield Wire(ours), theirs


def answered(ends: tuple[Wire, socket.socket], text: str, *, to: str = "GET", over: bool = True) -> Response:
    """What these bytes are, where nothing more comes if `over`."""
    wire, theirs = ends
    theirs.sendall(text.encode("latin-1"))
    if over:
        theirs.shutdown(socket.SHUT_WR)
    return Response(wire, to)


@pytest.mark.parametrize(
    ("text", "body"),
    [
        ("Content-Length: 5\r\n\r\nhello", b"hello"),
        ("content-length:5\r\n\r\nhello and more", b"hello"),
        ("Content-Length: 5, 5\r\n\r\nhello", b"hello"),
        ("\r\nall until the end", b"all until the end"),
        ("Transfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2;a=b\r\nlo\r\n0\r\n\r\n", b"hello"),
        ("Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nTrailing: x\r\n\r\n", b"hello"),
        ("Content-Length: 0\r\n\r\n", b""),
    ],
)
def test_a_body_ends_where_its_head_says(ends: tuple[Wire, socket.socket], text: str, body: bytes) -> None:
    assert answered(ends, HEAD + text).read(1000) == body


@pytest.mark.parametrize("size", [1, 7, 100_000])
@pytest.mark.parametrize("framing", ["chunks", "length"])
def test_a_body_is_the_same_in_whatever_pieces_it_is_read(
    ends: tuple[Wire, socket.socket], size: int, framing: str
) -> None:
    data = bytes(range(256)) * 40
    text = data.decode("latin-1")
    chunked = f"Transfer-Encoding: chunked\r\n\r\n{len(data):x}\r\n{text}\r\n0\r\n\r\n"
    response = answered(
        ends, HEAD + (chunked if framing == "chunks" else f"Content-Length: {len(data)}\r\n\r\n{text}")
    )

    read, buffer = b"", memoryview(bytearray(size))
    while count := response.fill(buffer):
        read += buffer[:count]

    assert (read, response.is_over, response.leaves_the_connection_free) == (data, True, True)


@pytest.mark.parametrize(
    ("text", "to"),
    [
        ("HTTP/1.1 204 No Content\r\n\r\n", "GET"),
        ("HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", "GET"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", "HEAD"),
    ],
)
def test_some_answers_have_no_body(ends: tuple[Wire, socket.socket], text: str, to: str) -> None:
    response = answered(ends, text, to=to, over=False)

    assert (response.is_over, response.read(10), response.leaves_the_connection_free) == (True, b"", True)


@pytest.mark.parametrize(
    "text",
    [
        "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: Close\r\n\r\nhi",
        "HTTP/1.1 200 OK\r\n\r\nhi",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi, and what nobody asked for",
    ],
)
def test_after_some_answers_the_connection_is_not_used_again(
    ends: tuple[Wire, socket.socket], text: str
) -> None:
    response = answered(ends, text)

    assert response.read(1000) == b"hi"
    assert not response.leaves_the_connection_free


def test_a_half_read_answer_keeps_the_connection(ends: tuple[Wire, socket.socket]) -> None:
    response = answered(ends, f"{HEAD}Content-Length: 5\r\n\r\nhello")

    response.read(3)

    assert (response.length, response.leaves_the_connection_free) == (2, False)


def test_a_body_that_is_cut_is_known_to_be_short(ends: tuple[Wire, socket.socket]) -> None:
    response = answered(ends, f"{HEAD}Content-Length: 9\r\n\r\nhello")

    assert (response.read(100), response.length, response.is_over) == (b"hello", 4, False)


def test_what_comes_before_the_answer_is_passed_over(ends: tuple[Wire, socket.socket]) -> None:
    early = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"

    response = answered(ends, f"{early}HTTP/1.1 206 Partial Content\r\nContent-Length: 1\r\n\r\nx")

    assert (response.status, response.read(9), "Link" in response.headers) == (206, b"x", False)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "HTTP/1.1 200",
        "SSH-2.0-OpenSSH\r\n\r\n",
        "HTTP/2 200 OK\r\n\r\n",
        "HTTP/1.1 20 OK\r\n\r\n",
        f"{HEAD}no colon\r\n\r\n",
        f"{HEAD}a name: x\r\n\r\n",
        f"{HEAD} folded: x\r\n\r\n",
        f"{HEAD}Content-Length: many\r\n\r\n",
        f"{HEAD}Content-Length: -1\r\n\r\n",
        f"{HEAD}Content-Length: 1, 2\r\n\r\n",
        f"{HEAD}Content-Length: 1\r\nContent-Length: 2\r\n\r\n",
        f"{HEAD}Transfer-Encoding: gzip\r\n\r\n",
        f"{HEAD}{'x' * 70_000}",
        HEAD + "a: b\r\n" * 20_000 + "\r\n",
    ],
)
def test_a_head_that_breaks_a_rule_is_refused(ends: tuple[Wire, socket.socket], text: str) -> None:
    with pytest.raises(ProtocolError):
        answered(ends, text)


@pytest.mark.parametrize(
    "chunks", ["", "x\r\nhello", "5\r\nhel", "2\r\nhello\r\n0\r\n\r\n", "5\r\nhello\r\n"]
)
def test_chunks_that_break_a_rule_are_refused(ends: tuple[Wire, socket.socket], chunks: str) -> None:
    response = answered(ends, f"{HEAD}Transfer-Encoding: chunked\r\n\r\n{chunks}")

    with pytest.raises(ProtocolError):
        response.read(1000)


def test_headers_are_found_in_any_case_and_folded_lines_are_one() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        head = f'{HEAD}ETag: "a"\r\nVary: one\r\nvary: two\r\nLong: begins\r\n  and ends\r\n\r\n'
        headers = answered((Wire(ours), theirs), head).headers

    assert (headers.get("etag"), headers["VARY"], headers.get("long")) == (
        '"a"',
        "one, two",
        "begins and ends",
    )
    assert (headers.get("none"), headers.get("none", "-")) == (None, "-")


def sent(ends: tuple[Wire, socket.socket], *, headers: dict[str, str], body: bytes | None = None) -> str:
    wire, theirs = ends
    send(wire, "PUT", "/a?b=c", "example.org:81", headers, body)
    return theirs.recv(9000).decode("latin-1")


def test_a_request_names_its_host_and_how_long_its_body_is(ends: tuple[Wire, socket.socket]) -> None:
    assert sent(ends, headers={"X-Own": "é"}) == (
        "PUT /a?b=c HTTP/1.1\r\nX-Own: é\r\nHost: example.org:81\r\nContent-Length: 0\r\n\r\n"
    )


def test_a_host_that_was_signed_is_sent_as_it_was(ends: tuple[Wire, socket.socket]) -> None:
    text = sent(ends, headers={"host": "bucket.example.org"}, body=b"hi")

    assert "host: bucket.example.org\r\n" in text
    assert text.count("ost:") == 1
    assert text.count("Content-Length: 2") == 1


@pytest.mark.parametrize(
    ("target", "header"),
    [
        ("/a b", ("X", "y")),
        ("/a\r\nEvil: x", ("X", "y")),
        ("/é", ("X", "y")),
        ("/", ("X", "y\r\nEvil: x")),
        ("/", ("X: y\r\nEvil", "x")),
        ("/", ("X", "日")),
    ],
)
def test_nothing_goes_out_that_would_read_as_another_line(
    ends: tuple[Wire, socket.socket], target: str, header: tuple[str, str]
) -> None:
    wire, theirs = ends

    with pytest.raises(ProtocolError):
        send(wire, "GET", target, "example.org", dict([header]), None)

    theirs.settimeout(0)
    with pytest.raises(BlockingIOError):
        theirs.recv(1)


def test_headers_know_what_they_hold() -> None:
    assert "a" in Headers([("A", "1")])
    assert "b" not in Headers([("A", "1")])
