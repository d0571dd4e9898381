"""The protocol's methods as plain coroutines: one takes a request and gives a reply.

Every method that nobody wrote answers UNIMPLEMENTED, and its name is remembered.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

from coldstart_sdk.rehearsal.modal.state import Seen, World

if TYPE_CHECKING:
    from coldstart_sdk.rehearsal.modal.containers import Container, Containers

S = TypeVar("S", bound="Room")
Answer = Callable[[S, Any], Awaitable[Any]]


class Room:
    """What every group of methods stands on; `container` is who is asking, None for a client."""

    def __init__(self, world: World, containers: Containers, container: Container | None = None) -> None:
        self.world = world
        self.containers = containers
        self.container = container

    def note(self, rpc: str) -> None:
        self.world.seen.append(Seen(rpc=rpc, task=self.container.task if self.container else None))


def unary(answer: Answer[S]) -> Callable[[S, Any], Awaitable[None]]:
    """A method with one request and one reply."""

    async def method(self: S, stream: Any) -> None:  # noqa: ANN401 - grpclib's
        self.note(answer.__name__)
        await stream.send_message(await answer(self, await stream.recv_message()))

    method.__name__ = answer.__name__
    return method


def streaming(answer: Callable[[S, Any, Any], Awaitable[None]]) -> Callable[[S, Any], Awaitable[None]]:
    """A method with one request and many replies, which it sends itself."""

    async def method(self: S, stream: Any) -> None:  # noqa: ANN401 - grpclib's
        from grpclib.exceptions import StreamTerminatedError  # noqa: PLC0415 - comes with Modal's package
        from h2.exceptions import StreamClosedError  # noqa: PLC0415 - as above

        self.note(answer.__name__)
        with suppress(StreamTerminatedError, StreamClosedError):  # whoever read it has left
            await answer(self, await stream.recv_message(), stream.send_message)

    method.__name__ = answer.__name__
    return method


def servicer(*rooms: type[Room]) -> type[Room]:
    """One class with all these methods, and an honest refusal for the rest of the protocol."""
    from modal_proto.api_grpc import ModalClientBase  # noqa: PLC0415 - the protocol comes with Modal's package

    written = {name for room in rooms for name in dir(room)}
    rest = {name: _missing(name) for name in ModalClientBase.__abstractmethods__ if name not in written}
    return type("Servicer", (*rooms, ModalClientBase), rest)


def reply(kind: Any, **fields: Any) -> Any:  # noqa: ANN401 - any message
    """A message with those of the fields that this version of the protocol has."""
    known = kind.DESCRIPTOR.fields_by_name
    return kind(**{name: value for name, value in fields.items() if name in known})


def _missing(name: str) -> Callable[[Room, Any], Awaitable[None]]:
    async def method(self: Room, stream: Any) -> None:  # noqa: ANN401 - grpclib's
        from grpclib import GRPCError, Status  # noqa: PLC0415 - comes with Modal's package

        await stream.recv_message()
        self.world.unimplemented.add(name)
        raise GRPCError(Status.UNIMPLEMENTED, f"the rehearsal has no {name}")

    return method


def not_found(what: str) -> Exception:
    from grpclib import GRPCError, Status  # noqa: PLC0415 - as above

    refusal: Exception = GRPCError(Status.NOT_FOUND, f"{what} not found")
    return refusal
