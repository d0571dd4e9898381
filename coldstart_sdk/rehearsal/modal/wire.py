"""The part of Modal's protocol that the plane speaks, as data: what changes in it, a comparison shows."""

from __future__ import annotations

from typing import Any

from coldstart_sdk.rehearsal.modal.calling import Calling
from coldstart_sdk.rehearsal.modal.deploying import Deploying
from coldstart_sdk.rehearsal.modal.inside import Inside


def spoken() -> dict[str, Any]:
    """Each method with its two messages, and each message with its fields by name."""
    from modal_proto import api_pb2  # noqa: PLC0415 - comes with Modal's package

    methods = api_pb2.DESCRIPTOR.services_by_name["ModalClient"].methods_by_name
    written = sorted(
        name for name in methods if any(name in vars(room) for room in (Deploying, Calling, Inside))
    )
    messages: dict[str, Any] = {}
    for name in written:
        _add(methods[name].input_type, messages)
        _add(methods[name].output_type, messages)
    return {
        "methods": {
            name: [methods[name].input_type.name, methods[name].output_type.name] for name in written
        },
        "messages": dict(sorted(messages.items())),
    }


def _add(message: Any, messages: dict[str, Any]) -> None:  # noqa: ANN401 - google's descriptor
    if message.full_name in messages or not message.full_name.startswith("modal."):
        return
    messages[message.full_name] = {
        field.name: f"{field.number} {_kind(field)}{' repeated' if field.is_repeated else ''}"
        for field in message.fields
    }
    for field in message.fields:
        if field.message_type:
            _add(field.message_type, messages)


def _kind(field: Any) -> str:  # noqa: ANN401 - google's descriptor
    named = field.message_type or field.enum_type
    return str(named.name if named else field.type)
