"""What a supervisor and its worker say to each other, one JSON line each.

Down the control pipe: one `Order`, then `Ask`s; its end means "stop". Up the report pipe: events as they
happen, and what was answered.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import IO, Any, ClassVar, TypeAlias

from coldstart_sdk import record
from coldstart_sdk.events import Event
from coldstart_sdk.frozen import dataclass
from coldstart_sdk.plan import Plan
from coldstart_sdk.serve.options import Options


@dataclass(frozen=True, kw_only=True)
class Order:
    """Everything a worker is told."""

    plan: Plan
    project: str
    home: str
    drain_s: float
    serve: Options | None
    """Answer over HTTP; None: answer what is asked on the control pipe."""
    socket: int | None
    """The listening socket that the worker inherits."""
    supervisor: int | None = None
    """The process to die with; the supervisor writes it itself."""


@dataclass(frozen=True, kw_only=True)
class Ask:
    """One call of an endpoint, as a caller on the wire would make it."""

    id: str
    endpoint: str | None
    arguments: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Chunk:
    """One piece of a stream."""

    tagged: ClassVar[bool] = True
    id: str
    value: Any


@dataclass(frozen=True, kw_only=True)
class Answered:
    """The result; of a stream, its end."""

    tagged: ClassVar[bool] = True
    id: str
    value: Any


@dataclass(frozen=True, kw_only=True)
class Refused:
    """There is no result; `error` is what a caller is told."""

    tagged: ClassVar[bool] = True
    id: str
    error: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Waiting:
    """It was told to stop, and first answers what it has accepted."""

    tagged: ClassVar[bool] = True
    requests: int


Report: TypeAlias = Event | Chunk | Answered | Refused | Waiting


def write(pipe: IO[bytes], message: object) -> None:
    """Say it, whole, in one line."""
    pipe.write(json.dumps(record.to_data(message), separators=(",", ":")).encode() + b"\n")
    pipe.flush()


def read_order(pipe: IO[bytes]) -> Order:
    return record.from_data(Order, json.loads(pipe.readline()))


def read_asks(pipe: IO[bytes]) -> Iterator[Ask]:
    for line in pipe:
        yield record.from_data(Ask, json.loads(line))


def read_reports(lines: Iterable[bytes]) -> Iterator[Report]:
    """What the worker says in these lines."""
    for line in lines:
        yield record.from_data(Report, json.loads(line))  # type: ignore[arg-type] # a union is a type to record
