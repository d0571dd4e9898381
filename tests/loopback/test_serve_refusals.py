"""What a server refuses, how, and that it lives on: bad requests, strangers, and more than it can hold."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import httpx
import pytest

from coldstart_sdk.serve import bodies, connections
from coldstart_sdk.serve.options import Options
from tests.serving import TOO_LONG_S, Served, served

LIMIT = 4 * 2**20
ECHO = """
@warm_model(name="echo", scale=Scale(concurrency=4, queue=8))
class Echo:
    @endpoint
    def echo(self, text: str) -> str:
        return text

    @endpoint
    def media(self, ref: Audio) -> int:
        return len(ref)

    @endpoint
    def anything(self, value: object) -> object:
        return value
"""
JSON = {"content-type": "application/json"}


@pytest.fixture(scope="module")
def echo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("echo"), ECHO, Options(body_limit_bytes=LIMIT)) as running:
        yield running


def _is_alive(running: Served) -> bool:
    return bool(running.client.post("/echo", json={"text": "alive"}).json() == {"result": "alive"})


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "the body is empty"),
        (b"{", "not JSON at line 1"),
        (b'{"text": "a"} x', "not JSON"),
        (b"null", "not null"),
        (b"[]", "not an array"),
        (b'"x"', "not a string"),
        (b"7", "not a number"),
        (b"true", "not a boolean"),
        (b'{"text": NaN}', "NaN is not JSON"),
        (b'{"text": -Infinity}', "-Infinity is not JSON"),
        (b'{"text": 1e999}', "infinity"),
        (b'{"text": "a", "text": "b"}', "'text' stands twice"),
        (b'{"value": {"a": 1, "a": 2}}', "'a' stands twice"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"a":' * 100_000, "nested too deeply"),
        (b'{"text": ' + b"9" * 5000 + b"}", "too many digits"),
        (b'{"text": "\\ud800"}', "half a character"),
        (b'{"\\ud800": 1}', "half a character"),
        ('{"text": "a"}'.encode("utf-16"), "not UTF-8"),
        ('{"text": "a"}'.encode("utf-32-le"), "not JSON"),
        (b'{"text": "\xff"}', "not UTF-8 (byte 10)"),
        (b'{"text": 7}', "text: must be a valid string"),
        (b'{"txt": "a"}', "did you mean text?"),
        (b"{" + b",".join(b'"%d":1' % n for n in range(100_000)) + b"}", "100000 were given"),
        (b'{"text": [' + b"[]," * 1_000_001 + b"[]]}", "too many values"),
    ],
)
def test_a_body_that_means_nothing_is_a_400_with_the_reason(echo: Served, body: bytes, said: str) -> None:
    reply = echo.client.post("/echo", content=body, headers=JSON)

    assert reply.status_code == 400
    assert said in reply.json()["error"]["message"]
    assert _is_alive(echo)


def test_a_byte_order_mark_is_no_harm(echo: Served) -> None:
    assert echo.client.post("/echo", content=b'\xef\xbb\xbf{"text":"a"}', headers=JSON).status_code == 200


@pytest.mark.parametrize(
    "form",
    [
        "not base64",
        {"base64": "AAA"},
        {"base64": "!!!!"},
        {"base64": "AAAA", "url": "http://a"},
        {"path": "/etc"},
        7,
    ],
)
def test_a_medium_that_cannot_be_read_is_a_400_with_its_field(echo: Served, form: object) -> None:
    error = echo.client.post("/media", json={"ref": form}).json()["error"]

    assert error["type"] == "bad_arguments"
    assert error["fields"][0]["field"].startswith("ref")


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:1/", "http://169.254.169.254/latest", "file:///etc/passwd"]
)
def test_a_url_that_leads_inside_is_not_followed(echo: Served, url: str) -> None:
    assert echo.client.post("/media", json={"ref": url}).status_code == 400


@pytest.mark.parametrize(
    ("content_type", "status"),
    [
        ("application/json", 200),
        ("application/json; charset=utf-8", 200),
        ("APPLICATION/JSON", 200),
        ("text/plain", 415),
        ("application/x-www-form-urlencoded", 415),
        ("application/jsonp", 415),
        (None, 415),
    ],
)
def test_a_body_must_say_that_it_is_json(echo: Served, content_type: str | None, status: int) -> None:
    headers = {"content-type": content_type} if content_type else {}
    reply = echo.client.post("/echo", content=b'{"text":"a"}', headers=headers)

    assert reply.status_code == status


def test_a_packed_body_is_not_unpacked(echo: Served) -> None:
    reply = echo.client.post("/echo", content=b"\x1f\x8b", headers={**JSON, "content-encoding": "gzip"})

    assert reply.status_code == 415


@pytest.mark.parametrize(
    ("method", "path", "status", "allow"),
    [
        ("GET", "/nothing", 404, None),
        ("POST", "/ech", 404, None),
        ("POST", "/echo/", 404, None),
        ("POST", "/%2e%2e/echo", 404, None),
        ("POST", "/", 404, None),
        ("GET", "/echo", 405, "POST, OPTIONS"),
        ("PUT", "/echo", 405, "POST, OPTIONS"),
        ("DELETE", "/echo", 405, "POST, OPTIONS"),
        ("POST", "/ready", 405, "GET, HEAD, OPTIONS"),
        ("HEAD", "/", 200, None),
        ("OPTIONS", "/echo", 204, "POST, OPTIONS"),
        ("OPTIONS", "/", 204, "GET, HEAD, POST, OPTIONS"),
    ],
)
def test_paths_and_methods_that_are_not_there(
    echo: Served, method: str, path: str, status: int, allow: str | None
) -> None:
    request = httpx.Request(method, echo.url)
    request.url = request.url.copy_with(raw_path=path.encode())
    reply = echo.client.send(request)

    assert (reply.status_code, reply.headers.get("allow")) == (status, allow), reply.text
    if status == 404:
        assert reply.json()["error"]["type"] == "unknown_endpoint"


def test_a_near_miss_is_named(echo: Served) -> None:
    assert "did you mean echo?" in echo.client.post("/ech", json={}).json()["error"]["message"]


# ---- forms


def _form(*parts: tuple[str, bytes]) -> bytes:
    return b"".join(b"--B\r\n%s\r\n\r\n%s\r\n" % (head.encode(), body) for head, body in parts) + b"--B--\r\n"


NAMED = 'Content-Disposition: form-data; name="text"'


@pytest.mark.parametrize(
    ("content_type", "body", "said"),
    [
        ("multipart/form-data", _form((NAMED, b"a")), "no boundary"),
        (f"multipart/form-data; boundary={'B' * 300}", b"", "too long"),
        ("multipart/form-data; boundary=B", b"garbage", "cannot be told apart"),
        ("multipart/form-data; boundary=B", _form((NAMED, b"a"))[:-10], "ends before its last boundary"),
        ("multipart/form-data; boundary=B", b"", "ends before its last boundary"),
        ("multipart/form-data; boundary=B", _form(("Content-Disposition: form-data", b"a")), "no name"),
        ("multipart/form-data; boundary=B", _form((NAMED, b"a"), (NAMED, b"b")), "text: sent twice"),
        ("multipart/form-data; boundary=B", _form((NAMED, b"\xff")), "text: not UTF-8"),
        ("multipart/form-data; boundary=B", _form((NAMED, bytes(2 * 2**20))), "1048576 bytes at most"),
        ("multipart/form-data; boundary=B", _form(*[(NAMED, b"a")] * 300), "more than 256 parts"),
        (
            "multipart/form-data; boundary=B",
            _form((f"{NAMED}\r\nContent-Transfer-Encoding: base64", b"YQ==")),
            "Content-Transfer-Encoding",
        ),
        (
            "multipart/form-data; boundary=B",
            _form(
                ('Content-Disposition: form-data; name="value"; filename="a"\r\nContent-Type: nonsense', b"a")
            ),
            "not a MIME type",
        ),
    ],
)
def test_a_form_that_cannot_be_read_is_a_400(echo: Served, content_type: str, body: bytes, said: str) -> None:
    path = "/anything" if b'"value"' in body else "/echo"
    reply = echo.client.post(path, content=body, headers={"content-type": content_type})

    assert reply.status_code == 400
    assert said in reply.json()["error"]["message"]
    assert _is_alive(echo)


def test_uploads_leave_no_files_behind(tmp_path: Path, echo: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    wav = b"RIFF\0\0\0\0WAVE" + bytes(2**20)

    assert echo.client.post("/media", files={"ref": ("a.wav", wav)}).status_code == 200
    assert (
        echo.client.post("/media", files={"ref": ("a.wav", wav), "no": ("b", wav[: 2**20 + 1])}).status_code
        == 400
    )
    assert list(tmp_path.iterdir()) == []


# ---- bounds


def _raw(running: Served, request: bytes, *, then: bytes = b"") -> bytes:
    """Everything that a server says to these bytes, until it closes or has answered."""
    with closing(socket.create_connection(("127.0.0.1", running.port), TOO_LONG_S)) as peer:
        peer.sendall(request)
        with suppress(ConnectionError):
            peer.sendall(then)
        return _read_all(peer)


def _read_all(peer: socket.socket) -> bytes:
    """Until it closes; one that does not care for the rest of what it was sent resets."""
    said = b""
    with suppress(ConnectionResetError):
        while chunk := peer.recv(65536):
            said += chunk
    return said


def _head(*lines: str, method: str = "POST /echo") -> bytes:
    default = [f"{method} HTTP/1.1", "Host: localhost", "Content-Type: application/json"]
    return "\r\n".join([*default, *lines, "", ""]).encode()


def test_a_body_as_large_as_the_limit_is_read(echo: Served) -> None:
    body = b'{"text":"' + b"a" * (LIMIT - 11) + b'"}'
    assert len(body) == LIMIT

    assert echo.client.post("/echo", content=body, headers=JSON).status_code == 200


@pytest.mark.parametrize("beyond", [1, 99 * LIMIT])
def test_a_body_past_the_limit_is_refused_by_its_length(echo: Served, beyond: int) -> None:
    said = _raw(echo, _head(f"Content-Length: {LIMIT + beyond}"))

    assert said.startswith(b"HTTP/1.1 413")
    assert b"connection: close" in said


def test_a_body_without_a_length_is_refused_once_it_is_too_large(echo: Served) -> None:
    def endless() -> Iterator[bytes]:
        for _ in range(LIMIT // 65536 + 8):
            yield bytes(65536)

    reply = echo.client.post("/echo", content=endless(), headers=JSON)

    assert reply.status_code == 413
    assert _is_alive(echo)


def test_who_sends_a_large_body_still_reads_why_it_was_refused(echo: Served) -> None:
    for _ in range(10):
        reply = echo.client.post("/nothing", content=bytes(2**20), headers=JSON)
        assert reply.status_code == 404


@pytest.mark.parametrize(
    "request_",
    [
        b"nonsense\r\n\r\n",
        b"POST /echo HTTP/1.1\r\nHost localhost\r\n\r\n",
        _head("Content-Length: -1"),
        _head("Content-Length: x"),
        _head("Content-Length: 2", "Content-Length: 3"),
        _head("Content-Length: 5", "Transfer-Encoding: chunked"),
        _head("Transfer-Encoding: chunked") + b"zz\r\n{}\r\n0\r\n\r\n",
    ],
)
def test_a_request_that_two_readers_could_read_differently_is_a_400(echo: Served, request_: bytes) -> None:
    said = _raw(echo, request_)

    assert said.startswith(b"HTTP/1.1 400")
    assert said.count(b"HTTP/1.1") == 1
    assert _is_alive(echo)


@pytest.mark.parametrize("header", ["Host: elsewhere", "Content-Type: text/plain"])
def test_a_header_that_is_sent_twice_is_a_400(echo: Served, header: str) -> None:
    assert _raw(echo, _head(header, "Content-Length: 0", "Connection: close")).startswith(b"HTTP/1.1 400")


def test_a_head_without_end_is_cut_off(echo: Served) -> None:
    said = _raw(echo, _head("X-Long: " + "a" * 200_000)[:-4], then=b"a" * 65536)

    assert said.startswith(b"HTTP/1.1 400") or said == b""
    assert _is_alive(echo)


def test_a_connection_that_says_nothing_is_closed(echo: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "HEAD_S", 0.2)
    for start in (b"", b"POST /echo HT"):
        with closing(socket.create_connection(("127.0.0.1", echo.port), TOO_LONG_S)) as peer:
            peer.sendall(start)
            assert peer.recv(100) == b""


def test_a_body_that_does_not_come_is_given_up(echo: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "PATIENCE_S", 0.2)
    with closing(socket.create_connection(("127.0.0.1", echo.port), TOO_LONG_S)) as peer:
        peer.sendall(_head("Content-Length: 10") + b"{")
        said = _read_all(peer)

    assert said.startswith(b"HTTP/1.1 400")
    assert b"did not come in time" in said


def test_many_idle_connections_do_not_keep_others_out(echo: Served) -> None:
    peers = [socket.create_connection(("127.0.0.1", echo.port), TOO_LONG_S) for _ in range(200)]
    try:
        assert _is_alive(echo)
    finally:
        for peer in peers:
            peer.close()


def test_requests_that_come_at_once_on_one_connection_are_answered_in_turn(echo: Served) -> None:
    one = _head("Content-Length: 12") + b'{"text":"1"}'
    two = _head("Content-Length: 12", "Connection: close") + b'{"text":"2"}'
    said = _raw(echo, one + two)

    assert said.index(b'{"result":"1"}') < said.index(b'{"result":"2"}')


BUSY = """
GO = threading.Event()

@warm_model(name="busy", scale=Scale(concurrency=1, queue=1))
class Busy:
    @endpoint
    def work(self) -> str:
        (HERE / "began").touch()
        GO.wait(60)
        return "done"

    @endpoint
    async def go(self) -> None:
        GO.set()
"""


def test_past_the_queue_a_caller_is_told_to_come_back(tmp_path: Path) -> None:
    with served(tmp_path, BUSY) as running:
        replies: list[httpx.Response] = []
        asking = [
            threading.Thread(target=lambda: replies.append(running.client.post("/work", json={})))
            for _ in range(2)
        ]
        asking[0].start()
        running.wait_for_file("began")
        asking[1].start()
        while "coldstart_queue_length 1" not in running.client.get("/metrics").text:
            time.sleep(0.01)

        refused = running.client.post("/work", content=b"unread", headers=JSON)
        import sys

        sys.modules[running.life.plan.spec.module].GO.set()
        for each in asking:
            each.join(TOO_LONG_S)

        assert (refused.status_code, refused.json()["error"]["type"]) == (429, "busy")
        assert int(refused.headers["retry-after"]) >= 1
        assert [reply.json() for reply in replies] == [{"result": "done"}] * 2


# ---- strangers


@pytest.mark.parametrize(
    ("host", "origin", "status"),
    [
        ("localhost:{port}", None, 200),
        ("127.0.0.1:{port}", None, 200),
        ("[::1]:{port}", None, 200),
        ("LOCALHOST", None, 200),
        ("localhost.:1234", None, 200),
        ("friend.example", None, 200),
        ("a.wild.example", None, 200),
        ("evil.example", None, 403),
        ("localhost.evil.example", None, 403),
        ("127.0.0.1.evil.example", None, 403),
        ("evil.example@localhost", None, 403),
        ("169.254.169.254", None, 403),
        ("", None, 403),
        ("localhost", "http://localhost", 200),
        ("localhost:{port}", "http://localhost:{port}", 200),
        ("localhost:{port}", "https://localhost:{port}", 200),
        ("localhost:{port}", "https://page.example", 200),
        ("localhost:{port}", "http://localhost:1", 403),
        ("localhost:{port}", "https://evil.example", 403),
        ("localhost:{port}", "null", 403),
        ("localhost:{port}", "https://page.example.evil.example", 403),
        ("evil.example", "http://evil.example", 403),
    ],
)
def test_only_our_own_names_and_pages_are_answered(
    guarded: Served, host: str, origin: str | None, status: int
) -> None:
    headers = {"host": host.format(port=guarded.port)}
    if origin:
        headers["origin"] = origin.format(port=guarded.port)
    for path in ("/ready", "/health", "/openapi.json"):
        assert guarded.client.get(path, headers=headers).status_code == status
    assert guarded.client.post("/echo", json={"text": "a"}, headers=headers).status_code == status


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    options = Options(hosts=("friend.example", "*.wild.example"), origins=("https://page.example",))
    with served(tmp_path_factory.mktemp("guarded"), ECHO, options) as running:
        yield running


def test_a_request_without_a_host_is_refused_unless_it_is_too_old_to_have_one(guarded: Served) -> None:
    assert _raw(guarded, b"GET /health HTTP/1.1\r\nConnection: close\r\n\r\n").startswith(b"HTTP/1.1 403")
    assert _raw(guarded, b"GET /health HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.1 200")


def test_an_allowed_page_is_told_so_by_the_browsers_own_rules(guarded: Served) -> None:
    asked = {"origin": "https://page.example", "access-control-request-method": "POST"}
    preflight = guarded.client.options("/echo", headers=asked)
    reply = guarded.client.post("/echo", json={"text": "a"}, headers={"origin": "https://page.example"})
    stranger = guarded.client.options("/echo", headers={**asked, "origin": "https://evil.example"})

    assert preflight.headers["access-control-allow-origin"] == "https://page.example"
    assert "content-type" in preflight.headers["access-control-allow-headers"]
    assert reply.headers["access-control-allow-origin"] == "https://page.example"
    assert reply.headers["vary"] == "origin"
    assert "access-control-allow-origin" not in stranger.headers


TOKEN = "correct-horse"


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("locked"), ECHO, Options(token=TOKEN)) as running:
        yield running


@pytest.mark.parametrize(
    ("authorization", "status"),
    [
        (f"Bearer {TOKEN}", 200),
        (f"bearer {TOKEN}", 200),
        (f"Bearer {TOKEN}x", 401),
        (f"Bearer {TOKEN[:-1]}", 401),
        ("Bearer", 401),
        (f"Basic {TOKEN}", 401),
        (TOKEN, 401),
        ("Bearer \u00e9", 401),
        ("", 401),
    ],
)
def test_only_the_whole_token_opens(locked: Served, authorization: str, status: int) -> None:
    headers = {b"authorization": authorization.encode("latin-1")}
    for method, path in (("POST", "/echo"), ("GET", "/metrics"), ("GET", "/trace"), ("GET", "/")):
        reply = locked.client.request(
            method, path, headers=headers, json={"text": "a"} if method == "POST" else None
        )
        assert reply.status_code == status, path
        if status == 401:
            assert reply.headers["www-authenticate"] == "Bearer"


def test_without_the_token_not_even_names_are_told(locked: Served) -> None:
    with httpx.Client(base_url=locked.url) as stranger:
        assert stranger.post("/nothing", json={}).status_code == 401
        assert "echo" not in stranger.get("/nothing").text


def test_probes_need_no_token_and_learn_only_the_state(locked: Served) -> None:
    with httpx.Client(base_url=locked.url) as probe:
        assert probe.get("/health").status_code == 200
        assert probe.get("/ping").status_code == 200
        assert probe.get("/ready").json() == {"state": "ready"}


def test_openapi_tells_of_the_token(locked: Served) -> None:
    document = locked.client.get("/openapi.json").json()

    assert document["components"]["securitySchemes"]["token"]["scheme"] == "bearer"
    assert document["security"] == [{"token": []}]
    assert document["paths"]["/health"]["get"]["security"] == []
