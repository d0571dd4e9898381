"""Each example with its real library and tiny random weights, under RunPod's worker and Modal's: one answer.

`make examples` installs the libraries and runs this; the default run leaves it out.
"""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.commands import Said, coldstart

EXAMPLES = Path(__file__).parents[2] / "examples"
STARTS_WITHIN_S = 280
"""Libraries of this size take most of a minute to import on a busy machine."""
pytestmark = [pytest.mark.examples, pytest.mark.timeout(600)]


@dataclass(frozen=True, kw_only=True)
class Example:
    name: str
    needs: tuple[str, ...]
    input: dict[str, Any]
    """Of the one request; `endpoint` among it where it is not the default."""


ALL = (
    Example(name="kokoro", needs=("kokoro_onnx", "onnx"), input={"text": "Hello there."}),
    Example(name="f5tts", needs=("f5_tts", "torchcodec"), input={"text": "Hello.", "steps": 2, "seed": 7}),
    Example(name="orpheus_snac", needs=("snac", "transformers"), input={"text": "Hi.", "frames": 8}),
    Example(name="indextts2", needs=("transformers", "yaml"), input={"text": "Hello."}),
    Example(name="multitalk", needs=("diffusers", "transformers"), input={"prompt": "two people talk"}),
)
CODEC = Example(
    name="orpheus_snac", needs=("snac", "transformers"), input={"endpoint": "decode", "codes": [*range(28)]}
)


def ids(example: Example) -> str:
    return f"{example.name}-{example.input.get('endpoint', 'default')}"


@pytest.fixture(scope="session")
def hubs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Each example's weights, made once."""
    return {"": tmp_path_factory.mktemp("hubs")}


def hub_of(example: Example, hubs: dict[str, Path]) -> Path:
    for module in example.needs:
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"could not import '{module}': make examples")
    folder = hubs[""] / example.name
    if not folder.exists():
        folder.mkdir()
        script = EXAMPLES / example.name / "weights.py"
        subprocess.run([sys.executable, str(script), str(folder)], check=True, capture_output=True)
    return folder


def project_of(example: Example, folder: Path) -> Path:
    """The declaration without its card: a platform's worker refuses to start where that is missing."""
    project = folder / example.name
    shutil.copytree(EXAMPLES / example.name, project)
    text = (project / "app.py").read_text()
    (project / "app.py").write_text(re.sub(r"^    gpu=.*\n", "", text, flags=re.MULTILINE))
    return project


def rehearsed(project: Path, target: str, example: Example, hub: Path) -> Said:
    arguments = {name: value for name, value in example.input.items() if name != "endpoint"}
    pairs = ["--set", f"hub={hub}", "--set", f"input={json.dumps(arguments)}"]
    if endpoint := example.input.get("endpoint"):
        pairs += ["--set", f"endpoint={endpoint}"]
    return coldstart(
        *("rehearse", str(project), "--target", target, "--snapshot", "none", "--json", *pairs),
        env={"HF_TOKEN": "swordfish-0123456789"},
        within_s=STARTS_WITHIN_S,
    )


@pytest.mark.parametrize("example", [*ALL, CODEC], ids=ids)
def test_runpod_and_modal_give_the_same_answer(
    example: Example, hubs: dict[str, Path], tmp_path: Path
) -> None:
    hub = hub_of(example, hubs)
    project = project_of(example, tmp_path)

    said = {target: rehearsed(project, target, example, hub) for target in ("runpod", "modal")}

    for each in said.values():
        assert each.code == 0, each.err
    on_runpod, on_modal = (each.data["result"] for each in said.values())
    chunks = on_runpod if isinstance(on_runpod, list) else [on_runpod]
    assert all(len(chunk["base64"]) > 1000 for chunk in chunks)  # sound or film, and some of it
    assert on_runpod == on_modal


@pytest.mark.parametrize("example", ALL, ids=ids)
def test_weights_that_are_given_no_folder_say_how_they_are_made(example: Example) -> None:
    for module in example.needs:
        pytest.importorskip(module, reason=f"could not import '{module}': make examples")
    script = EXAMPLES / example.name / "weights.py"

    said = subprocess.run([sys.executable, str(script)], check=False, capture_output=True, text=True)

    assert said.returncode == 1
    assert said.stderr.rstrip().endswith(f"python examples/{example.name}/weights.py FOLDER [BYTES]")


@pytest.mark.parametrize("example", ALL, ids=ids)
def test_a_second_start_asks_no_hub_for_bytes(
    example: Example, hubs: dict[str, Path], tmp_path: Path
) -> None:
    from coldstart_sdk.rehearsal.hub import Hub

    project = project_of(example, tmp_path)
    given = [part for name, value in example.input.items() for part in ("-i", f"{name}={value}")]
    with Hub(hub_of(example, hubs), process=True) as hub:
        env = {
            "HF_ENDPOINT": hub.endpoint,
            "COLDSTART_HOME": str(tmp_path / "home"),
            "HF_HUB_DISABLE_XET": "1",
        }
        first = coldstart(
            "run", str(project), *given, "-o", str(tmp_path / "one.wav"), env=env, within_s=STARTS_WITHIN_S
        )
        hub.forget()
        again = coldstart(
            "run", str(project), *given, "-o", str(tmp_path / "two.wav"), env=env, within_s=STARTS_WITHIN_S
        )
        fetched = [request for request in (*hub.requests, *hub.cdn.requests) if request.method == "GET"]

    assert (first.code, again.code) == (0, 0), first.err + again.err
    assert [request.path for request in fetched if "/resolve/" in request.path] == []
    assert (tmp_path / "one.wav").read_bytes() == (tmp_path / "two.wav").read_bytes()


@pytest.mark.parametrize("example", ALL, ids=ids)
def test_where_the_author_began_still_answers(
    example: Example, hubs: dict[str, Path], tmp_path: Path
) -> None:
    from coldstart_sdk.rehearsal.hub import Hub

    given = [
        part for name, value in example.input.items() if name != "seed" for part in ("-i", f"{name}={value}")
    ]
    with Hub(hub_of(example, hubs), process=True) as hub:
        said = coldstart(
            *("run", str(EXAMPLES / example.name / "before"), *given, "-o", str(tmp_path / "out.wav")),
            env={"HF_ENDPOINT": hub.endpoint, "HF_HOME": str(tmp_path / "hf"), "HF_HUB_DISABLE_XET": "1"},
            within_s=STARTS_WITHIN_S,
        )

    assert said.code == 0, said.err
    assert (tmp_path / "out.wav").stat().st_size > 1000
