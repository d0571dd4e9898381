"""A bundle's handler as RunPod runs it: a process of its own, told about the platform by its environment.

The environment is bare: whose machine this is must not show, nor a key that lies in somebody's home.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing_extensions import Self


class Process:
    """One worker; a context manager that leaves nothing of it behind."""

    def __init__(self, command: Sequence[str], folder: Path, environment: Mapping[str, str]) -> None:
        self.lines: list[str] = []
        self._changed = threading.Condition()
        self._process = subprocess.Popen(
            list(command),
            cwd=folder,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,  # its heartbeat is a child of its own, and survives some of its deaths
        )
        self._reader = threading.Thread(target=self._read, args=(self._process.stdout,), daemon=True)
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, raised: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def code(self) -> int | None:
        """Its exit code, negative for a signal; None while it lives."""
        return self._process.poll()

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    @property
    def reports(self) -> list[dict[str, Any]]:
        """What it said of its own starts, one for each try."""
        said = [json.loads(line) for line in self.lines if line.startswith('{"coldstart"')]
        return [line["coldstart"] for line in said]

    def wait_for(self, holds: Callable[[], object], timeout_s: float = 60.0) -> bool:
        """Wait until something holds of what it has said."""
        with self._changed:
            return bool(self._changed.wait_for(lambda: holds() or self.code is not None, timeout_s)) and bool(
                holds()
            )

    def terminate(self) -> None:
        """What the platform does first."""
        if self.code is None:
            self._process.send_signal(signal.SIGTERM)

    def wait(self, timeout_s: float) -> int | None:
        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return None

    def kill(self) -> None:
        """End it and every process that it started."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._reader.join(5.0)
        if self._process.stdout:
            self._process.stdout.close()

    def _read(self, stream: IO[str] | None) -> None:
        for line in stream or ():
            with self._changed:
                self.lines.append(line.rstrip("\n"))
                self._changed.notify_all()
        with self._changed:
            self._changed.notify_all()


def bare_environment(home: Path) -> dict[str, str]:
    """A path, an empty home, and nothing of ours."""
    home.mkdir(parents=True, exist_ok=True)
    return {"PATH": os.environ.get("PATH", os.defpath), "HOME": str(home), "PYTHONUNBUFFERED": "1"}
