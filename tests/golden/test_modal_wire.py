"""Modal's protocol as the plane was written for it: a newer package that changes it is named here first."""

# ruff: noqa: ANN401 - descriptors of the protocol have no types

from __future__ import annotations

import json
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("modal")

from google.protobuf import descriptor_pb2, descriptor_pool

from coldstart_sdk.rehearsal.modal.rehearse import PROVED, stated
from coldstart_sdk.rehearsal.modal.wire import changes, spoken
from tests.modal_clients import OLDER

DOCS = Path(__file__).parents[2] / "docs/modal.md"


def test_the_protocol_is_the_one_that_the_plane_was_written_for(golden: Callable[[str, str], None]) -> None:
    now = spoken()
    try:
        golden("modal/wire.json", json.dumps(now, indent=1) + "\n")
    except AssertionError:
        proved = json.loads((Path(__file__).parent / "modal/wire.json").read_text(encoding="utf-8"))
        pytest.fail(
            f"modal {metadata.version('modal')} speaks otherwise:\n" + "\n".join(changes(proved, now))
        )


def test_the_installed_version_is_one_of_those_that_were_proved() -> None:
    assert metadata.version("modal") in PROVED, "hold the plane against it, then add it to PROVED"
    assert set(OLDER) < set(PROVED)
    *older, newest = PROVED
    assert f"modal {', '.join(older)} and {newest}" in DOCS.read_text(encoding="utf-8").replace("\n", " ")


def test_a_rehearsal_says_when_it_runs_under_another_version() -> None:
    assert stated("1.6.4") == "1.6.4"
    assert stated("1.7.0") == "1.7.0, not one of those proved: 1.4.3, 1.5.5, 1.6.4"


def another(change: Callable[[Any], None]) -> Any:
    """The installed protocol with a change in it, as a newer package would bring it."""
    from modal_proto import api_pb2

    file = descriptor_pb2.FileDescriptorProto()
    api_pb2.DESCRIPTOR.CopyToProto(file)
    change(file)
    pool = descriptor_pool.DescriptorPool()
    for needed in api_pb2.DESCRIPTOR.dependencies:
        each = descriptor_pb2.FileDescriptorProto()
        needed.CopyToProto(each)
        pool.Add(each)
    pool.Add(file)
    return pool.FindFileByName(file.name)


def message(file: Any, name: str) -> Any:
    return next(each for each in file.message_type if each.name == name)


def a_field_more(file: Any) -> None:
    message(file, "VolumeReloadRequest").field.add(name="force", number=99, type=8, label=1)


def a_field_less(file: Any) -> None:
    del message(file, "TaskLogs").field[0]


def another_number(file: Any) -> None:
    next(
        field for field in message(file, "VolumeCommitRequest").field if field.name == "volume_id"
    ).number = 77


def another_value(file: Any) -> None:
    enum = next(each for each in file.enum_type if each.name == "DataFormat")
    next(value for value in enum.value if value.name == "DATA_FORMAT_ASGI").number = 78


def a_field_of_what_is_in_a_file(file: Any) -> None:
    message(file, "ContainerArguments").field.add(name="more", number=99, type=9, label=1)


def another_reply(file: Any) -> None:
    method = next(each for each in file.service[0].method if each.name == "AppHeartbeat")
    method.output_type = ".modal.client.Asgi"


def no_more_such_method(file: Any) -> None:
    methods = file.service[0].method
    del methods[next(at for at, each in enumerate(methods) if each.name == "VolumeCommit")]


def a_method_that_the_plane_does_not_speak(file: Any) -> None:
    file.service[0].method.add(
        name="Unheard", input_type=".modal.client.TaskLogs", output_type=".modal.client.TaskLogs"
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (a_field_more, "message modal.client.VolumeReloadRequest.force: new"),
        (a_field_less, "message modal.client.TaskLogs.data: gone"),
        (another_number, "message modal.client.VolumeCommitRequest.volume_id: was 1 9, is 77 9"),
        (another_value, "enum modal.client.DataFormat.DATA_FORMAT_ASGI: was 2, is 78"),
        (a_field_of_what_is_in_a_file, "message modal.client.ContainerArguments.more: new"),
        (
            another_reply,
            "method AppHeartbeat: was ['AppHeartbeatRequest', 'Empty'], is ['AppHeartbeatRequest', 'Asgi']",
        ),
        (no_more_such_method, "method VolumeCommit: gone"),
    ],
)
def test_what_a_newer_version_says_otherwise_is_named(change: Callable[[Any], None], said: str) -> None:
    assert said in changes(spoken(), spoken(another(change)))


def test_what_the_plane_does_not_speak_may_change() -> None:
    assert changes(spoken(), spoken(another(a_method_that_the_plane_does_not_speak))) == ()
