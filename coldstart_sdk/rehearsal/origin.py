"""A file server on loopback over a directory, with a link of a chosen speed and faults by script.

With `process=True` it runs in a child process, so that a measured client does not share its interpreter;
everything else stays the same. The child ends with its parent, however that ends.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Protocol
from urllib.parse import quote

from coldstart_sdk import record
from coldstart_sdk.rehearsal.child import Child, orders, reply
from coldstart_sdk.rehearsal.faults import Fault
from coldstart_sdk.rehearsal.link import Link
from coldstart_sdk.rehearsal.serving import Handler, Request, Server, etag_of, file_below

if TYPE_CHECKING:
    from typing_extensions import Self

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Everything a server needs to know, fit to cross into a child process."""

    directory: str
    host: str
    rate_bytes_s: float | None
    per_connection_bytes_s: float | None
    latency_s: float
    tls: tuple[str, str] | None
    """Certificate and key, as files."""
    faults: tuple[Fault, ...]


class _Room(Protocol):
    """A running server, here or in a child."""

    @property
    def address(self) -> str: ...
    def requests(self) -> tuple[Request, ...]: ...
    def forget(self) -> None: ...
    def fail(self, faults: tuple[Fault, ...]) -> None: ...
    def mend(self) -> None: ...
    def close(self) -> None: ...


class Origin:
    """Serves every file below `directory`; a context manager.

    `tls` names the files of a certificate and its key, for https.
    """

    def __init__(  # noqa: PLR0913 - each an independent choice with a default
        self,
        directory: str | Path,
        *,
        rate_bytes_s: float | None = None,
        per_connection_bytes_s: float | None = None,
        latency_s: float = 0.0,
        faults: Iterable[Fault] = (),
        host: str = LOOPBACK,
        tls: tuple[str, str] | None = None,
        process: bool = False,
    ) -> None:
        self._settings = Settings(
            directory=str(Path(directory).resolve()),
            host=host,
            rate_bytes_s=rate_bytes_s,
            per_connection_bytes_s=per_connection_bytes_s,
            latency_s=latency_s,
            tls=tls,
            faults=tuple(faults),
        )
        self._process = process
        self._room: _Room | None = None

    def __enter__(self) -> Self:
        self._room = _Beside(self._settings) if self._process else _Here(self._settings)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, raised: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._running.close()
        self._room = None

    def url(self, path: str) -> str:
        return f"{self._running.address}/{quote(path)}"

    @property
    def requests(self) -> tuple[Request, ...]:
        """Every request so far, in the order of arrival."""
        return self._running.requests()

    def forget(self) -> None:
        """Start the record of requests anew."""
        self._running.forget()

    def fail(self, *faults: Fault) -> None:
        """Add faults to come."""
        self._running.fail(faults)

    def mend(self) -> None:
        """Drop the faults that have not struck."""
        self._running.mend()

    @property
    def _running(self) -> _Room:
        if self._room is None:
            raise RuntimeError("the origin runs only inside its `with` block")
        return self._room


class _FileHandler(Handler):
    def answer(self) -> None:
        server = self.server
        if not isinstance(server, _FileServer):  # pragma: no cover - only ever built with one
            raise TypeError("a file handler needs a file server")
        found = file_below(server.directory, self.name)
        if self.command == "POST" or found is None:
            self.send_bytes(b"not found\n", status=404)
            return
        self.send_file(found, etag_of(found))


class _FileServer(Server):
    def __init__(self, settings: Settings) -> None:
        link = Link(
            rate_bytes_s=settings.rate_bytes_s,
            per_connection_bytes_s=settings.per_connection_bytes_s,
            latency_s=settings.latency_s,
        )
        super().__init__(settings.host, _FileHandler, link=link, tls=settings.tls)
        self.directory = Path(settings.directory)
        self.script.add(settings.faults)


class _Here:
    """The server in a thread of this process."""

    def __init__(self, settings: Settings) -> None:
        self._server = _FileServer(settings)
        self._server.start()

    @property
    def address(self) -> str:
        return self._server.address

    def requests(self) -> tuple[Request, ...]:
        return self._server.requests

    def forget(self) -> None:
        self._server.forget()

    def fail(self, faults: tuple[Fault, ...]) -> None:
        self._server.script.add(faults)

    def mend(self) -> None:
        self._server.script.clear()

    def close(self) -> None:
        self._server.close()


class _Beside:
    """The server in a process of its own."""

    def __init__(self, settings: Settings) -> None:
        self._child = Child("coldstart_sdk.rehearsal.origin")
        self.address = str(self._child.say(record.to_data(settings)))

    def requests(self) -> tuple[Request, ...]:
        return record.from_data(tuple[Request, ...], self._child.say({"do": "requests"}))

    def forget(self) -> None:
        self._child.say({"do": "forget"})

    def fail(self, faults: tuple[Fault, ...]) -> None:
        self._child.say({"do": "fail", "faults": record.to_data(faults)})

    def mend(self) -> None:
        self._child.say({"do": "mend"})

    def close(self) -> None:
        self._child.close()


def _serve_parent() -> None:
    """The child's life: settings, then orders, until the parent is gone."""
    told = orders()
    room = _Here(record.from_data(Settings, next(told)))
    reply(room.address)
    for order in told:
        match order["do"]:
            case "requests":
                reply(record.to_data(room.requests()))
            case "fail":
                room.fail(record.from_data(tuple[Fault, ...], order["faults"]))
                reply(None)
            case "forget":
                room.forget()
                reply(None)
            case _:
                room.mend()
                reply(None)
    room.close()


if __name__ == "__main__":
    _serve_parent()
