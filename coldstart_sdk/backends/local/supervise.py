"""The other end of a worker's pipes: start the process, hear it, and end it when it cannot end itself.

A worker that hangs, is killed or dies in native code takes nothing with it: what it said until then is here.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from socket import socket

from coldstart_sdk import machine
from coldstart_sdk.backends.local import messages
from coldstart_sdk.backends.local.messages import Ask, Order, Report
from coldstart_sdk.plan import Plan

GRACE_S = 5.0
"""How much longer than its own deadline an ending worker may take."""

_WORKER = """\
import time
began_s = time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))
from coldstart_sdk.backends.local.worker import main
main(began_s)
"""
"""The clock is read before our own modules load, so that their cost is seen."""


def worker_env(plan: Plan, home: Path) -> dict[str, str]:
    """What a worker finds in its environment: decided once, before it imports anything."""
    env = {**os.environ, **plan.env, "COLDSTART_HOME": str(home)}
    env.update(machine.boot_env(env))
    env.update(machine.thread_limits(env, machine.cpu_quota(), machine.visible_cores()))
    return env


def _lasting() -> int | None:
    """Our process, unless a thread that may end before it starts the worker: the kernel watches threads."""
    return os.getpid() if threading.current_thread() is threading.main_thread() else None


class Worker:
    """One worker process, from outside."""

    def __init__(self, order: Order, *, env: Mapping[str, str], listening: socket | None = None) -> None:
        """Start it; its standard output joins our standard error, so that a hook's prints are no result."""
        control_out, control_in = os.pipe()
        report_out, report_in = os.pipe()
        self._order = order
        self._process = subprocess.Popen(
            [sys.executable, "-c", _WORKER, str(control_out), str(report_in)],
            stdin=subprocess.DEVNULL,
            stdout=sys.stderr.fileno(),
            env=dict(env),
            pass_fds=(control_out, report_in, *([listening.fileno()] if listening else [])),
            start_new_session=True,
        )
        os.close(control_out)
        os.close(report_in)
        self._control = os.fdopen(control_in, "wb")
        self._report: int | None = report_out
        self._part = b""
        self._guard: threading.Timer | None = None
        self.wall_start = time.time()
        messages.write(self._control, replace(order, supervisor=_lasting()))

    def ask(self, ask: Ask) -> None:
        """Ask for an answer; it comes among the reports. A worker that died does not hear."""
        with suppress(BrokenPipeError):
            messages.write(self._control, ask)

    def reports(self, silent: Callable[[], object] = lambda: None) -> Iterator[Report]:
        """What it says, until it has ended; `silent` is called now and then while it says nothing."""
        return messages.read_reports(self._lines(silent))

    def release(self) -> None:
        """Nothing more will be asked: it drains, and ends."""
        with suppress(BrokenPipeError):
            self._control.close()
        self._end_soon()

    def stop(self) -> None:
        """Tell it to drain, and end."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        self._end_soon()

    def kill(self) -> None:
        self._process.kill()

    def end(self) -> int:
        """Wait for its end, or make it; its exit code, negative for a signal."""
        self.release()
        for _unheard in self._lines():
            pass  # a full pipe would hold it up
        code = self._process.wait()
        if self._guard:
            self._guard.cancel()
        if self._report is not None:
            os.close(self._report)
            self._report = None
        return code

    def _end_soon(self) -> None:
        """Kill it if it has not ended by itself in the time it was given."""
        if self._guard is None:
            self._guard = threading.Timer(self._order.drain_s + GRACE_S, self._process.kill)
            self._guard.daemon = True
            self._guard.start()

    def _lines(self, silent: Callable[[], object] = lambda: None) -> Iterator[bytes]:
        """Whole lines of the report pipe; a child of the worker that outlives it does not hold us here."""
        if self._report is None:
            return
        ready = select.poll()
        ready.register(self._report, select.POLLIN)
        while True:
            if ready.poll(200):
                data = os.read(self._report, 1 << 16)
                if not data:
                    return
                *lines, self._part = (self._part + data).split(b"\n")
                yield from lines
            elif self._process.poll() is not None:
                return
            else:
                silent()
