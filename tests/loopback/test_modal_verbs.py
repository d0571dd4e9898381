"""Deploy to Modal and look after it: our verbs, Modal's own command line, and a plane on loopback."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("modal")

from coldstart_sdk import __version__, bundle, entry, planner
from coldstart_sdk.backends.modal import backend, release
from coldstart_sdk.declare.read import read
from coldstart_sdk.errors import LifecycleError, PlatformError, UsageError
from coldstart_sdk.plan import Plan
from coldstart_sdk.rehearsal.modal.plane import Plane
from tests.commands import HEAD
from tests.modal_clients import Client, every_client, newest_client

VOICE = """
@warm_model(name="voice")
class Voice:
    @hook.load
    def load(self):
        self.greeting = "hello"
        if self.greeting == "torn":
            raise OSError("torn file")

    @endpoint(default=True)
    def speak(self, text: str) -> str:
        return f"{self.greeting} {text}"

    @endpoint
    def count(self, upto: int):
        yield from range(upto)

    @endpoint
    def boom(self):
        raise KeyError("a path of ours")
"""
WEIGHTS = """name="voice",
    weights={"w": Weights.local("w.bin")},
    image=Container.python("3.11").copy("w.bin", "w.bin"),
"""


@pytest.fixture
def plane(client: Client, monkeypatch: pytest.MonkeyPatch) -> Iterator[Plane]:
    """A plane that this process, and what it starts, takes for Modal, in the client's version."""
    path = {"PYTHONPATH": str(client.path)} if client.path else {}
    with Plane(env=path) as plane:
        for name, value in client.env(**plane.env).items():
            monkeypatch.setenv(name, value)
        yield plane


def a_bundle(folder: Path, greeting: str = "hello", options: str = 'name="voice"') -> tuple[Plan, Path]:
    path = folder / f"voice_{greeting}.py"
    text = VOICE.replace('name="voice"', options).replace('greeting = "hello"', f'greeting = "{greeting}"')
    path.write_text(f"{HEAD}from coldstart_sdk import Container, Scale\n{text}")
    (folder / "w.bin").write_text("weights")
    before = list(sys.path)
    try:
        spec = read(entry.load(str(path)))
    finally:
        sys.path[:] = before
        sys.modules.pop(path.stem, None)
    plan = planner.plan(spec, "modal", backend.capabilities, sdk=__version__)
    out = folder / f"build-{greeting}"
    bundle.write(backend.compile(plan, folder), out)
    return plan, out


@every_client
def test_a_deployment_fills_the_volume_asks_once_and_is_done_once(
    tmp_path: Path, plane: Plane, client: Client, capfd: pytest.CaptureFixture[str]
) -> None:
    plan, out = a_bundle(tmp_path, options=WEIGHTS)

    first = backend.deploy(plan, out)
    told = capfd.readouterr().err
    again = backend.deploy(plan, out)

    assert (first["did"], again["did"]) == ("created", "nothing to change"), client.version
    assert first["url"].endswith("/http")
    assert (first["asked"], first["answer"]) == ("speak", "yes")
    assert first["state"] == "ready"
    assert first["ready_s"] > 0
    assert "fetch:w" in told, "how the volume is filled"
    assert "restored:reseed" in told, "how the first worker started"
    assert again["url"] == first["url"]
    rpcs = [seen.rpc for seen in plane.world.seen]
    assert rpcs.index("VolumeCommit") < rpcs.index("ContainerCheckpoint"), "filled before any snapshot"
    assert rpcs.count("ContainerCheckpoint") == 1, "the second deployment starts nothing new"
    assert len(backend.history("voice")) == 1


@newest_client
def test_what_a_deployment_would_change_is_told_before_it(
    tmp_path: Path, plane: Plane, client: Client
) -> None:
    del plane
    plan, out = a_bundle(tmp_path)
    tag = release.tag(plan, out)
    assert backend.changes(plan, out) == (f"release: none -> {tag}",), client.version
    by_hand = [sys.executable, "-m", "modal", "deploy", "modal_app.py"]
    subprocess.run(by_hand, cwd=out, check=True, capture_output=True)
    assert backend.changes(plan, out) == (f"release: v1, by `modal deploy` alone -> {tag}",)
    backend.deploy(plan, out)
    assert backend.changes(plan, out) == ()

    plan, out = a_bundle(tmp_path, options='name="voice", scale=Scale(max=7)')
    changes = backend.changes(plan, out)

    assert "modal_app.py: - max_containers=3," in changes
    assert "modal_app.py: + max_containers=7," in changes
    assert "code/voice_hello.py: changes" in changes
    elsewhere = shutil.copytree(out, tmp_path / "elsewhere", ignore=shutil.ignore_patterns(release.FILE))
    assert "not deployed from this folder" in backend.changes(plan, elsewhere)[1]


@newest_client
def test_a_deployment_that_does_not_answer_is_taken_back(
    tmp_path: Path, plane: Plane, client: Client, capfd: pytest.CaptureFixture[str]
) -> None:
    del plane
    with pytest.raises(PlatformError, match=r"load:load raised .*; the new app was stopped") as told:
        backend.deploy(*a_bundle(tmp_path, "torn"))
    assert told.value.fix, client.version
    assert 'raise OSError("torn file")' in capfd.readouterr().err, "the log is gone with the app"
    assert backend.status("voice")["state"] == "stopped"
    backend.deploy(*a_bundle(tmp_path, "hello"))

    with pytest.raises(PlatformError, match=r"load:load raised .*; v1 is live again"):
        backend.deploy(*a_bundle(tmp_path, "torn"))

    assert list(backend.invoke("voice", None, {"text": "you"})) == ["hello you"]


@every_client
def test_a_secret_that_is_not_there_is_named_with_the_command_that_makes_it(
    tmp_path: Path, plane: Plane, client: Client
) -> None:
    with pytest.raises(PlatformError, match="Secret 'MY_TOKEN' not found") as told:
        backend.deploy(*a_bundle(tmp_path, options='name="voice", secrets=["MY_TOKEN"]'))

    assert told.value.fix == "Make it: modal secret create MY_TOKEN MY_TOKEN=VALUE", client.version
    assert plane.world.app_named("voice") is None


@newest_client
def test_a_secret_by_another_name_is_made_with_the_variable_that_it_holds(
    tmp_path: Path, plane: Plane, client: Client
) -> None:
    del plane
    options = 'name="voice", secrets=["MY_TOKEN"], overrides={"modal": {"secrets": {"MY_TOKEN": "ours"}}}'
    with pytest.raises(PlatformError, match="Secret 'ours' not found") as told:
        backend.deploy(*a_bundle(tmp_path, options=options))

    assert told.value.fix == "Make it: modal secret create ours MY_TOKEN=VALUE", client.version


@newest_client
def test_who_has_not_signed_in_is_told_how(
    tmp_path: Path, plane: Plane, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    del plane
    for name in ("MODAL_TOKEN_ID", "MODAL_TOKEN_SECRET"):
        monkeypatch.delenv(name)

    with pytest.raises(PlatformError, match="Token missing") as told:
        backend.deploy(*a_bundle(tmp_path))

    assert told.value.fix == "Sign in: modal setup", client.version


@newest_client
def test_an_answer_that_cannot_be_had_is_told_as_the_workers_failure(
    tmp_path: Path, plane: Plane, client: Client
) -> None:
    del plane
    backend.deploy(*a_bundle(tmp_path))

    with pytest.raises(LifecycleError, match="failed: boom raised KeyError") as told:
        list(backend.invoke("voice", "boom", {}))

    assert "log knows more under" in told.value.fix, client.version


@every_client
def test_the_verbs_see_call_scale_and_end_what_is_deployed(
    tmp_path: Path, plane: Plane, client: Client
) -> None:
    plan, out = a_bundle(tmp_path)
    backend.deploy(plan, out)

    assert list(backend.invoke("voice", None, {"text": "you"})) == ["hello you"], client.version
    assert list(backend.invoke("voice", "count", {"upto": 3})) == [0, 1, 2]
    with pytest.raises(UsageError, match="unknown argument, did you mean text"):
        list(backend.invoke("voice", "speak", {"txet": "you"}))
    status = backend.status("voice")
    assert (status["state"], status["workers"], status["release"]) == ("deployed", 1, "v1")
    said = [line.split() for line in backend.logs("voice", follow=False)]
    assert ["load:load", "done"] in said
    assert ["worker", "ready"] in said
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
def test_a_log_is_followed_while_workers_write_it(tmp_path: Path, plane: Plane, client: Client) -> None:
    del plane
    backend.deploy(*a_bundle(tmp_path))
    lines = backend.logs("voice", follow=True)
    assert any("worker             ready" in line for line in lines), client.version
    list(backend.invoke("voice", "count", {"upto": 2}))

    assert any(line.startswith("count ") and "done in" in line for line in lines)
    backend.delete("voice")
    assert [line.split() for line in lines][-1] == ["worker", "stopped"]


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
    with pytest.raises(PlatformError, match="knows no app"):
        backend.delete("nowhere")
    with pytest.raises(PlatformError, match="nowhere is not live on Modal"):
        list(backend.logs("nowhere", follow=False))


@newest_client
def test_what_is_deleted_already_stays_deleted(tmp_path: Path, plane: Plane, client: Client) -> None:
    del plane
    backend.deploy(*a_bundle(tmp_path))
    for _ in range(2):
        backend.delete("voice")

        assert backend.status("voice")["state"] == "stopped", client.version


@newest_client
def test_a_name_that_is_nearly_right_is_suggested_by_the_client(
    tmp_path: Path, plane: Plane, client: Client
) -> None:
    backend.deploy(*a_bundle(tmp_path))

    ended = subprocess.run(
        [sys.executable, "-m", "modal", "app", "history", "voise"],
        env={**os.environ, "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert ended.returncode != 0, client.version
    assert "voice" in ended.stderr + ended.stdout
    assert plane.world.unimplemented == set()
