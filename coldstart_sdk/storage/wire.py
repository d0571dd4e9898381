"""A plain connection, read in large pieces.

Sockets block, and the kernel bounds each wait: a timeout of Python's would ask the kernel twice for each
piece, and never for more than lies ready.
"""

from __future__ import annotations

import os
import socket
import struct
import threading
import time

from coldstart_sdk.storage.pour import CAN_POUR


class Wire:
    """One connection. One thread uses it; others may only shut it down."""

    pours = CAN_POUR
    """Whether its bytes are what was sent, so that they need not be read to be moved."""

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected
        self._stall_s: float | None = None
        self._stalled = False
        self._ending = threading.Lock()
        """Who shuts it down from another thread must not find another file under its number."""

    def bound(self, stall_s: float) -> None:
        """From now on nothing waits longer than this for a byte."""
        self._stall_s = stall_s
        self._socket.settimeout(None)
        wait_at_most(self._socket, stall_s)

    def sendall(self, data: bytes) -> None:
        try:
            self._socket.sendall(data)
        except BlockingIOError as late:
            raise TimeoutError from late

    def recv_into(self, buffer: memoryview) -> int:
        """What there is, and at least one byte unless the other side has ended."""
        return self._receive(buffer, 0)

    def fill(self, buffer: memoryview) -> int:
        """All of it, less where the other side ends or falls silent."""
        if self._stalled:
            raise TimeoutError
        began_s = time.monotonic()
        count = self._receive(buffer, socket.MSG_WAITALL)
        # Silent once for so long: the next call need not wait as long again to know.
        self._stalled = (
            0 < count < len(buffer)
            and self._stall_s is not None
            and time.monotonic() - began_s >= self._stall_s
        )
        return count

    def pour(self, inlet: int, most_bytes: int) -> int:
        """What there is into a pipe, and at least one byte unless the other side has ended."""
        try:
            return os.splice(self._socket.fileno(), inlet, most_bytes)
        except BlockingIOError as late:
            raise TimeoutError from late

    def shutdown(self, how: int) -> None:
        with self._ending:
            self._socket.shutdown(how)

    def close(self) -> None:
        with self._ending:
            self._socket.close()

    def _receive(self, buffer: memoryview, flags: int) -> int:
        try:
            return self._socket.recv_into(buffer, len(buffer), flags)
        except BlockingIOError as late:
            raise TimeoutError from late


def wait_at_most(connected: socket.socket, seconds: float) -> None:
    """The kernel's bound for each wait on a socket that blocks."""
    whole, rest = divmod(seconds, 1)
    time_value = struct.pack("ll", int(whole), int(rest * 1e6))
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, time_value)
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, time_value)
