"""What does not survive a snapshot is named with its hook and line, from the declaration's text alone."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from coldstart_sdk.backends.modal import backend
from coldstart_sdk.backends.modal.lint import lint
from coldstart_sdk.planner import plan
from coldstart_sdk.spec import Kind, Snapshot
from tests.builders import LOAD, RESTORED, WARMUP, a_hook, a_spec

CPU, GPU, NONE = Snapshot.CPU, Snapshot.GPU, Snapshot.NONE


def found(folder: Path, text: str, snapshot: Snapshot = CPU) -> list[tuple[int, str]]:
    """(line, message) of everything that is said about this file."""
    (folder / "voice.py").write_text(textwrap.dedent(text).lstrip())
    hooks = (LOAD, RESTORED, WARMUP, a_hook(Kind.FETCH))
    spec = a_spec(*hooks, gpu=("L4",), secrets=("MY_TOKEN",), snapshot=snapshot)
    made = plan(spec, "modal", backend.capabilities, sdk="0")
    problems = lint(made, folder)
    assert all(problem.fix for problem in problems)
    return [(int(str(each.where).split(":")[1].split(",")[0]), each.message) for each in problems]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("self.model = Net().to('cuda')", "moves to a GPU"),
        ("self.model = Net().cuda()", "moves to a GPU"),
        ("self.model = load(device='cuda:0')", "moves to a GPU"),
        ("torch.cuda.empty_cache()", "torch.cuda.empty_cache asks for CUDA"),
        ("self.thread = Thread(target=print)", "threading.Thread may be alive"),
        ("self.http = requests.Session()", "requests.Session is kept"),
        ("self.log = open('x')", "kept open"),
        ("self.rng = np.random.default_rng()", "draws the same numbers"),
        ("self.key = os.environ['MY_TOKEN']", "the secret MY_TOKEN is kept"),
    ],
)
def test_a_line_before_the_cut_is_named(tmp_path: Path, line: str, said: str) -> None:
    text = f"""
    import os, requests, torch
    import numpy as np
    from threading import Thread
    class Voice:
        def load(self):
            {line}
    """

    ((number, message),) = found(tmp_path, text)

    assert number == 6
    assert said in message


def test_the_same_lines_after_the_cut_are_right(tmp_path: Path) -> None:
    text = """
    import requests, torch
    class Voice:
        def restored(self):
            self.model.to("cuda")
            self.http = requests.Session()
        def speak(self):
            torch.cuda.synchronize()
    """

    assert found(tmp_path, text) == []


def test_what_ends_with_its_hook_is_right(tmp_path: Path) -> None:
    text = """
    import random, requests
    class Voice:
        def load(self, device):
            with open("x") as file:
                self.text = file.read()
            page = requests.Session().get("u")
            rng = random.Random(3)
            self.model = self.net().to(device)
    """

    assert found(tmp_path, text) == []


def test_a_device_that_is_fixed_at_import_is_named(tmp_path: Path) -> None:
    text = """
    import torch
    DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
    class Voice:
        def load(self): ...
    """

    ((number, message),) = found(tmp_path, text)

    assert number == 2
    assert "fixes the device" in message


def test_what_a_hook_calls_is_read_too(tmp_path: Path) -> None:
    text = """
    class Voice:
        def load(self):
            self.prepare()
        def prepare(self):
            self.net.cuda()
    """

    assert [number for number, _ in found(tmp_path, text)] == [5]


def test_a_gpu_snapshot_may_touch_the_gpu_but_keep_no_connection(tmp_path: Path) -> None:
    text = """
    import httpx
    class Voice:
        def load(self):
            self.net.cuda()
            self.http = httpx.Client()
    """

    assert [number for number, _ in found(tmp_path, text, GPU)] == [5]


def test_without_a_snapshot_there_is_nothing_to_say(tmp_path: Path) -> None:
    text = """
    class Voice:
        def load(self):
            self.net.cuda()
    """

    assert found(tmp_path, text, NONE) == []
