"""What the command line proposes: after a slip, and as the next thing to do."""

from __future__ import annotations

import os
import pty
import shlex
import subprocess
from pathlib import Path

import pytest

from coldstart_sdk import plugins
from coldstart_sdk.backends.local import backend as local
from tests.commands import HEAD, PROGRAM, a_project, coldstart, environment

NEEDY = """
@warm_model
class Needy:
    @endpoint(default=True)
    def speak(self, text: str, times: int, loud: bool = False) -> str:
        return text * times

    @endpoint
    def tone(self) -> Audio:
        return Audio.silence("1s")
"""


@pytest.mark.parametrize(
    ("words", "mend"),
    [
        (("name=5",), "Did you mean -i name=5?"),
        (("speak", "name=5"), "Did you mean -i name=5?"),
        (("--name", "5"), "Did you mean -i name=5?"),
        (("--name=a b",), "Did you mean -i 'name=a b'?"),
        (("--jsno",), "Did you mean --json?"),
    ],
)
def test_an_argument_that_lacks_its_i_is_shown_as_it_should_be(
    tmp_path: Path, words: tuple[str, ...], mend: str
) -> None:
    said = coldstart("run", str(a_project(tmp_path)), *words)

    assert said.code == 2
    assert said.problems[0]["fix"].startswith(mend)


def test_a_secret_in_a_slip_is_not_repeated(tmp_path: Path) -> None:
    secret = "hf_" + "q" * 34

    said = coldstart("run", str(a_project(tmp_path)), "--name", secret)

    assert secret not in said.err


@pytest.mark.parametrize("verb", ["check", "plan"])
def test_the_first_call_that_is_proposed_works(tmp_path: Path, verb: str) -> None:
    a_project(tmp_path, NEEDY)
    said = coldstart(verb, "app.py", cwd=tmp_path)
    proposed = next(line for line in said.err.splitlines() if line.startswith("next")).split(maxsplit=1)[1]

    assert proposed == "coldstart run app.py -i text=hello -i times=1"
    assert coldstart(*shlex.split(proposed)[1:], "-q", cwd=tmp_path).out == "hello\n"


@pytest.mark.parametrize("target", ["local", "runpod", "modal"])
def test_only_a_verb_that_the_backend_has_is_proposed_next(tmp_path: Path, target: str) -> None:
    a_project(tmp_path)
    offers = plugins.verbs(plugins.backend(target))

    for verb in ("plan", "build"):
        said = coldstart(verb, "app.py", "--target", target, cwd=tmp_path)

        hints = [line.split()[1:] for line in said.err.splitlines() if line.startswith("next")]
        assert all(words[0] == "sh" or words[1] in {*offers, "run"} for words in hints), (
            f"{hints} after {verb}, but {target} offers {offers}"
        )


def test_what_a_backend_offers_follows_from_the_protocols_that_it_meets() -> None:
    assert plugins.verbs(local) == ("plan", "build")


@pytest.mark.parametrize(
    ("words", "code", "fix"),
    [
        (("--snapshot", "gpu"), 3, "Leave it out"),
        (("--store", "foo"), 2, "s3://"),
    ],
)
def test_what_cannot_be_had_here_is_refused_with_the_mend(
    tmp_path: Path, words: tuple[str, ...], code: int, fix: str
) -> None:
    said = coldstart("run", str(a_project(tmp_path)), "-i", "text=x", *words)

    assert said.code == code
    assert words[0] in said.problems[0]["error"]
    assert fix in said.problems[0]["fix"]


def test_media_are_not_poured_into_a_terminal(tmp_path: Path) -> None:
    ours, its = pty.openpty()
    ended = subprocess.run(
        [str(PROGRAM), "run", str(a_project(tmp_path, NEEDY)), "tone", "-o", "-"],
        stdin=subprocess.DEVNULL,
        stdout=its,
        stderr=subprocess.PIPE,
        env=environment(),
        check=False,
    )
    os.close(its)
    os.close(ours)

    assert ended.returncode == 2
    assert b"tone gives Audio, and stdout is a terminal" in ended.stderr


def test_why_a_start_failed_is_told_by_the_step_and_by_the_error_alone(tmp_path: Path) -> None:
    body = """
    @warm_model
    class Bad:
        @hook.load
        def load(self):
            raise ValueError("no card")
        @endpoint
        def speak(self) -> str: ...
    """
    said = coldstart("run", str(a_project(tmp_path, body)))

    assert said.code == 6
    assert said.err.count("load:load raised ValueError: no card") == 2


def test_a_check_says_what_was_declared(tmp_path: Path) -> None:
    assert coldstart("check", str(a_project(tmp_path))).out.startswith("declared   Voice, named voice\n")


def test_one_problem_is_one_problem(tmp_path: Path) -> None:
    path = tmp_path / "app.py"
    path.write_text(f"{HEAD}\n@warm_model\ndef voice(): ...\n")

    assert "1 problem, " in coldstart("doctor", str(path)).err
