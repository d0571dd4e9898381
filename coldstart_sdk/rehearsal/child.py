"""A room in a process of its own, spoken to in lines of JSON, each of which it answers with one.

What is measured then does not share its interpreter. It ends with its parent, however that ends: its input
does.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any


class Child:
    """The room's process, as the one that started it sees it."""

    def __init__(self, module: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            # With the module path that found us, so that it finds us too.
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            start_new_session=True,  # Ctrl-C is for whoever started it
        )

    def say(self, order: object) -> Any:  # noqa: ANN401 - plain JSON
        child = self._process
        if child.stdin is None or child.stdout is None:  # pragma: no cover - both are pipes
            raise RuntimeError("a room's process has no pipes")
        child.stdin.write(json.dumps(order) + "\n")
        child.stdin.flush()
        if not (line := child.stdout.readline()):
            raise RuntimeError("a room's process ended")
        return json.loads(line)

    def close(self) -> None:
        # Leaving the block closes its pipes, which ends it, and waits for it.
        with self._process:
            pass


def orders() -> Iterator[Any]:
    """In the child: what it is told, until its parent is gone."""
    return (json.loads(line) for line in sys.stdin)


def reply(value: object) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()
