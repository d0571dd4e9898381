"""What a worker writes into Modal's log, without secrets, and the same in sentences for whoever reads it.

Every event is one line of standard output, `coldstart {…}`; whatever else stands there is the user's own.
"""

from __future__ import annotations

import json
import logging
import sys
import threading
from collections.abc import Iterable, Iterator
from typing import Any

from coldstart_sdk.redact import redact

MARK = "coldstart "
"""What each line of ours begins with."""
_AMONG_MANY = threading.Lock()


def say(data: object) -> None:
    """One line, whole, whoever else writes."""
    with _AMONG_MANY:
        sys.stdout.write(f"{MARK}{redact(json.dumps(data))}\n")
        sys.stdout.flush()


def tracebacks_to_stderr() -> None:
    """Those of hooks and endpoints, as a person reads them, without what is secret."""
    logger = logging.getLogger("coldstart")
    if logger.handlers or logging.getLogger().handlers:
        return  # this process has a log already
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Redacted("%(levelname)s %(name)s: %(message)s"))
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False  # each line once, whatever the user sets up


class _Redacted(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return redact(super().format(record))


def read(lines: Iterable[str]) -> Iterator[str]:
    """The same log in sentences; what is not ours stays as it is."""
    for line in lines:
        if not line.startswith(f"{MARK}{{"):
            yield line
            continue
        try:
            yield from _sentences(json.loads(line.removeprefix(MARK)))
        except (ValueError, KeyError, TypeError):
            yield line  # of another version, or cut


def _sentences(event: dict[str, Any]) -> Iterator[str]:
    match event["is"]:
        case "StepEnded":
            why = f": {event['reason']}" if event.get("reason") else ""
            yield f"{event['step']:<18} {event['outcome'].replace('_', ' ')}{why}"
        case "StateChanged":
            yield from _state(event)
        case "Noted":
            yield f"{event.get('step') or 'note':<18} {event['message']}"
        case "RequestEnded":
            took_ms = (event["at_s"] - event["started_s"]) * 1000
            yield f"{event['endpoint']:<18} {event['outcome']} in {took_ms:.1f} ms, request {event['id']}"
        case _:
            pass  # for programs


def _state(event: dict[str, Any]) -> Iterator[str]:
    without = f", without {', '.join(event['degraded'])}" if event.get("degraded") else ""
    yield f"{'worker':<18} {event['state']}{without}"
    if event.get("reason"):
        yield f"{'error:':<18} {event['reason']}"
        yield f"{'at:':<18} {event.get('where') or '-'}"
        yield f"{'fix:':<18} {event.get('fix') or '-'}"
