"""TLS through the OpenSSL that Python has loaded, many records to one call.

Python's own `ssl` gives one record of 16 KB at a time and takes the interpreter's lock around each, so
streams wait for one another. Two of OpenSSL's filters on top of each other fill a whole buffer in one call
without the lock. What is trusted, which ciphers are offered and how a host's name is checked are as the `ssl`
of Python 3.10 decides them; of TLS 1.3's, AES with 128 bits goes first, which both sides compute sooner.
Where a Python hides its OpenSSL, `context` is None, and `tls.TlsWire` serves.
"""

from __future__ import annotations

import ctypes
import ipaddress
import socket
import ssl
import time
from contextlib import suppress
from typing import Any

from coldstart_sdk.storage.wire import Wire, wait_at_most

HANDSHAKE_S = 10.0
_AHEAD_BYTES = 256 << 10
"""What one call to the kernel may bring: several records."""
_AT_ONCE_BYTES = 4096
"""From here on the filter reads past its own buffer, until ours is full."""
_CIPHERS = b"@SECLEVEL=2:ECDH+AESGCM:ECDH+CHACHA20:ECDH+AES:DHE+AES:!aNULL:!eNULL:!aDSS:!SHA1:!AESCCM"
"""As Python 3.10 and later set them."""
_SUITES = b"TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"
# From openssl/ssl.h, bio.h and x509_vfy.h; the same in 1.1 and 3.x.
_SET_READ_AHEAD, _SET_NAME, _SET_LEAST_VERSION, _TLS_1_2 = 41, 55, 123, 0x0303
_VERIFY_PEER, _NO_PARTIAL_WILDCARDS = 1, 4
_BIO_SET_SSL, _BIO_SHOULD_RETRY = 109, 8
_P, _I, _L, _Z, _S = ctypes.c_void_p, ctypes.c_int, ctypes.c_long, ctypes.c_size_t, ctypes.c_char_p
_FUNCTIONS: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "TLS_client_method": (_P, ()),
    "SSL_CTX_new": (_P, (_P,)),
    "SSL_CTX_free": (None, (_P,)),
    "SSL_CTX_ctrl": (_L, (_P, _I, _L, _P)),
    "SSL_CTX_set_verify": (None, (_P, _I, _P)),
    "SSL_CTX_set_default_verify_paths": (_I, (_P,)),
    "SSL_CTX_set_cipher_list": (_I, (_P, _S)),
    "SSL_CTX_set_ciphersuites": (_I, (_P, _S)),
    "SSL_CTX_set_default_read_buffer_len": (None, (_P, _Z)),
    "SSL_new": (_P, (_P,)),
    "SSL_free": (None, (_P,)),
    "SSL_ctrl": (_L, (_P, _I, _L, _P)),
    "SSL_set_fd": (_I, (_P, _I)),
    "SSL_set1_host": (_I, (_P, _S)),
    "SSL_set_hostflags": (None, (_P, ctypes.c_uint)),
    "SSL_get0_param": (_P, (_P,)),
    "X509_VERIFY_PARAM_set1_ip_asc": (_I, (_P, _S)),
    "SSL_connect": (_I, (_P,)),
    "SSL_get_verify_result": (_L, (_P,)),
    "X509_verify_cert_error_string": (_S, (_L,)),
    "ERR_clear_error": (None, ()),
    "ERR_get_error": (ctypes.c_ulong, ()),
    "ERR_reason_error_string": (_S, (ctypes.c_ulong,)),
    "BIO_new": (_P, (_P,)),
    "BIO_f_ssl": (_P, ()),
    "BIO_f_buffer": (_P, ()),
    "BIO_push": (_P, (_P, _P)),
    "BIO_ctrl": (_L, (_P, _I, _L, _P)),
    "BIO_test_flags": (_I, (_P, _I)),
    "BIO_read": (_I, (_P, _P, _I)),
    "BIO_write": (_I, (_P, _P, _I)),
    "BIO_free_all": (None, (_P,)),
}


class Context:
    """What connections of one network share: what is trusted, and what is offered."""

    def __init__(self, library: Any) -> None:  # noqa: ANN401 - functions by name
        self.library = library
        self.pointer = library.SSL_CTX_new(library.TLS_client_method())
        trusted = library.SSL_CTX_set_default_verify_paths(self.pointer)
        offered = library.SSL_CTX_set_cipher_list(self.pointer, _CIPHERS)
        offered = offered and library.SSL_CTX_set_ciphersuites(self.pointer, _SUITES)
        least = library.SSL_CTX_ctrl(self.pointer, _SET_LEAST_VERSION, _TLS_1_2, None)
        if not (trusted and offered and least):
            raise ssl.SSLError(1, "OpenSSL could not be set up")
        library.SSL_CTX_set_verify(self.pointer, _VERIFY_PEER, None)
        library.SSL_CTX_ctrl(self.pointer, _SET_READ_AHEAD, 1, None)
        library.SSL_CTX_set_default_read_buffer_len(self.pointer, _AHEAD_BYTES)

    def __del__(self) -> None:
        # Connections count their own references to it.
        self.library.SSL_CTX_free(self.pointer)


def context() -> Context | None:
    """None where this Python's OpenSSL cannot be reached."""
    library = _library()
    return None if library is None else Context(library)


class NativeTlsWire(Wire):
    """A connection under TLS."""

    pours = False

    def __init__(self, connected: socket.socket, context: Context, host: str) -> None:
        super().__init__(connected)
        connected.settimeout(None)
        wait_at_most(connected, HANDSHAKE_S)
        self._bound_s = HANDSHAKE_S
        self._context = context
        self._library = library = context.library
        self._ssl = library.SSL_new(context.pointer)
        self._records = self._filled = None
        try:
            self._name(host)
            self._shake_hands()
        except BaseException:
            self._free()
            raise
        self._records = library.BIO_new(library.BIO_f_ssl())
        library.BIO_ctrl(self._records, _BIO_SET_SSL, 0, self._ssl)
        self._filled = library.BIO_push(library.BIO_new(library.BIO_f_buffer()), self._records)

    def bound(self, stall_s: float) -> None:
        super().bound(stall_s)
        self._bound_s = stall_s

    def sendall(self, data: bytes) -> None:
        sent = self._persist(lambda: self._library.BIO_write(self._records, data, len(data)), self._records)
        if sent != len(data):
            raise BrokenPipeError("the other side has ended")

    def recv_into(self, buffer: memoryview) -> int:
        return self._read(self._records, buffer)

    def fill(self, buffer: memoryview) -> int:
        if self._stalled:
            raise TimeoutError
        began_s, count = time.monotonic(), 0
        if len(buffer) > _AT_ONCE_BYTES:
            count = self._read(self._filled, buffer)
        else:
            while count < len(buffer) and (got := self._read(self._records, buffer[count:])):
                count += got
        self._stalled = 0 < count < len(buffer) and time.monotonic() - began_s >= self._bound_s
        return count

    def close(self) -> None:
        self._free()
        super().close()

    def _name(self, host: str) -> None:
        """Who must answer."""
        library, name = self._library, host.encode("idna")
        try:
            ipaddress.ip_address(host)
        except ValueError:
            library.SSL_set_hostflags(self._ssl, _NO_PARTIAL_WILDCARDS)
            named = library.SSL_set1_host(self._ssl, name)
            named = named and library.SSL_ctrl(self._ssl, _SET_NAME, 0, name)
        else:
            named = library.X509_VERIFY_PARAM_set1_ip_asc(library.SSL_get0_param(self._ssl), name)
        if not named:
            raise ssl.SSLError(1, f"{host!r} is no name of a host")

    def _shake_hands(self) -> None:
        self._library.SSL_set_fd(self._ssl, self._socket.fileno())
        self._library.ERR_clear_error()
        if self._library.SSL_connect(self._ssl) != 1:
            raise self._refused()

    def _read(self, source: int | None, buffer: memoryview) -> int:
        into = ctypes.addressof(ctypes.c_char.from_buffer(buffer))
        return self._persist(lambda: self._library.BIO_read(source, into, len(buffer)), source)

    def _persist(self, call: Any, source: int | None) -> int:  # noqa: ANN401 - a function of OpenSSL's
        """What it gives: bytes, or 0 where the other side has ended in order."""
        if source is None:
            raise ConnectionAbortedError("the connection is closed")
        began_s = time.monotonic()
        while True:
            self._library.ERR_clear_error()
            count = int(call())
            if count > 0:
                return count
            if not self._library.BIO_test_flags(source, _BIO_SHOULD_RETRY):
                break
            # A signal shows in the same way as the end of our patience.
            if time.monotonic() - began_s >= self._bound_s:
                raise TimeoutError
        if (said := self._reason()) is not None or count < 0:
            raise ssl.SSLError(1, said or "the connection broke")
        return 0

    def _refused(self) -> OSError:
        """Why there was no handshake."""
        verdict = self._library.SSL_get_verify_result(self._ssl)
        if verdict:
            why = self._library.X509_verify_cert_error_string(verdict).decode()
            return ssl.SSLCertVerificationError(1, f"certificate verify failed: {why}")
        return ssl.SSLError(1, self._reason() or "no handshake came about")

    def _reason(self) -> str | None:
        said = self._library.ERR_reason_error_string(self._library.ERR_get_error())
        return None if said is None else str(said.decode("ascii", "replace"))

    def _free(self) -> None:
        self._library.BIO_free_all(self._filled)
        self._library.SSL_free(self._ssl)
        self._filled = self._records = self._ssl = None


def _library() -> Any:  # noqa: ANN401 - functions by name
    """The very library that `ssl` uses: a second one would know other certificates and settings."""
    with suppress(ImportError, OSError, AttributeError):
        import _ssl  # noqa: PLC0415 - says where it was loaded from

        library = ctypes.CDLL(_ssl.__file__)
        for name, (result, arguments) in _FUNCTIONS.items():
            function = getattr(library, name)
            function.restype, function.argtypes = result, arguments
        return library
    return None
