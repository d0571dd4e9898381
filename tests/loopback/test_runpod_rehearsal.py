"""`coldstart rehearse --target runpod`: what a user sees, without an account."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from coldstart_sdk.errors import UsageError
from coldstart_sdk.rehearsal.runpod.rehearse import read
from tests.commands import VOICE, a_project, coldstart

pytest.importorskip("runpod", reason="could not import 'runpod'")

WEIGHED = """
@warm_model(name="voice", weights={"w": Weights.hf("org/w")})
class Voice:
    @hook.load
    def load(self, weights):
        self.word = (weights["w"].path / "word.txt").read_text()
    @endpoint
    def speak(self) -> str: return self.word
"""


def rehearsed(app: Path, *options: str) -> Any:  # noqa: ANN401 - plain JSON
    pairs = [part for option in options for part in ("--set", option)]
    ended = coldstart("rehearse", str(app), "--target", "runpod", "--json", *pairs)
    assert ended.code == 0, ended.err
    return ended.data


def test_the_bundle_answers_under_runpods_own_worker(tmp_path: Path) -> None:
    app = a_project(tmp_path / "project", VOICE)

    told = rehearsed(app)

    assert (told["job"], told["worker"], told["ended"]) == ("COMPLETED", "ready", "in order")
    assert told["ready_s"] > 0
    trace = json.loads(Path(told["trace"]).read_text())
    assert trace["anchors"]["request_s"] < trace["anchors"]["ready_s"] < trace["anchors"]["first_byte_s"]


def test_later_requests_find_a_warm_worker(tmp_path: Path) -> None:
    told = rehearsed(
        a_project(tmp_path / "project", VOICE), "endpoint=speak", 'input={"text": "you"}', "requests=3"
    )

    assert told["result"] == "hello you"
    assert told["results"] == ["hello you"] * 3
    assert len(json.loads(Path(told["trace"]).read_text())["requests"]) >= 3


def test_a_refused_result_is_sent_again(tmp_path: Path) -> None:
    assert rehearsed(a_project(tmp_path / "project", VOICE), "fault=refused")["job"] == "COMPLETED"


def test_weights_come_from_a_hub_on_loopback_at_a_chosen_speed(tmp_path: Path) -> None:
    app = a_project(tmp_path / "project", WEIGHED)
    (tmp_path / "hub/org/w").mkdir(parents=True)
    (tmp_path / "hub/org/w/word.txt").write_text("heavy")
    (tmp_path / "hub/org/w/model.bin").write_bytes(bytes(2_000_000))

    told = rehearsed(app, f"hub={tmp_path / 'hub'}", "net=100Mbit")
    warm = rehearsed(app, f"hub={tmp_path / 'hub'}", "net=100Mbit", "state=warm")

    assert told["job"] == warm["job"] == "COMPLETED"


def test_what_is_baked_is_there_before_the_worker_starts(tmp_path: Path) -> None:
    baked = WEIGHED.replace('(name="voice",', '(name="voice", place="image",')
    app = a_project(tmp_path / "project", baked)
    (tmp_path / "hub/org/w").mkdir(parents=True)
    (tmp_path / "hub/org/w/word.txt").write_text("heavy")

    told = rehearsed(app, f"hub={tmp_path / 'hub'}", "state=baked")

    assert (told["job"], told["result"]) == ("COMPLETED", "heavy")
    trace = json.loads(Path(told["trace"]).read_text())
    fetched = next(span for span in trace["spans"] if span["name"] == "fetch:w")
    assert fetched["tier"] in {"image", "disk"}, fetched


def test_what_is_not_baked_cannot_be_rehearsed_so(tmp_path: Path) -> None:
    app = a_project(tmp_path / "project", VOICE)

    ended = coldstart("rehearse", str(app), "--target", "runpod", "--set", "state=baked")

    assert ended.code == 2
    assert 'place="image"' in ended.problems[0]["fix"]


def test_a_start_that_fails_is_told_with_its_reason(tmp_path: Path) -> None:
    broken = VOICE.replace('self.greeting = "hello"', 'raise RuntimeError("no model")')

    told = rehearsed(a_project(tmp_path / "project", broken))

    assert told["job"] == "FAILED"
    assert "no model" in json.loads(told["error"])["message"]


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"speed": "1"}, "speed"),
        ({"state": "full"}, "state"),
        ({"fault": "flood"}, "fault"),
        ({"net": "fast", "hub": "x"}, "net"),
        ({"net": "1Gbit"}, "hub"),
        ({"input": "{"}, "input"),
        ({"limit": "-1"}, "limit"),
        ({"requests": "0"}, "requests"),
    ],
    ids=lambda value: str(value) if isinstance(value, str) else "",
)
def test_an_option_that_means_nothing_is_refused_by_name(options: dict[str, str], word: str) -> None:
    with pytest.raises(UsageError, match=word):
        read(options)


@pytest.mark.parametrize(
    ("text", "bytes_s"), [("1Gbit", 125e6), ("300 Mbit", 37.5e6), ("100MB/s", 100e6), ("8kbit", 1000.0)]
)
def test_speeds_are_read_as_people_write_them(text: str, bytes_s: float) -> None:
    assert read({"net": text, "hub": "x"}).net_bytes_s == bytes_s
