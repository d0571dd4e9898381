"""`explain`, `trace` and `bench` as a user types them, over starts that really happen."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.commands import Said, a_project, coldstart

SLOW = """
@warm_model(name="slow")
class Slow:
    @hook.load
    def load(self):
        time.sleep(0.1)

    @hook.warmup
    def warm(self):
        for n in (1, 2, 3):
            self.speak("a" * n)

    @endpoint
    def speak(self, text: str) -> str:
        time.sleep(0.8 if text.startswith("a") else 0.02)
        return text
"""
"""Its warm-up is what READY waits for on a busy machine too, where imports beside it take a second."""


class Place:
    """A project and a home of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.app = a_project(folder / "project", SLOW)

    def says(self, *arguments: str) -> Said:
        return coldstart(*arguments, cwd=self.folder, env={"COLDSTART_HOME": str(self.folder / "home")})

    def start(self, name: str) -> str:
        path = str(self.folder / name)
        ended = self.says("run", str(self.app), "-i", "text=hi", "--trace", path, "--quiet")
        assert ended.code == 0, ended.err
        return path


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_a_fresh_start_is_explained_with_the_change_to_make(place: Place) -> None:
    said = place.says("explain", str(place.app), "-i", "text=hi")

    assert said.code == 0, said.err
    assert " to ready; " in said.out
    assert "READY waited for 3 warm-up calls" in said.out
    assert "speak(text=2)" in said.out
    assert "move the others to a @hook.background" in " ".join(said.out.split())


def test_an_explanation_is_one_object_whose_savings_add_up(place: Place) -> None:
    told = place.says("explain", str(place.app), "--json").data

    rules = [one["finding"]["rule"] for one in told["advice"]]
    assert "warmup-too-big" in rules
    assert told["avoidable_s"] == pytest.approx(sum(one["saves_s"] for one in told["advice"]))


def test_a_kept_start_is_explained_otherwise(place: Place) -> None:
    trace = place.start("a.json")

    told = place.says("explain", trace, "--without", "warmup", "--json").data

    assert told["otherwise"]["ready_s"] < told["ready_s"]
    assert told["otherwise"]["suppositions"] == ["without warmup:warm"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("explain", "nothing.json"), "cannot be read"),
        (("explain",), "no start has been traced"),
        (("explain", "--net", "fast"), "is not a speed"),
        (("trace", "diff", "a.json"), "takes 2 traces"),
        (("explain", "a.json", "-i", "text=hi"), "a trace is of a start that is over"),
        (("trace", "show"), "no start has been traced"),
        (("trace", "receipt", "--budget", "redy=1s"), "no start has been traced"),
        (("bench", "project/app.py", "--state", "restore"), "no snapshot to restore"),
        (("bench", "project/app.py", "--state", "second"), "needs a store"),
    ],
)
def test_what_cannot_be_done_is_said_with_its_mend(
    place: Place, arguments: tuple[str, ...], said: str
) -> None:
    ended = place.says(*arguments)

    assert ended.code == 2
    assert said in ended.problems[0]["error"]
    assert ended.problems[0]["fix"]


def test_a_start_is_shown_listed_compared_and_exported(place: Place) -> None:
    before, after = place.start("before.json"), place.start("after.json")

    assert "load:load" in place.says("trace", "show", before).out
    assert " to ready, " in place.says("trace", "diff", before, after).out
    assert "**Cold start: " in place.says("trace", "diff", before, after, "--markdown").out
    for name, begins in (
        ("p.html", b"<!doctype html>"),
        ("p.svg", b"<svg"),
        ("p.png", b"\x89PNG"),
        ("p.chrome.json", b"{"),
        ("p.otlp.json", b"{"),
    ):
        assert place.says("trace", "export", before, "-o", name).code == 0
        assert (place.folder / name).read_bytes().startswith(begins)


def test_pixels_without_pillow_are_refused_before_a_start(place: Place) -> None:
    (place.folder / "sitecustomize.py").write_text("import sys\nsys.modules['PIL'] = None\n")
    env = {"PYTHONPATH": f"{place.folder}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}

    said = coldstart("run", str(place.app), "-i", "text=hi", "--trace", str(place.folder / "s.png"), env=env)

    assert said.code == 2
    assert 'pip install "coldstart-sdk[png]"' in said.problems[0]["fix"]
    assert "load:load" not in said.err


def test_runs_are_kept_and_listed_the_newest_first(place: Place) -> None:
    for _ in range(2):
        assert place.says("run", str(place.app), "-i", "text=hi", "--quiet").code == 0

    listed = place.says("trace", "list", "--json").data

    assert [one["name"] for one in listed] == ["slow", "slow"]
    assert listed[0]["at"] > listed[1]["at"]


def test_a_trace_that_cannot_be_read_hides_no_other_from_the_list(place: Place) -> None:
    assert place.says("run", str(place.app), "-i", "text=hi", "--quiet").code == 0
    (kept,) = (place.folder / "home/traces").glob("*.trace.json")
    (kept.parent / "cut.trace.json").write_text(kept.read_text()[:500])
    (kept.parent / "later.trace.json").write_text(kept.read_text().replace('"format": 1', '"format": 9'))

    listed = place.says("trace", "list", "--json")

    assert [Path(one["trace"]).name for one in listed.data] == [kept.name]
    assert listed.err.count("left out") == 2


def test_a_trace_of_before_the_plan_was_kept_in_it_is_read(place: Place) -> None:
    trace = Path(place.start("a.json"))
    data = json.loads(trace.read_text())
    del data["declared"]
    trace.write_text(json.dumps(data))

    assert place.says("explain", str(trace)).code == 0


def test_a_limit_that_nobody_saw_is_told_with_where_to_see_it(place: Place) -> None:
    said = place.says("check", place.start("a.json"), "--budget", "first=1.1x")

    assert said.code == 9
    assert said.out.startswith("unseen  first was not seen")
    assert "sends ten requests" in said.problems[0]["fix"]


def test_a_receipt_says_whether_the_budget_was_kept_by_its_exit_code(place: Place) -> None:
    trace = place.start("a.json")

    kept = place.says("trace", "receipt", trace, "--budget", "ready=100s,load:load=90s")
    over = place.says("trace", "receipt", trace, "--budget", "ready=10ms", "-o", "receipt.json")

    assert kept.code == 0, kept.err
    assert json.loads(kept.out)["digest"].startswith("sha256:")
    assert over.code == 9
    assert "the budget is 10 ms" in over.problems[0]["error"]
    assert json.loads((place.folder / "receipt.json").read_text())["verdicts"][0]["was"] > 0.01


def test_a_bench_measures_each_state_with_and_without_a_step(place: Place) -> None:
    ended = place.says(
        "bench",
        str(place.app),
        *("-i", "text=hi", "--cold", "1", "--warm", "2", "--state", "empty", "--state", "same"),
        *("--without", "warmup", "--plot", "b.svg", "--json"),
    )

    assert ended.code == 0, ended.err
    lines = {(line["state"], line["variant"]): line for line in ended.data["lines"]}
    assert set(lines) == {(s, v) for s in ("empty", "same") for v in ("as declared", "without warmup")}
    whole = lines["same", "as declared"]
    assert len(whole["ready_s"]["points"]) == 1
    assert len(whole["warm_s"]["points"]) == 2
    assert (place.folder / "b.svg").read_text().startswith("<svg")


SHAPES = """
@warm_model(name="shapes")
class Shapes:
    @hook.load
    def load(self):
        self.seen = set()

    @hook.warmup
    def warm(self):
        self.speak("a")

    def slow_once(self, key):
        time.sleep(0.01 if key in self.seen else 0.3)
        self.seen.add(key)

    @endpoint(default=True)
    def speak(self, text: str) -> str:
        self.slow_once(len(text))
        return text

    @endpoint
    async def describe(self, n: int) -> str:
        self.slow_once(("describe", n))
        return "x" * n
"""


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return a_project(tmp_path_factory.mktemp("shapes") / "project", SHAPES)


def test_a_bench_tells_the_first_call_of_each_endpoint_and_shape(shapes: Path, tmp_path: Path) -> None:
    ended = coldstart(
        *("bench", str(shapes), "-i", "text=longer", "--cold", "1", "--warm", "2", "--json"),
        *("--also", "text=b", "--also", "describe n=7", "--plot", "b.svg"),
        cwd=tmp_path,
        env={"COLDSTART_HOME": str(tmp_path / "home")},
    )

    assert ended.code == 0, ended.err
    found = {line["shape"]: line for line in ended.data["shapes"]}
    assert set(found) == {"speak(text=6)", "speak(text=1)", "describe(n=7)"}
    assert found["speak(text=6)"]["penalty"]["median"] > 3 > found["speak(text=1)"]["penalty"]["median"]
    assert found["describe(n=7)"]["first_s"]["median"] > 0.3
    assert len(found["describe(n=7)"]["warm_s"]["points"]) == 2
    assert found["speak(text=1)"]["hook"] == "warmup:warm"
    assert found["speak(text=1)"]["hooked_s"]["median"] > 0.3
    assert found["speak(text=6)"]["hook"] is None
    assert ended.data["lines"][0]["penalty"]["median"] > 3
    assert "describe(n=7)" in (tmp_path / "b.svg").read_text()


def test_the_table_of_shapes_names_what_a_hook_warmed_up(shapes: Path, tmp_path: Path) -> None:
    ended = coldstart(
        *("bench", str(shapes), "--cold", "1", "--warm", "1"), env={"COLDSTART_HOME": str(tmp_path / "home")}
    )

    assert ended.code == 0, ended.err
    head, row = ended.out.splitlines()[-2:]
    assert head.split("  ")[0] == "endpoint and shape"
    assert row.startswith("speak(text=1)")
    assert row.endswith("warmup:warm")


@pytest.mark.parametrize(
    ("said", "error"),
    [
        (("-i", "text=a", "--also", "text='a"), "--also cannot be read"),
        (("-i", "text=a", "--also", "sing text=a"), "has no endpoint 'sing'"),
        (("-i", "text=a", "--also", "describe"), "the argument n is missing"),
        (("--also", "text=a"), "--also comes after a first request"),
        (("-i", "text=a", "--also", "text=ab", "--target", "runpod"), "--also is for starts here"),
        (("-i", "text=a", "--also", "text=ab", "--against", "before"), "compares two starts here"),
    ],
)
def test_another_request_that_cannot_be_sent_is_told_before_a_start(
    said: tuple[str, ...], error: str, shapes: Path, tmp_path: Path
) -> None:
    ended = coldstart("bench", str(shapes), *said, env={"COLDSTART_HOME": str(tmp_path / "home")})

    assert ended.code == 2, ended.err
    assert error in ended.problems[0]["error"]
    assert ended.problems[0]["fix"]


def test_a_bench_of_audio_tells_its_real_time_factor(tmp_path: Path) -> None:
    app = a_project(
        tmp_path,
        """
        @warm_model(name="tone")
        class Tone:
            @endpoint
            def tone(self) -> Audio:
                return Audio.silence("2s")
        """,
    )

    ended = coldstart(
        "bench", str(app), "--cold", "1", "--warm", "1", "--json", env={"COLDSTART_HOME": str(tmp_path / "h")}
    )

    assert ended.code == 0, ended.err
    assert ended.data["lines"][0]["real_time"]["median"] > 0


def test_a_start_that_was_asked_for_knows_when(place: Place) -> None:
    trace = json.loads(Path(place.start("a.json")).read_text())

    anchors = trace["anchors"]
    assert anchors["request_s"] < anchors["ready_s"] < anchors["first_byte_s"]
    assert abs(anchors["request_s"]) < abs(anchors["ready_s"])
    assert place.says("check", "a.json", "--budget", "ttfb=100s").code == 0


def test_a_start_whose_trace_cannot_be_kept_is_explained_all_the_same(place: Place) -> None:
    (place.folder / "home").mkdir()
    (place.folder / "home/traces").write_text("in the way")

    said = place.says("explain", str(place.app), "-i", "text=hi", "--json")

    assert said.code == 0, said.err
    assert said.data["trace"] is None
    assert said.data["ready_s"] > 0
    assert "warning: the trace was not written" in said.err
