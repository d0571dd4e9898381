"""`init`, `check`, `doctor` and `backends`: what a new user meets first."""

from __future__ import annotations

import shlex
import subprocess
import wave
from pathlib import Path

import pytest

from coldstart_sdk.cli.init import TEMPLATES
from tests.commands import PROGRAM, a_project, coldstart, environment


@pytest.mark.parametrize("template", TEMPLATES)
def test_what_init_writes_runs_at_once_by_the_command_that_it_names(template: str, tmp_path: Path) -> None:
    begun = coldstart("init", "begun", "--template", template, cwd=tmp_path)
    first = (
        next(line for line in begun.err.splitlines() if line.startswith("next")).removeprefix("next").strip()
    )

    ended = subprocess.run(
        [str(PROGRAM), *shlex.split(first)[1:], "--quiet"],
        cwd=tmp_path,
        capture_output=True,
        env=environment(),
        timeout=100,
        check=False,
    )

    assert ended.returncode == 0, ended.stderr.decode()
    assert ended.stdout.strip()
    assert coldstart("check", "begun/app.py", cwd=tmp_path).code == 0


@pytest.mark.parametrize(("folder", "name"), [("My Voice 2", "my-voice-2"), ("42", "tts")])
def test_a_project_is_named_after_its_folder_where_that_makes_a_name(
    folder: str, name: str, tmp_path: Path
) -> None:
    coldstart("init", folder, "--template", "tts", cwd=tmp_path)

    assert coldstart("check", f"{folder}/app.py", "--json", cwd=tmp_path).data["name"] == name


def test_the_speech_of_the_template_is_sound_that_is_not_silence(tmp_path: Path) -> None:
    coldstart("init", ".", "--template", "tts", cwd=tmp_path)
    coldstart("run", "app.py", "-i", "text=aeiou", "-o", "a.wav", cwd=tmp_path)

    with wave.open(str(tmp_path / "a.wav")) as sound:
        samples = sound.readframes(sound.getnframes())
    assert len(set(samples)) > 100


def test_init_says_what_it_wrote_and_leaves_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text("mine")

    said = coldstart("init", ".", cwd=tmp_path)

    assert said.code == 2
    assert (tmp_path / "app.py").read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["app.py"]
    elsewhere = coldstart("init", "new", "--json", cwd=tmp_path)
    assert elsewhere.data["files"] == [".gitignore", "app.py"]


def test_check_says_what_it_read(tmp_path: Path) -> None:
    said = coldstart("check", str(a_project(tmp_path)))

    assert said.code == 0
    assert "Voice, named voice" in said.out
    assert "count(upto) stream" in said.out


def test_doctor_names_credentials_and_never_shows_one(tmp_path: Path) -> None:
    env = {
        "HF_TOKEN": "hf_pastedbadly12345 \n",
        "AWS_ACCESS_KEY_ID": "AKIAEXAMPLE",
        "AWS_SECRET_ACCESS_KEY": "",
    }

    said = coldstart("doctor", "--json", env=env, cwd=tmp_path)

    assert said.code == 6
    problems = [found["said"] for found in said.data["findings"] if found["level"] == "problem"]
    assert any("HF_TOKEN has white space" in problem for problem in problems)
    assert any("AWS_SECRET_ACCESS_KEY is not" in problem for problem in problems)
    assert "pastedbadly" not in said.out + said.err
    assert "AKIAEXAMPLE" not in said.out + said.err


def test_doctor_gives_each_finding_that_is_not_ok_its_fix(tmp_path: Path) -> None:
    app = a_project(
        tmp_path,
        "@warm_model(secrets=['A_TOKEN_OF_OURS'], gpu='L4')\nclass A:\n    @endpoint\n    def a(self): ...\n",
    )

    said = coldstart("doctor", str(app), "--json", env={"HTTPS_PROXY": "http://127.0.0.1:9"})

    found = said.data["findings"]
    assert all(each["fix"] for each in found if each["level"] != "ok")
    assert {"python", "memory", "disk", "torch", "proxy", "secrets", "gpu"} <= {
        each["about"] for each in found
    }


def test_doctor_reads_the_settings_that_lie_in_the_folder_it_is_given(tmp_path: Path) -> None:
    folder = a_project(tmp_path / "project").parent
    (folder / "pyproject.toml").write_text('[tool.coldstart]\nhoem = "kept"\n')

    said = coldstart("doctor", str(folder), "--json")

    found = [each["said"] for each in said.data["findings"] if each["about"] == "declaration"]
    assert ["hoem" in each for each in found] == [True]


def test_doctor_says_at_which_step_a_host_cannot_be_reached(tmp_path: Path) -> None:
    app = a_project(
        tmp_path,
        """
        @warm_model(weights={
            "a": Weights.url("https://no.such.host.invalid/a.safetensors", sha256="0" * 64),
            "b": Weights.url("http://127.0.0.1:9/b.safetensors", sha256="1" * 64),
        })
        class A:
            @hook.load
            def load(self, weights): ...
            @endpoint
            def a(self): ...
        """,
        head="from coldstart_sdk import Weights, endpoint, hook, warm_model\n",
    )

    said = coldstart("doctor", str(app), "--json", env={"NO_PROXY": "*", "no_proxy": "*"})

    reach = [found["said"] for found in said.data["findings"] if found["about"] == "reach"]
    assert any("no.such.host.invalid failed at DNS" in each for each in reach)
    assert any("127.0.0.1:9 failed at connect" in each for each in reach)


def test_backends_says_who_brings_each_and_what_it_can_do() -> None:
    said = coldstart("backends", "--json")

    backends = {each["name"]: each for each in said.data["backends"]}
    assert backends["local"]["distribution"] == "coldstart-sdk"
    assert backends["local"]["verbs"][:2] == ["plan", "build"]
    assert {"modal", "runpod"} <= backends.keys()


def test_a_bundle_that_was_built_is_fresh_until_the_code_changes(tmp_path: Path) -> None:
    app = a_project(tmp_path)

    assert coldstart("build", str(app)).code == 0
    assert coldstart("build", str(app), "--check").code == 0
    app.write_text(app.read_text() + "\n# changed\n")
    stale = coldstart("build", str(app), "--check")

    assert stale.code == 4
    assert "app.py" in stale.problems[0]["error"]
