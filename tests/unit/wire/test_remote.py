"""A URL of a caller reaches the public internet and nothing else; what comes back is bounded and whole."""

from __future__ import annotations

import http.server
import socket
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from coldstart_sdk.wire import remote
from coldstart_sdk.wire.remote import RemoteError, fetch, is_public

PNG = b"\x89PNG\r\n\x1a\n"


class Site:
    """A web server on loopback: what it answers for each path, and what it was asked."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self.answers: dict[str, Callable[[http.server.BaseHTTPRequestHandler], None]] = {}
        self.asked: list[tuple[str, str]] = []

    def serve(self, path: str, body: bytes = b"", status: int = 200, **headers: str) -> str:
        def answer(request: http.server.BaseHTTPRequestHandler) -> None:
            request.send_response(status)
            for name, value in headers.items():
                request.send_header(name.replace("_", "-"), value)
            if "Content_Length" not in headers and "Transfer_Encoding" not in headers:
                request.send_header("Content-Length", str(len(body)))
            request.end_headers()
            request.wfile.write(body)

        self.answers[path] = answer
        return self.url + path

    def redirect(self, path: str, to: str, status: int = 302) -> str:
        return self.serve(path, status=status, Location=to)


@contextmanager
def a_site(host: str = "127.0.0.1") -> Iterator[Site]:
    class Request(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            site.asked.append((self.path, self.headers["Host"]))
            path = self.path.partition("?")[0]
            site.answers[path](self)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = http.server.ThreadingHTTPServer((host, 0), Request)
    server.daemon_threads = True
    site = Site(server.server_address[1])
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield site
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture(name="site")
def loopback(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setenv(remote.ALLOW_PRIVATE, "1")
    with a_site() as running:
        yield running


def test_what_is_fetched_has_its_content_type_and_name(site: Site) -> None:
    url = site.serve("/a/voice%20one.png", PNG, Content_Type="application/octet-stream")

    file = fetch(url + "?X-Amz-Signature=secret")

    assert (file.bytes, file.type, file.name) == (PNG, "image/png", "voice one.png")
    assert site.asked == [("/a/voice%20one.png?X-Amz-Signature=secret", f"127.0.0.1:{site.port}")]


@pytest.mark.parametrize(
    ("header", "kind"),
    [
        ("text/html; charset=utf-8", "text/html"),
        ("broken", "application/octet-stream"),
        ("", "application/octet-stream"),
    ],
)
def test_the_header_names_the_type_where_the_bytes_do_not(site: Site, header: str, kind: str) -> None:
    assert fetch(site.serve("/x", b"?", Content_Type=header)).type == kind


def test_a_body_without_a_length_is_read_to_its_end(site: Site) -> None:
    def answer(request: http.server.BaseHTTPRequestHandler) -> None:
        request.wfile.write(b"HTTP/1.0 200 OK\r\n\r\nhello")

    site.answers["/x"] = answer

    assert fetch(site.url + "/x").bytes == b"hello"


def test_a_body_in_chunks_is_read_whole(site: Site) -> None:
    def answer(request: http.server.BaseHTTPRequestHandler) -> None:
        request.wfile.write(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n"
        )

    site.answers["/x"] = answer

    assert fetch(site.url + "/x").bytes == b"hello"


def test_redirects_are_followed_to_the_fifth(site: Site) -> None:
    site.serve("/0", b"there")
    for i in range(1, 7):
        site.redirect(f"/{i}", f"/{i - 1}", status=(301, 302, 303, 307, 308, 302)[i - 1])

    assert fetch(site.url + "/5").bytes == b"there"
    with pytest.raises(RemoteError, match="more than 5 redirects"):
        fetch(site.url + "/6")


@pytest.mark.parametrize(
    ("to", "said"),
    [
        ("file:///etc/passwd", "only http and https"),
        ("gopher://127.0.0.1:70/", "only http and https"),
        ("http://user:secret@127.0.0.1/", "user name or password"),
        ("http://[broken/", "nowhere|not a valid"),
        ("http://host.invalid/", "cannot be found"),
        ("", "nowhere"),
    ],
)
def test_a_redirect_is_checked_like_the_first_url(site: Site, to: str, said: str) -> None:
    with pytest.raises(RemoteError, match=said) as caught:
        fetch(site.redirect("/x", to))

    assert "secret" not in str(caught.value)


def test_a_redirect_to_a_private_address_is_not_followed() -> None:
    with a_site("127.0.0.1") as public, a_site("127.0.0.2") as private:
        private.serve("/", b"the metadata service")
        url = public.redirect("/x", f"http://127.0.0.2:{private.port}/")

        with pytest.raises(RemoteError, match=r"127\.0\.0\.2 is not on the public internet"):
            fetch(url, may_connect=lambda address: address == "127.0.0.1")
        assert public.asked
        assert not private.asked


def test_a_name_is_resolved_once_and_that_address_is_used(site: Site) -> None:
    answers = [("127.0.0.1",), ("169.254.169.254",)]

    file = fetch(
        site.serve("/x", b"hello").replace("127.0.0.1", "rebinding.example"),
        resolve=lambda _host, _port: answers.pop(0),
    )

    assert file.bytes == b"hello"
    assert len(answers) == 1
    assert site.asked == [("/x", f"rebinding.example:{site.port}")]


def test_one_private_address_among_public_ones_is_enough_to_refuse() -> None:
    with pytest.raises(RemoteError, match="not on the public internet"):
        fetch("http://mixed.example/", resolve=lambda _host, _port: ("1.1.1.1", "10.0.0.1"))


def test_the_next_address_is_tried_when_one_is_dead(site: Site) -> None:
    site.serve("/x", b"hello")

    file = fetch(f"http://two.example:{site.port}/x", resolve=lambda _host, _port: ("127.0.0.3", "127.0.0.1"))

    assert file.bytes == b"hello"


@pytest.mark.parametrize("status", [204, 206, 304, 401, 403, 404, 500, 503])
def test_only_ok_is_content(site: Site, status: int) -> None:
    with pytest.raises(RemoteError, match=f"answered {status}"):
        fetch(site.serve("/x", b"" if status in {204, 304} else b"no", status=status))


def test_the_limit_itself_may_come_and_one_byte_more_may_not(site: Site) -> None:
    assert len(fetch(site.serve("/x", bytes(10)), limit_bytes=10)) == 10
    with pytest.raises(RemoteError, match="11 bytes are more than the 10"):
        fetch(site.serve("/y", bytes(11)), limit_bytes=10)


def test_an_endless_body_is_cut_at_the_limit(site: Site) -> None:
    def answer(request: http.server.BaseHTTPRequestHandler) -> None:
        request.wfile.write(b"HTTP/1.0 200 OK\r\n\r\n")
        try:
            while True:
                request.wfile.write(bytes(65536))
        except OSError:
            return

    site.answers["/x"] = answer

    with pytest.raises(RemoteError, match="larger than the 1000000"):
        fetch(site.url + "/x", limit_bytes=1_000_000)


def test_a_body_shorter_than_announced_is_refused(site: Site) -> None:
    with pytest.raises(RemoteError, match=r"cut short, at 2 of 5|connection broke"):
        fetch(site.serve("/x", b"he", Content_Length="5", Connection="close"))


def test_a_compressed_body_is_not_unpacked(site: Site) -> None:
    with pytest.raises(RemoteError, match="compressed"):
        fetch(site.serve("/x", b"\x1f\x8b", Content_Encoding="gzip"))


class _Drip(socketserver.BaseRequestHandler):
    """One byte at a time, for as long as anyone listens."""

    def handle(self) -> None:
        ended = threading.Event()
        try:
            self.request.sendall(b"HTTP/1.0 200 OK\r\n" + (b"\r\n" if self.server.in_body else b"X: "))  # type: ignore[attr-defined]  # set by the test
            while not ended.wait(0.02):
                self.request.sendall(b"a")
        except OSError:
            return


@pytest.mark.parametrize("in_body", [True, False])
def test_a_server_that_drips_is_left_at_the_deadline(monkeypatch: pytest.MonkeyPatch, in_body: bool) -> None:  # noqa: FBT001 - a case of the table
    monkeypatch.setenv(remote.ALLOW_PRIVATE, "1")
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Drip) as server:
        server.daemon_threads = True
        server.in_body = in_body  # type: ignore[attr-defined]  # read by the double
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

        with pytest.raises(RemoteError, match="too long"):
            fetch(f"http://127.0.0.1:{server.server_address[1]}/x", timeout_s=0.3)
        server.shutdown()


def test_a_port_where_nothing_listens_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(remote.ALLOW_PRIVATE, "1")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]

    with pytest.raises(RemoteError, match="nothing answers") as caught:
        fetch(f"http://127.0.0.1:{port}/a?signature=secret")

    assert "secret" not in str(caught.value)
    assert f"127.0.0.1:{port}/a" in str(caught.value)


def test_a_server_that_speaks_no_http_is_said(site: Site) -> None:
    def answer(request: http.server.BaseHTTPRequestHandler) -> None:
        request.wfile.write(b"SSH-2.0\r\n\r\n")

    site.answers["/x"] = answer

    with pytest.raises(RemoteError, match="connection broke"):
        fetch(site.url + "/x")


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/",
        "http://localhost/",
        "http://2130706433/",
        "http://0x7f000001/",
        "http://0177.0.0.1/",
        "http://127.1/",
        "http://0/",
        "http://0.0.0.0/",
        "http://10.0.0.1/",
        "http://172.16.0.1/",
        "http://192.168.1.1/",
        "http://169.254.169.254/latest/meta-data/",
        "http://100.64.0.1/",
        "http://192.0.2.1/",
        "http://198.18.0.1/",
        "http://224.0.0.1/",
        "http://240.0.0.1/",
        "http://255.255.255.255/",
        "http://[::1]/",
        "http://[::]/",
        "http://[fe80::1]/",
        "http://[fc00::1]/",
        "http://[ff02::1]/",
        "http://[::ffff:127.0.0.1]/",
        "http://[::ffff:a9fe:a9fe]/",
        "http://[::ffff:100.64.0.1]/",
        "http://[64:ff9b::7f00:1]/",
        "http://[2002:7f00:1::]/",
        "http://１２７.０.０.１/",  # noqa: RUF001 - full-width digits, which IDNA turns into plain ones
    ],
)
def test_an_address_of_our_own_network_is_refused_in_every_spelling(url: str) -> None:
    with pytest.raises(RemoteError, match=r"not on the public internet|cannot be found"):
        fetch(url)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("file:///etc/passwd", "only http and https"),
        ("gopher://x/", "only http and https"),
        ("ftp://x/", "only http and https"),
        ("//host/x", "only http and https"),
        ("http:///x", "no host|not valid|cannot be found"),
        ("http://", "no host|not valid|cannot be found"),
        ("http://user:pw@1.1.1.1/", "user name or password"),
        ("http://user@1.1.1.1/", "user name or password"),
        ("http://@1.1.1.1/", "user name or password"),
        ("http://1.1.1.1:99999/", "not valid"),
        ("http://1.1.1.1:x/", "not valid"),
        ("http://[::1/", "not a valid URL"),
        ("http://" + "a" * 300 + ".example/", "not valid|cannot be found"),
        ("http://a..b/", "not valid|cannot be found"),
        ("http://\ud800/", "not valid|not a valid|cannot be found"),
    ],
)
def test_what_is_no_fetchable_url_is_refused_before_any_connection(url: str, said: str) -> None:
    with pytest.raises(RemoteError, match=said) as caught:
        fetch(url)

    assert "pw" not in str(caught.value).replace("password", "")


@pytest.mark.parametrize("address", ["1.1.1.1", "2606:4700::1111", "::ffff:1.1.1.1", "64:ff9b::101:101"])
def test_a_public_address_is_public(address: str) -> None:
    assert is_public(address)


def test_control_characters_cannot_be_smuggled_into_a_request(site: Site) -> None:
    site.serve("/x", b"hello")

    assert fetch(site.url + "/x?a=1\r\nX-Evil: 1 2\t3").bytes == b"hello"
    assert "X-Evil" not in site.asked[0][1]
    assert " " not in site.asked[0][0]
