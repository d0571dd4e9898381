"""The rehearsed link to others: all who are asked share it, no break goes unseen, no secret stays there."""

from __future__ import annotations

import base64
import os
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from coldstart_sdk.errors import UsageError
from coldstart_sdk.rehearsal.hub import Hub
from coldstart_sdk.rehearsal.origin import Origin
from coldstart_sdk.rehearsal.proxy import Proxy, own_names
from coldstart_sdk.rehearsal.runpod.jobs import HOST
from coldstart_sdk.rehearsal.s3 import S3
from coldstart_sdk.storage.http import Address, Channel, Network
from coldstart_sdk.storage.transient import TransientError
from tests.builders import LOAD, a_plan
from tests.syncing import Syncing, a_url, content

DATA = content(3_000_000, seed=5)
FAST, SLOW = 1e9, 6e6
SECRET = "canary-of-a-signature"
OTHER = "127.0.0.2"


@pytest.fixture
def served(tmp_path: Path) -> Path:
    (tmp_path / "served").mkdir()
    (tmp_path / "served/model.bin").write_bytes(DATA)
    return tmp_path / "served"


@contextmanager
def linked(monkeypatch: pytest.MonkeyPatch, rate_bytes_s: float = FAST, *near: str) -> Iterator[Proxy]:
    """A link that we are behind."""
    with Proxy(rate_bytes_s) as link, monkeypatch.context() as patch:
        for name, value in link.environment(near).items():
            patch.setenv(name, value)
        yield link


@contextmanager
def a_channel() -> Iterator[Channel]:
    """Of our own byte path."""
    channel = Channel(Network(stall_s=10))
    try:
        yield channel
    finally:
        channel.drop()


def fetched(url: str) -> bytes:
    with a_channel() as channel:
        answer = channel.get(Address(url=url), {})
        assert answer.status == 200
        buffer, came = memoryview(bytearray(1 << 20)), b""
        while count := answer.read_into(buffer):
            came += buffer[:count]
        return came


@contextmanager
def answering(answer: Callable[[socket.socket], None]) -> Iterator[tuple[int, list[bytes]]]:
    """A server that takes one head from each connection, and does as told; its port, and the heads."""
    heads: list[bytes] = []
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                peer = listener.accept()[0]
            except OSError:
                return
            with peer, suppress(OSError):
                head = b""
                while not head.endswith(b"\r\n\r\n") and (more := peer.recv(1 << 16)):
                    head += more
                heads.append(head)
                answer(peer)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield listener.getsockname()[1], heads
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(10)


def asked(link: Proxy, *lines: str) -> socket.socket:
    """A connection to the proxy with a request on its way."""
    host, port = link.address.removeprefix("http://").split(":")
    connected = socket.create_connection((host, int(port)), timeout=30)
    connected.sendall("\r\n".join((*lines, "", "")).encode())
    return connected


def said(connected: socket.socket) -> bytes:
    with connected:
        return b"".join(iter(lambda: connected.recv(1 << 16), b""))


@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
def test_a_fetch_takes_as_long_as_the_link_says(
    tls: bool,  # noqa: FBT001 - given by the parametrization
    served: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    certificate = a_certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", certificate[0])
    with Origin(served, tls=certificate if tls else None) as origin, linked(monkeypatch, SLOW) as link:
        began_s = time.monotonic()
        came = fetched(origin.url("model.bin"))
        took_s = time.monotonic() - began_s
        counted = link.came()

    assert came == DATA
    assert took_s > 0.8 * len(DATA) / SLOW
    assert counted["127.0.0.1"] >= len(DATA)


def test_all_who_are_asked_share_one_link(served: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Origin(served) as hub, Origin(served, host=OTHER) as store, linked(monkeypatch, SLOW) as link:
        threads = [
            threading.Thread(target=fetched, args=(origin.url("model.bin"),)) for origin in (hub, store)
        ]
        began_s = time.monotonic()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        took_s = time.monotonic() - began_s
        counted = link.came()

    assert took_s > 0.8 * 2 * len(DATA) / SLOW
    assert min(counted["127.0.0.1"], counted[OTHER]) >= len(DATA)


def test_what_is_sent_takes_its_time_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with S3(tmp_path / "buckets") as store, linked(monkeypatch, SLOW), a_channel() as channel:
        began_s = time.monotonic()
        signed = {"Authorization": "AWS4-HMAC-SHA256 Credential=id/today, SignedHeaders=host, Signature=none"}
        answer = channel.ask("PUT", Address(url=f"{store.endpoint}/bucket/model.bin"), signed, DATA)
        took_s = time.monotonic() - began_s

    assert answer.status == 200
    assert took_s > 0.8 * len(DATA) / SLOW
    assert store.file("bucket", "model.bin").read_bytes() == DATA


CLIENTS = {
    "urllib": "import urllib.request; take = lambda url: urllib.request.urlopen(url).read()",
    "httpx": "import httpx; take = lambda url: httpx.get(url).content",
    "requests": "import requests; take = lambda url: requests.get(url).content",
    "aiohttp": """
import aiohttp, asyncio
async def asked(url):
    async with aiohttp.ClientSession(trust_env=True) as session, session.get(url) as answer:
        return await answer.read()
take = lambda url: asyncio.run(asked(url))
""",
}


@pytest.mark.parametrize("client", CLIENTS)
def test_a_users_own_client_goes_through_and_what_is_near_does_not(client: str, served: Path) -> None:
    pytest.importorskip(client)
    program = f"{CLIENTS[client]}\nimport sys\nfor url in sys.argv[1:]: print(len(take(url)))"
    with Origin(served) as far, Origin(served, host=HOST) as near, Proxy(FAST) as link:
        urls = (far.url("model.bin"), near.url("model.bin"))
        env = {**os.environ, **link.environment([HOST])}
        ended = subprocess.run(
            [sys.executable, "-c", program, *urls], capture_output=True, env=env, check=False
        )
        counted, reached = link.came(), len(near.requests)

    assert ended.stdout.split() == [str(len(DATA)).encode()] * 2, ended.stderr
    assert counted.keys() == {"127.0.0.1"}
    assert counted["127.0.0.1"] >= len(DATA)
    assert reached == 1


def test_the_hubs_client_goes_through_with_the_hubs_cdn(tmp_path: Path) -> None:
    pytest.importorskip("huggingface_hub")
    (tmp_path / "hub/org/w").mkdir(parents=True)
    (tmp_path / "hub/org/w/model.bin").write_bytes(DATA)
    program = "import huggingface_hub, sys; print(huggingface_hub.snapshot_download('org/w'))"
    with Hub(tmp_path / "hub") as hub, Proxy(FAST) as link:
        env = {
            **os.environ,
            **link.environment([HOST]),
            "HF_ENDPOINT": hub.endpoint,
            "HF_HOME": str(tmp_path),
        }
        ended = subprocess.run([sys.executable, "-c", program], capture_output=True, env=env, check=False)
        counted = link.came()

    assert ended.returncode == 0, ended.stderr
    assert (Path(ended.stdout.decode().strip()) / "model.bin").read_bytes() == DATA
    assert counted["127.0.0.1"] > 0
    assert counted[OTHER] >= len(DATA)


def test_boto3_goes_through(tmp_path: Path) -> None:
    pytest.importorskip("boto3")
    program = """
import boto3, sys
s3 = boto3.client("s3")
model = s3.get_object(Bucket="bucket", Key="model.bin")["Body"].read()
s3.put_object(Bucket="bucket", Key="copy.bin", Body=model)
"""
    keys = {"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_DEFAULT_REGION": "us-east-1"}
    with S3(tmp_path / "buckets") as store, Proxy(FAST) as link:
        store.write("bucket", "model.bin", DATA)
        env = {**os.environ, **keys, **link.environment([HOST]), "AWS_ENDPOINT_URL": store.endpoint}
        ended = subprocess.run([sys.executable, "-c", program], capture_output=True, env=env, check=False)
        counted = link.came()

    assert ended.returncode == 0, ended.stderr
    assert store.file("bucket", "copy.bin").read_bytes() == DATA
    assert counted["127.0.0.1"] >= len(DATA)


@pytest.mark.parametrize("process", ["never", "always"])
def test_our_own_fetch_goes_through_here_and_in_the_process_beside(
    process: str, served: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLDSTART_FETCH_PROCESS", process)
    with Origin(served) as origin, linked(monkeypatch, FAST, HOST) as link:
        weight = Syncing(home=tmp_path / "home", project=tmp_path).run(a_url(origin.url("model.bin")))
        counted = link.came()

    assert weight.path.read_bytes() == DATA
    assert counted["127.0.0.1"] >= len(DATA)


def test_a_break_is_never_taken_for_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    def reset(peer: socket.socket) -> None:
        peer.sendall(b"HTTP/1.1 200 OK\r\n\r\nhalf of ")
        time.sleep(0.2)
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    with answering(reset) as (port, _), linked(monkeypatch) as link:
        tunnel = asked(link, f"CONNECT 127.0.0.1:{port} HTTP/1.1")
        assert tunnel.recv(1 << 16).startswith(b"HTTP/1.1 200 ")
        tunnel.sendall(b"\r\n\r\n")
        with pytest.raises(ConnectionResetError):
            said(tunnel)
        with pytest.raises(ConnectionResetError):
            said(asked(link, f"GET http://127.0.0.1:{port}/ HTTP/1.1"))
        with pytest.raises(TransientError, match="the connection broke"):
            fetched(f"http://127.0.0.1:{port}/")


def test_an_end_is_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    with (
        answering(lambda peer: peer.sendall(b"HTTP/1.1 200 OK\r\n\r\nall of it")) as (port, _),
        linked(monkeypatch) as link,
    ):
        tunnel = asked(link, f"CONNECT 127.0.0.1:{port} HTTP/1.1")
        tunnel.recv(1 << 16)
        tunnel.sendall(b"\r\n\r\n")

        assert said(tunnel) == b"HTTP/1.1 200 OK\r\n\r\nall of it"
        assert fetched(f"http://127.0.0.1:{port}/") == b"all of it"


def test_an_answer_after_a_hint_says_that_none_follows_it() -> None:
    hint = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"
    hinted = hint + b"HTTP/1.1 204 No Content\r\nConnection: keep-alive\r\n\r\n"
    with answering(lambda peer: peer.sendall(hinted)) as (port, _), Proxy(FAST) as link:
        answer = said(asked(link, f"GET http://127.0.0.1:{port}/ HTTP/1.1"))

    assert answer == hint + b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n"


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_who_cannot_be_reached_is_named(scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    method, whole = (
        ("GET", f"http://127.0.0.1:{port}/") if scheme == "http" else ("CONNECT", f"127.0.0.1:{port}")
    )
    with linked(monkeypatch) as link:
        answer = said(asked(link, f"{method} {whole} HTTP/1.1"))
        if scheme == "https":
            with pytest.raises(TransientError, match="502"):
                fetched(f"https://127.0.0.1:{port}/")

    assert answer.startswith(b"HTTP/1.1 502 127.0.0.1 cannot be reached: Connection refused\r\n")


@pytest.mark.parametrize(
    "line",
    [
        "GET /model.bin",
        "GET ftp://127.0.0.1/x",
        "CONNECT 127.0.0.1",
        "CONNECT 127.0.0.1:x",
        "GET http://[::/x",
    ],
)
def test_what_no_proxy_is_asked_is_refused(line: str) -> None:
    with Proxy(FAST) as link:
        assert said(asked(link, f"{line} HTTP/1.1")).startswith(b"HTTP/1.1 400 ")


def test_only_what_the_other_side_needs_goes_on_and_only_hosts_are_remembered(
    capfd: pytest.CaptureFixture[str],
) -> None:
    with (
        answering(lambda peer: peer.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")) as (port, heads),
        Proxy(FAST) as link,
    ):
        said(
            asked(
                link,
                f"GET http://user:{SECRET}@127.0.0.1:{port}//{SECRET}?signature={SECRET} HTTP/1.1",
                f"Host: 127.0.0.1:{port}",
                f"Authorization: Bearer {SECRET}",
                f"Proxy-Authorization: Basic {SECRET}",
                "Proxy-Connection: keep-alive",
            )
        )
        counted = link.came()
    told = capfd.readouterr()

    (head,) = heads
    assert head.split(b"\r\n")[0] == f"GET //{SECRET}?signature={SECRET} HTTP/1.1".encode()
    assert f"\r\nAuthorization: Bearer {SECRET}\r\n".encode() in head
    assert b"roxy-" not in head
    assert head.endswith(b"\r\nConnection: close\r\n\r\n")
    assert counted.keys() == {"127.0.0.1"}
    assert SECRET not in told.out + told.err


@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
def test_a_proxy_of_the_users_own_is_the_way_on(
    tls: bool,  # noqa: FBT001 - given by the parametrization
    served: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    certificate = a_certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", certificate[0])
    with (
        Origin(served, tls=certificate if tls else None) as origin,
        linked(monkeypatch) as users,
        linked(monkeypatch) as link,
    ):
        came = fetched(origin.url("model.bin"))
        counted = [each.came()["127.0.0.1"] for each in (users, link)]

    assert came == DATA
    assert min(counted) >= len(DATA)


@pytest.mark.parametrize("method", ["GET", "CONNECT"])
def test_a_proxy_of_the_users_own_is_greeted_and_its_refusal_told(
    method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusal = b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n"
    target = "http://weights.invalid/x" if method == "GET" else "weights.invalid:443"
    with answering(lambda peer: peer.sendall(refusal)) as (port, heads):
        for name in ("http_proxy", "https_proxy"):
            monkeypatch.setenv(name, f"http://me:{SECRET}@127.0.0.1:{port}")
        monkeypatch.setenv("no_proxy", "")
        with Proxy(FAST) as link:
            answer = said(asked(link, f"{method} {target} HTTP/1.1", "Host: weights.invalid"))

    (head,) = heads
    greeting = base64.b64encode(f"me:{SECRET}".encode())
    assert head.startswith(f"{method} {target} HTTP/1.".encode())
    assert b"Proxy-Authorization: Basic " + greeting in head
    assert b"407 Proxy Authentication Required" in answer
    assert SECRET.encode() not in answer


def test_a_proxy_of_the_users_own_that_does_not_speak_http_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("all_proxy", f"socks5://me:{SECRET}@127.0.0.1:9")

    with (
        pytest.raises(UsageError, match="all_proxy, which names a proxy that speaks socks5") as refused,
        Proxy(FAST),
    ):
        pass

    assert SECRET not in f"{refused.value} {refused.value.fix}"


def test_what_a_worker_runs_itself_is_near_unless_a_hub_or_a_store_is_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plan = a_plan(LOAD)
    monkeypatch.delenv("HF_ENDPOINT", raising=False)
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    usual = own_names(plan)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:8080")

    assert usual == ("localhost", "127.0.0.1", "::1")
    assert own_names(plan) == ("localhost", "::1")


def test_it_runs_only_inside_its_block() -> None:
    with pytest.raises(RuntimeError, match="only inside"):
        Proxy(FAST).came()


def a_certificate(folder: Path) -> tuple[str, str]:
    certificate, key = str(folder / "certificate.pem"), str(folder / "key.pem")
    wanted = "-x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=rehearsal"
    named = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate]
    subprocess.run(["openssl", "req", *wanted.split(), *named], check=True, capture_output=True)
    return certificate, key
