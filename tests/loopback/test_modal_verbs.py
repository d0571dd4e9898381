"""Deploy to Modal and look after it: our verbs, Modal's own command line, and a plane on loopback."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("modal")

from coldstart_sdk import bundle, entry, planner
from coldstart_sdk.backends.modal import backend
from coldstart_sdk.declare.read import read
from coldstart_sdk.errors import LifecycleError, PlatformError, UsageError
from coldstart_sdk.plan import Plan
from coldstart_sdk.rehearsal.modal.plane import Plane
from tests.commands import HEAD
from tests.modal_clients import Client, every_client

VOICE = """
@warm_model(
    name="voice",
    weights={"w": Weights.local("w.bin")},
    image=Container.python("3.11").copy("w.bin", "w.bin"),
)
class Voice:
    @hook.load
    def load(self, weights):
        self.greeting = weights["w"].path.read_text()

    @endpoint(default=True)
    def speak(self, text: str) -> str:
        return f"{self.greeting} {text}"

    @endpoint
    def count(self, upto: int):
        yield from range(upto)
"""


@pytest.fixture
def plane(client: Client, monkeypatch: pytest.MonkeyPatch) -> Iterator[Plane]:
    """A plane that this process, and what it starts, takes for Modal, in the client's version."""
    path = {"PYTHONPATH": str(client.path)} if client.path else {}
    with Plane(env=path) as plane:
        for name, value in client.env(**plane.env).items():
            monkeypatch.setenv(name, value)
        yield plane


def a_bundle(folder: Path, greeting: str = "hello") -> tuple[Plan, Path]:
    path = folder / f"voice_{greeting}.py"
    path.write_text(HEAD + "from coldstart_sdk import Container\n" + VOICE)
    (folder / "w.bin").write_text(greeting)
    before = list(sys.path)
    try:
        spec = read(entry.load(str(path)))
    finally:
        sys.path[:] = before
        sys.modules.pop(path.stem, None)
    plan = planner.plan(spec, "modal", backend.capabilities, sdk="0")
    out = folder / f"build-{greeting}"
    bundle.write(backend.compile(plan, folder), out)
    return plan, out


@every_client
def test_a_deployment_fills_the_volume_starts_a_worker_and_is_done_once(
    tmp_path: Path, plane: Plane, client: Client
) -> None:
    plan, out = a_bundle(tmp_path)

    first = backend.deploy(plan, out)
    again = backend.deploy(plan, out)

    assert (first["changed"], again["changed"]) == (True, False), client.version
    assert first["url"].endswith("/http")
    assert first["state"] == "ready"
    assert first["ready_s"] > 0
    rpcs = [seen.rpc for seen in plane.world.seen]
    assert rpcs.index("VolumeCommit") < rpcs.index("ContainerCheckpoint"), "filled before any snapshot"
    assert rpcs.count("ContainerCheckpoint") == 1, "the second deployment starts nothing new"
    assert len(backend.history("voice")) == 1


@every_client
def test_the_verbs_see_call_scale_and_end_what_is_deployed(
    tmp_path: Path, plane: Plane, client: Client
) -> None:
    plan, out = a_bundle(tmp_path)
    backend.deploy(plan, out)

    assert list(backend.invoke("voice", None, {"text": "you"})) == ["hello you"], client.version
    assert list(backend.invoke("voice", "count", {"upto": 3})) == [0, 1, 2]
    with pytest.raises(LifecycleError, match="unknown argument, did you mean text"):
        list(backend.invoke("voice", "speak", {"txet": "you"}))
    status = backend.status("voice")
    assert (status["state"], status["workers"], status["release"]) == ("deployed", 1, "v1")
    assert any('"state": "ready"' in line for line in backend.logs("voice", follow=False))
    assert backend.scale("voice", least=1, most=2)["max"] == 2
    app = plane.world.app_named("voice")
    assert app
    function = plane.world.functions[app.functions["Voice.*"]]
    assert function.definition.autoscaler_settings.min_containers == 1

    backend.delete("voice")

    assert backend.status("voice")["state"] == "stopped"
    with pytest.raises(PlatformError, match="not on Modal"):
        list(backend.invoke("voice", None, {"text": "you"}))


@every_client
def test_a_release_can_be_taken_back(tmp_path: Path, plane: Plane, client: Client) -> None:
    del plane
    for greeting in ("hello", "goodbye"):
        backend.deploy(*a_bundle(tmp_path, greeting))
    assert list(backend.invoke("voice", None, {"text": "you"})) == ["goodbye you"], client.version

    backend.rollback("voice", "v1")

    assert list(backend.invoke("voice", None, {"text": "you"})) == ["hello you"]
    with pytest.raises(UsageError, match="no release"):
        backend.rollback("voice", "v9")


@every_client
def test_an_app_that_is_not_there_is_told_with_what_to_do(plane: Plane, client: Client) -> None:
    del plane
    with pytest.raises(PlatformError, match="knows no app") as told:
        backend.status("nowhere")

    assert "coldstart deploy" in told.value.fix, client.version
    with pytest.raises(PlatformError, match="knows no app"):
        backend.history("nowhere")
