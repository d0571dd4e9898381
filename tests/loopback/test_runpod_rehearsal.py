"""`coldstart rehearse --target runpod`: what a user sees, without an account."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from coldstart_sdk.backends.runpod import backend
from coldstart_sdk.errors import UsageError
from coldstart_sdk.planner import plan
from coldstart_sdk.rehearsal.hub import Hub
from coldstart_sdk.rehearsal.runpod.wish import read
from tests.builders import LOAD, a_spec
from tests.commands import VOICE, a_project, coldstart

pytest.importorskip("runpod", reason="could not import 'runpod'")

PLANNED = plan(a_spec(LOAD), "runpod", backend.capabilities, sdk="0")
WITH_BINDFS = pytest.mark.skipif(
    not (shutil.which("bindfs") and os.access("/dev/fuse", os.W_OK)),
    reason="could not import 'bindfs': it is not here, or /dev/fuse is closed",
)
MAPPED = """
import mmap

def read(path):
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as mapped:
        return sum(mapped[::4096])
"""
WEIGHED = """
from coldstart_sdk import Volume

@warm_model(name="voice", weights={"w": Weights.hf("org/w")})
class Voice:
    @hook.load
    def load(self, weights):
        self.word = (weights["w"].path / "word.txt").read_text()
    @endpoint
    def speak(self) -> str: return self.word
"""


ASKS_ITSELF = """
        import http.server, threading, urllib.request
        own = http.server.ThreadingHTTPServer(("localhost", 0), http.server.SimpleHTTPRequestHandler)
        threading.Thread(target=own.serve_forever, daemon=True).start()
        urllib.request.urlopen(f"http://localhost:{own.server_port}/").read()
        """
TOKEN = "hf_a_token_of_this_very_test"
HUNG = VOICE.replace('self.greeting = "hello"', "time.sleep(60)")


@pytest.fixture
def hub(tmp_path: Path) -> Path:
    """A folder of org/name/files."""
    (tmp_path / "hub/org/w").mkdir(parents=True)
    (tmp_path / "hub/org/w/word.txt").write_text("heavy")
    (tmp_path / "hub/org/w/model.bin").write_bytes(os.urandom(2_000_000))
    return tmp_path / "hub"


def rehearsed(app: Path, *options: str) -> Any:  # noqa: ANN401 - plain JSON
    ended = coldstart("rehearse", str(app), *options, "--target", "runpod", "--json")
    assert ended.code == 0, ended.err
    return ended.data


def tier(told: Any) -> str:  # noqa: ANN401 - plain JSON
    """Where the weight came from."""
    spans = json.loads(Path(told["trace"]).read_text())["spans"]
    return str(next(span["tier"] for span in spans if span["name"] == "fetch:w"))


def refused(app: Path, *options: str) -> dict[str, str]:
    ended = coldstart("rehearse", str(app), "--target", "runpod", *options)
    assert ended.code in {2, 8}, ended.err
    return ended.problems[0]


def test_the_bundle_answers_under_runpods_own_worker(tmp_path: Path) -> None:
    app = a_project(tmp_path / "project", VOICE)

    told = rehearsed(app)

    assert (told["job"], told["worker"], told["ended"]) == ("COMPLETED", "ready", "in order")
    assert told["ready_s"] > 0
    assert told["heartbeats"] > 0
    assert told["billed_starting_s"] == told["ready_s"]
    up_s = told["billed_starting_s"] + told["billed_answering_s"]
    assert up_s == pytest.approx(max(told["first_answer_s"], told["ready_s"]), abs=0.002)
    trace = json.loads(Path(told["trace"]).read_text())
    assert trace["anchors"]["request_s"] < trace["anchors"]["ready_s"] < trace["anchors"]["first_byte_s"]


def test_quiet_is_the_result_alone_and_a_secret_that_is_not_set_is_named(tmp_path: Path) -> None:
    secret = VOICE.replace('(name="voice")', '(name="voice", secrets=["VOICE_TOKEN"])')
    app = str(a_project(tmp_path / "project", secret))

    ended = coldstart("rehearse", app, "count", "-i", "upto=2", "--target", "runpod", "--quiet")

    assert (ended.code, ended.err) == (0, "")
    shown = dict(line.split(maxsplit=1) for line in ended.out.splitlines())
    assert shown["result"] == '[{"n": 0}, {"n": 1}]'
    assert shown["secrets"] == "not set here: VOICE_TOKEN"


def test_where_every_endpoint_needs_a_file_it_says_that_nothing_else_was_asked(tmp_path: Path) -> None:
    needs = """
    @warm_model(name="voice", gpu=["L4"])
    class Voice:
        @endpoint
        def echo(self, ref: Audio) -> Audio: return ref
    """
    (tmp_path / "a.wav").write_bytes(b"RIFF")
    app = a_project(tmp_path / "project", needs)

    told = rehearsed(app)
    given = rehearsed(app, "echo", "-i", f"ref=@{tmp_path / 'a.wav'}")

    assert told["result"]["state"] == "ready"
    assert "-i NAME=@FILE" in told["asked"]
    assert "runs on the CPU" in told["notes"][0]
    assert ("asked" in given, given["job"]) == (False, "COMPLETED")


def test_later_requests_find_a_warm_worker(tmp_path: Path) -> None:
    told = rehearsed(a_project(tmp_path / "project", VOICE), "speak", "-i", "text=you", "--requests", "3")

    assert told["result"] == "hello you"
    assert told["results"] == ["hello you"] * 3
    assert len(json.loads(Path(told["trace"]).read_text())["requests"]) >= 3


def test_a_refused_result_is_sent_again(tmp_path: Path) -> None:
    assert rehearsed(a_project(tmp_path / "project", VOICE), "--fault", "refused")["job"] == "COMPLETED"


def test_a_worker_that_is_ended_in_its_start_ends_in_order(tmp_path: Path) -> None:
    told = rehearsed(a_project(tmp_path / "project", HUNG), "--fault", "terminated")

    assert (told["job"], told["ended"]) == ("FAILED", "in order"), told
    assert "trace" not in told


def test_a_caller_that_gives_up_in_the_start_is_told_apart(tmp_path: Path) -> None:
    told = rehearsed(a_project(tmp_path / "project", HUNG), "--fault", "cancelled")

    assert told["job"] == "CANCELLED", told


def test_a_worker_that_does_not_end_in_time_is_killed(tmp_path: Path) -> None:
    deaf = VOICE.replace("return f", "time.sleep(60); return f")
    app = a_project(tmp_path / "project", deaf)

    ended = coldstart(
        *("rehearse", str(app), "--target", "runpod", "--json", "--set", "limit=8", "--set", "grace=1")
    )

    assert (ended.code, ended.data["job"]) == (6, "IN_PROGRESS"), ended
    assert ended.data["ended"] == "killed after 1 s"


def test_weights_come_from_a_hub_on_loopback_at_a_chosen_speed(tmp_path: Path, hub: Path) -> None:
    app = a_project(tmp_path / "project", WEIGHED)

    told = rehearsed(app, "--hub", str(hub), "--net", "100Mbit")
    cold_tier = tier(told)
    warm = rehearsed(app, "--hub", str(hub), "--net", "100Mbit", "--state", "warm")

    assert (told["result"], cold_tier) == ("heavy", "origin")
    assert (warm["result"], tier(warm)) == ("heavy", "disk")


class Asked(NamedTuple):
    """A rehearsal over a link, with the hub in HF_ENDPOINT."""

    told: Any
    came: Mapping[str, int]
    text: str


def over_a_link(app: Path, hub: Path, *options: str) -> Asked:
    with Hub(hub, token=TOKEN, gated=["org/w"]) as running:
        env = {"HF_ENDPOINT": running.endpoint, "HF_TOKEN": TOKEN}
        ended = coldstart("rehearse", str(app), "--target", "runpod", "--json", *options, env=env)
    assert ended.code == 0, ended.err
    return Asked(told=ended.data, came=ended.data["over_net_bytes"], text=ended.out + ended.err)


def test_a_hub_that_is_not_ours_is_asked_over_the_link_and_nothing_of_this_machine_is(
    tmp_path: Path, hub: Path
) -> None:
    app = a_project(tmp_path / "project", WEIGHED.replace("self.word =", f"{ASKS_ITSELF}self.word ="))

    asked = over_a_link(app, hub, "--net", "40Mbit")

    told, came = asked.told, asked.came
    steps = {span["name"]: span for span in json.loads(Path(told["trace"]).read_text())["spans"]}
    fetch = steps["fetch:w"]
    assert (told["job"], told["result"], tier(told)) == ("COMPLETED", "heavy", "origin")
    assert told["heartbeats"] > 0
    assert came.keys() == {"127.0.0.1", "127.0.0.2"}  # the hub, and its CDN
    assert sum(came.values()) > 2_000_000
    assert fetch["end_s"] - fetch["start_s"] > 0.8 * 2_000_000 / 5e6
    assert TOKEN not in asked.text


def test_what_an_earlier_worker_fetched_did_not_come_over_the_link(tmp_path: Path, hub: Path) -> None:
    app = a_project(tmp_path / "project", WEIGHED)

    asked = over_a_link(app, hub, "--net", "40Mbit", "--state", "warm")

    assert (asked.told["result"], tier(asked.told)) == ("heavy", "disk")
    assert sum(asked.came.values()) < 1_000_000


def test_a_worker_behind_the_load_balancer_asks_over_the_link_too(tmp_path: Path, hub: Path) -> None:
    http = '(name="voice", overrides={"runpod": {"mode": "http"}},'
    app = a_project(tmp_path / "project", WEIGHED.replace('(name="voice",', http))

    asked = over_a_link(app, hub, "--net", "1Gbit")

    assert (asked.told["worker"], asked.told["result"]) == ("ready", "heavy")
    assert sum(asked.came.values()) > 2_000_000


def test_an_earlier_workers_volume_is_all_that_the_next_one_finds(tmp_path: Path, hub: Path) -> None:
    volume = '(name="voice", place="volume", volume=Volume("models", region="EU-RO-1"),'
    app = a_project(tmp_path / "project", WEIGHED.replace('(name="voice",', volume))

    empty_tier = tier(rehearsed(app, "--hub", str(hub)))
    told = rehearsed(app, "--hub", str(hub), "--state", "volume")

    assert empty_tier == "origin"
    assert (told["result"], tier(told)) == ("heavy", "volume")


def test_a_store_that_an_earlier_worker_filled_is_read_on_an_empty_disk(tmp_path: Path, hub: Path) -> None:
    app = a_project(tmp_path / "project", WEIGHED)

    told = rehearsed(app, "--hub", str(hub), "--state", "store", "--store", str(tmp_path / "store"))

    assert (told["result"], tier(told)) == ("heavy", "store")


@pytest.mark.parametrize(
    ("option", "fix"),
    [
        (("--state", "volume"), "volume=Volume"),
        (("--state", "store"), "--store"),
        (("--state", "baked"), 'place="image"'),
        (("--disk", "fast"), "1Gbit"),
        (("--set", "python=other", "--image", "voice"), "outside of an image"),
        (("--image", "localhost/not/there"), "buildah images"),
        (("--fault", "flood"), "terminated"),
        (("--hub", "nowhere"), "org/name/files"),
        (("--set", "speed=1"), "It takes"),
        (("--state", "empty", "--set", "state=warm"), "--set"),
        (("speek",), "speak"),
        (("-i", "texd=hi"), "text"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_what_cannot_be_rehearsed_is_refused_with_its_mend(
    tmp_path: Path, option: tuple[str, ...], fix: str
) -> None:
    problem = refused(a_project(tmp_path / "project", VOICE), *option)

    assert fix in problem["error"] + problem["fix"], problem


def test_a_request_that_runpod_would_not_carry_is_refused(tmp_path: Path) -> None:
    (tmp_path / "large.wav").write_bytes(bytes(8_000_000))  # a third more as base64
    ref = ("echo", "-i", f"ref=@{tmp_path / 'large.wav'}")

    problem = refused(a_project(tmp_path / "project", VOICE), *ref)

    assert "10.7 MB, and RunPod carries at most 10 MB" in problem["error"]
    assert "URL" in problem["fix"]


def test_a_flag_that_a_target_does_not_know_is_refused_by_its_name(tmp_path: Path) -> None:
    ended = coldstart(
        "rehearse", str(a_project(tmp_path / "project", VOICE)), "--target", "modal", "--disk", "1GB/s"
    )

    assert ended.code == 2
    assert "'disk'" in ended.problems[0]["error"]


def test_a_disk_of_a_chosen_speed_needs_bindfs(tmp_path: Path) -> None:
    bare = {"PATH": str(tmp_path)}
    ended = coldstart(
        *("rehearse", str(a_project(tmp_path / "project", VOICE)), "--target", "runpod", "--disk", "1GB/s"),
        env=bare,
    )

    assert ended.code == 8
    assert "apt install bindfs" in ended.problems[0]["fix"]


@pytest.mark.skipif(bool(os.geteuid()), reason="could not import 'root': somebody else cannot be tried out")
def test_a_disk_in_an_images_root_needs_root() -> None:
    program = """
import os
from coldstart_sdk.rehearsal.runpod.wish import read
from tests.loopback.test_runpod_rehearsal import PLANNED
os.setuid(65534)
read({"image": "voice", "disk": "1GB/s"}, PLANNED)
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)

    assert b"disk with image needs root" in ended.stderr


@WITH_BINDFS
def test_a_worker_on_a_slow_disk_reads_and_maps_its_files_at_that_speed(tmp_path: Path, hub: Path) -> None:
    mapped = WEIGHED.replace(
        "self.word =", "self.read = read(weights['w'].path / 'model.bin')\n        self.word ="
    )
    (hub / "org/w/model.bin").write_bytes(os.urandom(20_000_000))
    app = a_project(tmp_path / "project", f"{MAPPED}{mapped}")
    volume = '(name="voice", place="volume", volume=Volume("models", region="EU-RO-1"),'
    app.write_text(app.read_text().replace('(name="voice",', volume))

    told = rehearsed(app, "--hub", str(hub), "--state", "volume", "--disk", "10MB/s")

    assert (told["result"], tier(told)) == ("heavy", "volume")
    steps = {span["name"]: span for span in json.loads(Path(told["trace"]).read_text())["spans"]}
    load = steps["load:load"]
    assert load["end_s"] - load["start_s"] > 1.0  # 20 MB at 10 MB/s, less what is read ahead


def test_what_is_baked_is_there_before_the_worker_starts(tmp_path: Path, hub: Path) -> None:
    baked = WEIGHED.replace('(name="voice",', '(name="voice", place="image",')
    app = a_project(tmp_path / "project", baked)

    told = rehearsed(app, "--hub", str(hub))

    assert (told["job"], told["result"]) == ("COMPLETED", "heavy")
    assert tier(told) in {"image", "disk"}


def test_a_budget_is_held_over_what_is_baked(tmp_path: Path, hub: Path) -> None:
    app = a_project(tmp_path / "project", WEIGHED.replace('(name="voice",', '(name="voice", place="image",'))

    ended = coldstart(
        *("check", str(app), "--budget", "ready=600s", "--target", "runpod", "--set", f"hub={hub}", "--json")
    )

    assert ended.code == 0, ended.err


def test_a_start_that_fails_is_told_with_its_reason(tmp_path: Path) -> None:
    broken = VOICE.replace('self.greeting = "hello"', 'raise RuntimeError("no model")')

    app = str(a_project(tmp_path / "project", broken))
    ended = coldstart("rehearse", app, "--target", "runpod", "--json")

    assert ended.code == 6
    assert (ended.data["job"], ended.data["ended"]) == ("FAILED", "in order")
    assert "no model" in ended.data["error"]
    assert ended.data["fix"]
    assert 'raise RuntimeError("no model")' in ended.err  # "the log above", of which the mend speaks


def test_a_request_that_fails_is_told_with_its_traceback_and_no_secret(tmp_path: Path) -> None:
    spec = '(name="voice", secrets=["A_TOKEN"])'
    broken = VOICE.replace('(name="voice")', spec).replace(
        'return f"{self.greeting} {text}" * times', 'raise RuntimeError(__import__("os").environ["A_TOKEN"])'
    )

    app = str(a_project(tmp_path / "project", broken))
    ended = coldstart(
        "rehearse", app, "speak", "-i", "text=you", "--target", "runpod", env={"A_TOKEN": TOKEN}
    )

    assert ended.code == 6
    assert 'raise RuntimeError(__import__("os")' in ended.err
    assert TOKEN not in ended.err + ended.out


BALANCED = VOICE.replace('(name="voice")', '(name="voice", overrides={"runpod": {"mode": "http"}})')


def test_an_endpoint_behind_the_load_balancer_is_rehearsed_over_http(tmp_path: Path) -> None:
    app = a_project(tmp_path / "project", BALANCED)

    told = rehearsed(app, "speak", "-i", "text=you", "--requests", "2")
    stream = rehearsed(app, "count", "-i", "upto=2")

    assert (told["worker"], told["results"], told["ended"]) == ("ready", ["hello you"] * 2, "in order")
    assert json.loads(Path(told["trace"]).read_text())["anchors"]["request_s"] < told["ready_s"]
    assert stream["result"] == [{"n": 0}, {"n": 1}]


def test_behind_the_load_balancer_too_a_failure_is_told_with_its_reason(tmp_path: Path) -> None:
    broken = BALANCED.replace('self.greeting = "hello"', 'raise RuntimeError("no model")')
    app = str(a_project(tmp_path / "project", broken))

    ended = coldstart("rehearse", app, "--target", "runpod", "--json")
    faulty = refused(a_project(tmp_path / "queue", BALANCED), "--fault", "refused")
    terminated = rehearsed(a_project(tmp_path / "ended", BALANCED), "--fault", "terminated")

    assert (ended.code, ended.data["answers"]) == (6, 0)
    assert "no model" in ended.data["error"]
    assert 'raise RuntimeError("no model")' in ended.err
    assert "has none" in faulty["error"]
    assert (terminated["answers"], terminated["ended"]) == (0, "in order")


def test_a_model_for_a_gpu_is_rehearsed_where_there_is_none(tmp_path: Path) -> None:
    carded = VOICE.replace('(name="voice")', '(name="voice", gpu=["L4"])')

    told = rehearsed(a_project(tmp_path / "project", carded), "speak", "-i", "text=you")

    assert told["result"] == "hello you"
    assert told["price"] == "$0.00019 a second of NVIDIA L4, as listed on 2026-08-20"
    assert told["usd_if_starting_is_billed"] > told["usd_if_it_is_not"] >= 60 * 0.00019


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"state": "full"}, "state"),
        ({"fault": "flood"}, "fault"),
        ({"net": "fast", "hub": "."}, "net"),
        ({"net": "fast"}, "net"),
        ({"disk": "0MB/s"}, "disk"),
        ({"input": "{"}, "input"),
        ({"limit": "-1"}, "limit"),
        ({"requests": "0"}, "requests"),
    ],
    ids=lambda value: str(value) if isinstance(value, str) else "",
)
def test_an_option_that_means_nothing_is_refused_by_name(options: dict[str, str], word: str) -> None:
    with pytest.raises(UsageError, match=word):
        read(options, PLANNED)


def test_a_folder_that_is_no_hub_is_refused_before_anything_starts(hub: Path) -> None:
    assert read({"hub": str(hub)}, PLANNED).hub == str(hub)
    for folder, why in ((hub / "nowhere", "is no folder"), (hub / "org", "is no org/name/file")):
        with pytest.raises(UsageError, match=why):
            read({"hub": str(folder)}, PLANNED)


@pytest.mark.parametrize(
    ("text", "bytes_s"), [("1Gbit", 125e6), ("300 Mbit", 37.5e6), ("100MB/s", 100e6), ("8kbit", 1000.0)]
)
def test_speeds_are_read_as_people_write_them(text: str, bytes_s: float) -> None:
    assert read({"net": text}, PLANNED).net_bytes_s == bytes_s
