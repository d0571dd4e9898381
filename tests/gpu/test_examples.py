"""Each example on a real card, with tiny weights: where it runs, what opening it cost, the first call.

`make examples` sets up the environment; with a torch for CUDA in it, on a machine with a card:
`.venv-examples/bin/pytest -s tests/gpu`.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from coldstart_sdk.events import Outcome
from coldstart_sdk.rehearsal.hub import Hub
from coldstart_sdk.trace.model import Trace
from tests.commands import coldstart
from tests.loopback.test_examples import ALL, EXAMPLES, Example, hub_of, ids

pytestmark = [pytest.mark.gpu, pytest.mark.timeout(900)]
ON_A_CARD = [example for example in ALL if "gpu=" in (EXAMPLES / example.name / "app.py").read_text()]


@pytest.fixture(scope="module")
def hubs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {"": tmp_path_factory.mktemp("hubs")}


@pytest.mark.parametrize("example", ON_A_CARD, ids=ids)
def test_an_example_runs_on_the_card_and_opens_it_beside_everything_else(
    example: Example, hubs: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [part for name, value in example.input.items() for part in ("-i", f"{name}={value}")]
    with Hub(hub_of(example, hubs), process=True) as hub:
        said = coldstart(
            *("run", str(EXAMPLES / example.name), *given, "-o", str(tmp_path / "answer")),
            *("--trace", str(tmp_path / "trace.json")),
            env={"HF_ENDPOINT": hub.endpoint, "HF_TOKEN": "", "HF_HUB_DISABLE_XET": "1"},
        )
    assert said.code == 0, said.err
    trace = Trace.from_json((tmp_path / "trace.json").read_text())
    steps = {step.name: step for step in trace.steps}
    opened = steps["cuda_init:driver"]
    loaded = [step for name, step in steps.items() if name.startswith("load:")]

    with capsys.disabled():
        sys.stderr.write(_told(example, trace))
    assert opened.outcome is steps["cuda_init:kernel"].outcome is Outcome.DONE
    assert opened.start_s < min(step.start_s for name, step in steps.items() if name.startswith("import:app"))
    assert max(step.end_s for step in loaded) <= (trace.anchors.ready_s or 0.0)
    assert not trace.degraded


def _told(example: Example, trace: Trace) -> str:
    parts = [f"{step.name} {step.duration_s:.2f} s" + (" ▸" if step.critical else "") for step in trace.steps]
    first = trace.requests[0].duration_s if trace.requests else 0.0
    ready = f"ready {trace.anchors.ready_s:.2f} s, first request {first:.2f} s"
    return f"\n{example.name}: {ready}; {'; '.join(parts)}\n"
