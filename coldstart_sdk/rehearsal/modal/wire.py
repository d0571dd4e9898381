"""The part of Modal's protocol that the plane speaks, as data: what changes in it, a comparison shows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from coldstart_sdk.rehearsal.modal.calling import Calling
from coldstart_sdk.rehearsal.modal.deploying import Deploying
from coldstart_sdk.rehearsal.modal.inside import Inside

BESIDE = ("Asgi", "ContainerArguments")
"""Messages that travel as bytes inside others, or in a file."""
Wire = Mapping[str, Mapping[str, Any]]
"""`methods`, `messages`, `enums`: each name with what belongs to it."""


def spoken(file: Any = None) -> Wire:  # noqa: ANN401 - google's descriptor
    """Each method with its two messages, each message with its fields, each enumeration with its values.

    `file` is the protocol as google describes it; without it, the installed package's.
    """
    if file is None:
        from modal_proto import api_pb2  # noqa: PLC0415 - comes with Modal's package

        file = api_pb2.DESCRIPTOR
    methods = {
        name: method
        for name, method in sorted(file.services_by_name["ModalClient"].methods_by_name.items())
        if any(name in vars(room) for room in (Deploying, Calling, Inside))
    }
    told: dict[str, dict[str, Any]] = {"methods": {}, "messages": {}, "enums": {}}
    for name, method in methods.items():
        streams = ["stream"] if method.server_streaming or method.client_streaming else []
        told["methods"][name] = [method.input_type.name, method.output_type.name, *streams]
        _add(method.input_type, told)
        _add(method.output_type, told)
    for name in BESIDE:
        _add(file.message_types_by_name[name], told)
    return {kind: dict(sorted(names.items())) for kind, names in told.items()}


def changes(proved: Wire, now: Wire) -> tuple[str, ...]:
    """What of the protocol is another than the one that was proved, a line for each name."""
    return tuple(
        line
        for kind in ("methods", "messages", "enums")
        for name in sorted({**proved[kind], **now[kind]})
        for line in _differing(f"{kind[:-1]} {name}", proved[kind].get(name), now[kind].get(name))
    )


def _differing(name: str, was: Any, now: Any) -> Iterator[str]:  # noqa: ANN401 - a name's own value, or None
    if was == now:
        return
    if isinstance(was, Mapping) and isinstance(now, Mapping):
        for part in sorted({**was, **now}):
            yield from _differing(f"{name}.{part}", was.get(part), now.get(part))
    elif was is None or now is None:
        yield f"{name}: {'gone' if now is None else 'new'}"
    else:
        yield f"{name}: was {was}, is {now}"


def _add(message: Any, told: dict[str, dict[str, Any]]) -> None:  # noqa: ANN401 - google's descriptor
    if message.full_name in told["messages"] or not message.full_name.startswith("modal."):
        return
    told["messages"][message.full_name] = {
        field.name: f"{field.number} {_kind(field)}{' repeated' if field.is_repeated else ''}"
        for field in message.fields
    }
    for field in message.fields:
        if field.message_type:
            _add(field.message_type, told)
        if field.enum_type:
            told["enums"][field.enum_type.full_name] = {
                value.name: value.number for value in field.enum_type.values
            }


def _kind(field: Any) -> str:  # noqa: ANN401 - google's descriptor
    named = field.message_type or field.enum_type
    return str(named.name if named else field.type)
