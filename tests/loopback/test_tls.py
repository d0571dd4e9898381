"""TLS on the byte path: whom it trusts, and every way in which a connection may end."""

from __future__ import annotations

import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from coldstart_sdk.rehearsal.origin import Origin
from coldstart_sdk.storage import openssl
from coldstart_sdk.storage.http import Address, Channel, Network
from coldstart_sdk.storage.tls import TlsWire
from coldstart_sdk.storage.transient import TransientError
from coldstart_sdk.storage.wire import Wire
from tests.syncing import content

DATA = content((3 << 20) + 123, seed=7)
PYTHONS, OPENSSLS = "python's own", "openssl's filters"


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    return _certificate(tmp_path_factory.mktemp("tls"), "IP:127.0.0.1")


@pytest.fixture(params=[PYTHONS, OPENSSLS])
def wired(
    request: pytest.FixtureRequest, certificate: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> Callable[[int], Wire]:
    """A connection to that port, made in one way or the other."""
    monkeypatch.setenv("SSL_CERT_FILE", certificate[0])

    def connect(port: int) -> Wire:
        connected = socket.create_connection(("127.0.0.1", port))
        if request.param == PYTHONS:
            return TlsWire(connected, ssl.create_default_context(), "127.0.0.1")
        shared = openssl.context()
        assert shared is not None
        return openssl.NativeTlsWire(connected, shared, "127.0.0.1")

    return connect


def test_this_python_lets_its_openssl_be_used() -> None:
    assert openssl.context() is not None


def test_the_cipher_that_costs_least_is_asked_for_first(
    certificate: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", certificate[0])
    chosen: list[tuple[str, str, int] | None] = []
    with _serving(certificate, lambda peer: chosen.append(peer.cipher())) as port:
        shared = openssl.context()
        assert shared is not None
        wire = openssl.NativeTlsWire(socket.create_connection(("127.0.0.1", port)), shared, "127.0.0.1")
        wire.bound(10)
        wire.fill(memoryview(bytearray(1)))
        wire.close()

    assert chosen == [("TLS_AES_128_GCM_SHA256", "TLSv1.3", 128)]


@pytest.mark.parametrize("size", [1, 4096, 4097, 16384, 1 << 20, len(DATA)])
def test_what_was_sent_fills_the_buffer_whole(
    wired: Callable[[int], Wire], certificate: tuple[str, str], size: int
) -> None:
    with _serving(certificate, lambda peer: peer.sendall(DATA)) as port:
        wire = wired(port)
        wire.bound(10)
        buffer = memoryview(bytearray(size))
        came = b""
        while count := wire.fill(buffer):
            came += buffer[:count]
            if size < 4096 and len(came) >= 4096:
                break

        assert came == DATA[: len(came)]
        assert size < 4096 or len(came) == len(DATA)
        wire.close()


def test_a_request_of_any_size_arrives_whole(
    wired: Callable[[int], Wire], certificate: tuple[str, str]
) -> None:
    came = bytearray()

    def receive(peer: ssl.SSLSocket) -> None:
        while len(came) < len(DATA):
            came.extend(peer.recv(1 << 20))
        peer.sendall(b"!")

    with _serving(certificate, receive) as port:
        wire = wired(port)
        wire.bound(10)
        wire.sendall(DATA)

        assert wire.recv_into(memoryview(bytearray(1))) == 1
        assert bytes(came) == DATA
        wire.close()


def test_silence_gives_what_came_and_then_a_timeout_at_once(
    wired: Callable[[int], Wire], certificate: tuple[str, str]
) -> None:
    over = threading.Event()

    def stall(peer: ssl.SSLSocket) -> None:
        peer.sendall(DATA[:100_000])
        over.wait(30)

    with _serving(certificate, stall) as port:
        wire = wired(port)
        wire.bound(0.3)
        buffer = memoryview(bytearray(1 << 20))

        assert wire.fill(buffer) == 100_000
        began_s = time.monotonic()
        with pytest.raises(TimeoutError):
            wire.fill(buffer)
        assert time.monotonic() - began_s < 0.3
        wire.close()
        over.set()


def test_a_cut_connection_is_never_taken_for_an_end(
    wired: Callable[[int], Wire], certificate: tuple[str, str]
) -> None:
    def cut(peer: ssl.SSLSocket) -> None:
        peer.sendall(DATA[:100_000])
        peer.shutdown(socket.SHUT_RDWR)  # of the socket alone: TLS has not said that it ends

    with _serving(certificate, cut) as port:
        wire = wired(port)
        wire.bound(10)
        buffer = memoryview(bytearray(1 << 20))
        with pytest.raises(OSError, match=r".*"):  # noqa: PT012 - some of it may come before
            while wire.fill(buffer):
                pass
        wire.close()


def test_whoever_shuts_it_down_wakes_the_one_that_waits(
    wired: Callable[[int], Wire], certificate: tuple[str, str]
) -> None:
    over = threading.Event()
    with _serving(certificate, lambda _: over.wait(30)) as port:
        wire = wired(port)
        wire.bound(30)
        ended = threading.Event()

        def wait() -> None:
            with suppress(OSError):
                wire.fill(memoryview(bytearray(1 << 20)))
            ended.set()

        waiting = threading.Thread(target=wait)
        waiting.start()
        time.sleep(0.1)
        wire.shutdown(socket.SHUT_RDWR)

        assert ended.wait(10)
        waiting.join()
        wire.close()
        over.set()


@pytest.mark.parametrize("name", ["IP:127.0.0.9", "DNS:elsewhere.example"])
def test_a_certificate_of_somebody_else_is_refused(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tls = _certificate(tmp_path, name)
    monkeypatch.setenv("SSL_CERT_FILE", tls[0])
    (tmp_path / "file").write_bytes(DATA)

    assert "mismatch" in _refusal(tmp_path, tls)


def test_a_certificate_that_nobody_vouches_for_is_refused(
    tmp_path: Path, certificate: tuple[str, str]
) -> None:
    (tmp_path / "file").write_bytes(DATA)

    assert "certificate verify failed" in _refusal(tmp_path, certificate)


def test_an_expired_certificate_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tls = _certificate(tmp_path, "IP:127.0.0.1", days=-1)
    monkeypatch.setenv("SSL_CERT_FILE", tls[0])
    (tmp_path / "file").write_bytes(DATA)

    assert "expired" in _refusal(tmp_path, tls)


@pytest.mark.filterwarnings("ignore:.*TLSv1:DeprecationWarning")
def test_old_protocols_are_refused(certificate: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", certificate[0])
    with _serving(certificate, lambda _: None, most=ssl.TLSVersion.TLSv1_1) as port:
        said = _asked(f"https://127.0.0.1:{port}/")

    assert "no answer" in said


def test_what_does_not_speak_tls_is_no_answer(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(DATA)
    with Origin(tmp_path) as origin:
        said = _asked(origin.url("file").replace("http:", "https:"))

    assert "no answer" in said


def _refusal(folder: Path, tls: tuple[str, str]) -> str:
    with Origin(folder, tls=tls) as origin:
        return _asked(origin.url("file"))


def _asked(url: str) -> str:
    """Why there is no answer."""
    channel = Channel(Network(stall_s=5))
    with pytest.raises(TransientError) as refused:
        channel.get(Address(url=url), {})
    channel.drop()
    return str(refused.value)


@contextmanager
def _serving(
    certificate: tuple[str, str],
    act: Callable[[ssl.SSLSocket], object],
    *,
    most: ssl.TLSVersion = ssl.TLSVersion.MAXIMUM_SUPPORTED,
) -> Iterator[int]:
    """A port at which one client is served under TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE  # as nginx, and most others
    if most is not ssl.TLSVersion.MAXIMUM_SUPPORTED:
        context.set_ciphers("ALL:@SECLEVEL=0")
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = most
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            connected, _ = listening.accept()
            with suppress(OSError), context.wrap_socket(connected, server_side=True) as peer:
                act(peer)
                with suppress(OSError, ValueError):
                    peer.unwrap()

        thread = threading.Thread(target=serve)
        thread.start()
        yield listening.getsockname()[1]
        thread.join(30)


def _certificate(folder: Path, name: str, *, days: int = 2) -> tuple[str, str]:
    """One that vouches for itself, for this name alone."""
    certificate, key, asked = (str(folder / part) for part in ("certificate.pem", "key.pem", "asked.pem"))
    kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", "/CN=rehearsal"]
    named = ["-addext", f"subjectAltName={name}", "-keyout", key, "-out", asked]
    signed = ["-in", asked, "-signkey", key, "-copy_extensions", "copy", "-days", str(days)]
    subprocess.run(["openssl", "req", *kind, *named], check=True, capture_output=True)
    subprocess.run(["openssl", "x509", "-req", *signed, "-out", certificate], check=True, capture_output=True)
    return certificate, key
