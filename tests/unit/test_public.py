"""What `import coldstart_sdk` offers, and what it loads."""

from __future__ import annotations

import subprocess
import sys

import pytest

import coldstart_sdk

NAMES = {
    "Audio",
    "Container",
    "File",
    "Image",
    "LocalWeight",
    "LocalWeights",
    "Scale",
    "Video",
    "Volume",
    "Weights",
    "endpoint",
    "hook",
    "warm_model",
}
OF_A_DECLARATION = {
    "coldstart_sdk",
    "coldstart_sdk.declare",
    "coldstart_sdk.declare.mark",
    "coldstart_sdk.declare.values",
    "coldstart_sdk.errors",
    "coldstart_sdk.frozen",
    "coldstart_sdk.hook",
    "coldstart_sdk.media",
    "coldstart_sdk.media.kinds",
    "coldstart_sdk.record",
    "coldstart_sdk.spec",
    "coldstart_sdk.storage",
    "coldstart_sdk.storage.weights",
}

OF_A_WORKER = {
    "coldstart_sdk",
    "coldstart_sdk.backends",
    "coldstart_sdk.backends.local",
    "coldstart_sdk.backends.local.messages",
    "coldstart_sdk.backends.local.worker",
    "coldstart_sdk.errors",
    "coldstart_sdk.events",
    "coldstart_sdk.frozen",
    "coldstart_sdk.graph",
    "coldstart_sdk.lanes",
    "coldstart_sdk.lifecycle",
    "coldstart_sdk.machine",
    "coldstart_sdk.plan",
    "coldstart_sdk.record",
    "coldstart_sdk.recorder",
    "coldstart_sdk.recorder.environment",
    "coldstart_sdk.recorder.imports",
    "coldstart_sdk.recorder.machine_facts",
    "coldstart_sdk.recorder.names",
    "coldstart_sdk.recorder.recorder",
    "coldstart_sdk.recorder.seams",
    "coldstart_sdk.recorder.sink",
    "coldstart_sdk.serve",
    "coldstart_sdk.serve.options",
    "coldstart_sdk.spec",
    "coldstart_sdk.steps",
    "coldstart_sdk.switches",
}
HEAVY = {
    "asyncio",
    "click",
    "concurrent.futures",
    "hashlib",
    "http",
    "logging",
    "pydantic",
    "socket",
    "ssl",
    "uvicorn",
}


def loaded_by(statement: str) -> set[str]:
    """The modules that a fresh interpreter has after the statement and had not before."""
    program = f"import sys; before = set(sys.modules); {statement}; print(*set(sys.modules) - before)"
    run = subprocess.run(
        [sys.executable, "-c", program],
        check=True,
        capture_output=True,
        text=True,
        env={"PYTHONPATH": ":".join(place for place in sys.path if place)},
    )
    return set(run.stdout.split())


def test_the_public_names_are_these() -> None:
    assert set(coldstart_sdk.__all__) == NAMES
    assert set(dir(coldstart_sdk)) >= NAMES
    assert all(getattr(coldstart_sdk, name) is not None for name in NAMES)
    assert coldstart_sdk.__version__[0].isdigit()


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'warm_modle'"):
        getattr(coldstart_sdk, "warm_modle")  # noqa: B009 - a type checker must not see it


def test_the_package_alone_loads_nothing() -> None:
    assert loaded_by("import coldstart_sdk") == {"coldstart_sdk"}


def test_a_declaration_loads_these_rooms_and_no_third_party() -> None:
    loaded = loaded_by("from coldstart_sdk import *")

    names = {name for name in loaded if name.startswith("coldstart_sdk")}
    others = {name.partition(".")[0] for name in loaded - names}
    assert names == OF_A_DECLARATION
    assert others <= set(sys.stdlib_module_names)
    assert not loaded & {"importlib.metadata", "asyncio", "ssl", "socket", "tempfile", "difflib"}


def test_a_worker_loads_these_rooms_before_its_start_is_under_way() -> None:
    loaded = loaded_by("import coldstart_sdk.backends.local.worker")

    names = {name for name in loaded if name.startswith("coldstart_sdk")}
    assert names == OF_A_WORKER
    assert {name.partition(".")[0] for name in loaded - names} <= set(sys.stdlib_module_names)
    assert not loaded & HEAVY
