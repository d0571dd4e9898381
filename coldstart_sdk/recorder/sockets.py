"""Time each connection, and ask the kernel how many bytes it carried: nothing happens while bytes move."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from contextlib import suppress
from typing import Any

from coldstart_sdk.events import Resource, now
from coldstart_sdk.frozen import dataclass
from coldstart_sdk.recorder.names import CONNECTIONS, DOWNLOAD, UPLOAD
from coldstart_sdk.recorder.seams import Seams
from coldstart_sdk.recorder.sink import Sink

_LEAST_BYTES = 10_000
_TCP_INFO = 11
_SINCE_DATA, _CARRIED, _LENGTH = 44, 120, 136
"""Where Linux's tcp_info tells how long ago data went out and came in, and how much of both there was."""


class _Wire:
    """One connection."""

    def __init__(self, host: str, step: str, started_s: float) -> None:
        self.host = host
        self.step = step
        self.started_s = started_s
        self.told = (0, 0)
        """Bytes in and out that a span has told already."""


@dataclass(frozen=True)
class _Carried:
    received: int
    sent: int
    last_s: float
    """Moment of the last byte."""


class Wires:
    """Connections that are open, by descriptor: TLS takes one over from the socket that connected."""

    def __init__(self, sink: Sink, seams: Seams, told_by_themselves: AbstractSet[str]) -> None:
        """Steps that report their own bytes have their connections counted, and no more."""
        seams.replace(socket.socket, "_real_close", lambda original: _closing(original, self))
        self._sink = sink
        self._told_by_themselves = told_by_themselves
        self._open: dict[int, _Wire] = {}
        self._lock = threading.Lock()

    def connect(self, original: Callable[..., Any], connected: socket.socket, address: Any) -> Any:  # noqa: ANN401 - what a socket takes
        """Do it."""
        started_s = now()
        try:
            return original(connected, address)
        finally:
            self._opened(connected, address, started_s)

    def _opened(self, connected: socket.socket, address: object, started_s: float) -> None:
        step = self._sink.step
        if step is None or not isinstance(address, tuple):
            return
        with self._lock:
            self._open[connected.fileno()] = _Wire(str(address[0]), step, started_s)
            at_once = sum(1 for other in self._open.values() if other.step == step)
        self._sink.count_most(CONNECTIONS, at_once, step=step)

    def closing(self, closed: socket.socket) -> None:
        with self._lock:
            wire = self._open.pop(closed.fileno(), None)
        if wire:
            self._tell(wire, _carried(closed))

    def tell(self, step: str | None) -> None:
        """What a step's connections carried so far, or all of them; they may carry more for somebody else."""
        with self._lock:
            wires = {number: wire for number, wire in self._open.items() if step in {None, wire.step}}
        for number, wire in wires.items():
            with suppress(OSError), socket.fromfd(number, socket.AF_INET, socket.SOCK_STREAM) as still:
                self._tell(wire, _carried(still))

    def _tell(self, wire: _Wire, carried: _Carried | None) -> None:
        if carried is None or wire.step in self._told_by_themselves:
            return
        received, sent = carried.received - wire.told[0], carried.sent - wire.told[1]
        if max(received, sent) < _LEAST_BYTES:
            return
        wire.told = (carried.received, carried.sent)
        kind = DOWNLOAD if received >= sent else UPLOAD
        self._sink.span(
            f"{kind}:{wire.host}",
            Resource.NET,
            wire.started_s,
            max(wire.started_s, carried.last_s),
            count=max(received, sent),
            step=wire.step,
        )


def _closing(original: Callable[..., Any], wires: Wires) -> Callable[..., Any]:
    def _real_close(self: socket.socket, *arguments: Any) -> Any:  # noqa: ANN401 - as above
        wires.closing(self)
        return original(self, *arguments)

    return _real_close


def _carried(connected: socket.socket) -> _Carried | None:
    """What the kernel says; None where it does not."""
    try:
        info = connected.getsockopt(socket.IPPROTO_TCP, _TCP_INFO, 256)
    except OSError:
        return None
    if len(info) < _LENGTH:
        return None
    sent_ms, _, received_ms = struct.unpack_from("=3I", info, _SINCE_DATA)
    sent, received = struct.unpack_from("=2Q", info, _CARRIED)
    # Whoever sends waits for the answer after it: what was sent last may lie in a buffer for long.
    since_ms = received_ms if received >= sent else min(sent_ms, received_ms)
    return _Carried(received, sent, now() - since_ms / 1000)
