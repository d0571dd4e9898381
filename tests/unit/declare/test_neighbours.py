"""What lies beside a declaration, and would come in the way of a start."""

from __future__ import annotations

import pytest

from coldstart_sdk.declare.read import read_file
from coldstart_sdk.errors import ColdstartError
from tests.unit.declare.conftest import Project

SPEAKS = "@endpoint\ndef speak(self) -> str: ..."


@pytest.mark.parametrize("beside", ["queue.py", "json/__init__.py"])
def test_what_hides_a_module_of_pythons_own_is_named(project: Project, beside: str) -> None:
    declared = project.write(body=SPEAKS)
    project.write_text("", name=beside)

    with pytest.raises(ColdstartError, match="from every library") as refused:
        read_file(str(declared))

    assert refused.value.problems[0].where == beside.partition("/")[0]


@pytest.mark.parametrize("beside", ["helpers.py", "json/data.txt", "queue.txt"])
def test_what_hides_nothing_is_let_be(project: Project, beside: str) -> None:
    declared = project.write(body=SPEAKS)
    project.write_text("", name=beside)

    assert read_file(str(declared)).qualname == "App"
