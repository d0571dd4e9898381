"""Modal's protocol as the plane was written for it: a newer package that changes it is named here first."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib import metadata

import pytest

pytest.importorskip("modal")

from coldstart_sdk.rehearsal.modal.rehearse import PROVED
from coldstart_sdk.rehearsal.modal.wire import spoken
from tests.modal_clients import OLDER


def test_the_protocol_is_the_one_that_the_plane_was_written_for(golden: Callable[[str, str], None]) -> None:
    golden("modal/wire.json", json.dumps(spoken(), indent=1) + "\n")


def test_the_installed_version_is_one_of_those_that_were_proved() -> None:
    assert metadata.version("modal") in PROVED, "hold the plane against it, then add it to PROVED"
    assert set(OLDER) < set(PROVED)
