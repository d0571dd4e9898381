"""What each example becomes on each target: its plan and its bundle, as committed files."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from coldstart_sdk import plugins
from coldstart_sdk.declare import read
from coldstart_sdk.plan import Plan
from coldstart_sdk.planner import plan
from tests.golden.test_plans import brief

EXAMPLES = Path(__file__).parents[2] / "examples"
NAMES = sorted(folder.name for folder in EXAMPLES.iterdir() if (folder / "weights.py").is_file())
TARGETS = ("local", "runpod", "modal")
_ELSEWHERE = (
    "plan.json",
    "code/",
    ".github/",
    ".runpod/",
    ".dockerignore",
    ".coldstart-bundle.json",
    "app.py",
)
"""Golden elsewhere, or the same for every declaration."""


def planned(name: str, target: str) -> Plan:
    spec = read.read_file(str(EXAMPLES / name / "app.py"))
    sys.modules.pop(spec.module, None)  # each example's file is called app.py
    return plan(spec, target, plugins.backend(target).capabilities, sdk="1.2.3")


def _untagged(text: str) -> str:
    """Without the digest of the whole bundle, which changes with every line of ours that goes along."""
    return re.sub(r'("image": "[\w-]+:)[0-9a-f]{16}"', r'\1TAG"', text)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", NAMES)
def test_the_plan_of_each_example_is_the_one_that_was_agreed(
    name: str, target: str, golden: Callable[[str, str], None]
) -> None:
    golden(f"examples/{name}/{target}.plan.json", brief(planned(name, target)))


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", NAMES)
def test_the_bundle_of_each_example_is_the_one_that_was_agreed(
    name: str, target: str, golden: Callable[[str, str], None]
) -> None:
    compiler = plugins.compiler(plugins.backend(target))

    bundle = compiler.compile(planned(name, target), EXAMPLES / name)

    written = {file.path: file.data.decode() for file in bundle.artifacts}
    for path in sorted(path for path in written if not path.startswith(_ELSEWHERE)):
        golden(f"examples/{name}/{target}/{path}.txt", _untagged(written[path]))
