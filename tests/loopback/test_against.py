"""`coldstart bench FILE --against OTHER`: both over one link, from an empty machine and from a second one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.commands import HEAD, Said, coldstart

pytest.importorskip("huggingface_hub")

NOW = """
@warm_model(name="voice", weights={"w": Weights.hf("org/voice")}, place=PLACE)
class Voice:
    @hook.load
    def load(self, weights):
        self.word = (weights["w"].path / "word.txt").read_text()

    @endpoint
    def speak(self, text: str) -> str:
        return f"{self.word} {text}"
"""
BEFORE = """
@warm_model(name="voice-before")
class Voice:
    @hook.load
    def load(self):
        from huggingface_hub import snapshot_download
        from pathlib import Path
        self.word = Path(snapshot_download("org/voice"), "word.txt").read_text()

    @endpoint
    def speak(self, text: str) -> str:
        return f"{self.word} {text}"
"""
WEIGHTS = """
import sys
from pathlib import Path
from coldstart_sdk.rehearsal.padding import pad

repo = Path(sys.argv[1], "org", "voice")
repo.mkdir(parents=True)
(repo / "word.txt").write_text("hello")
pad(Path(sys.argv[1]), repo, total_bytes=int(sys.argv[2]))
"""
SETTING = "hub_mb_s = 20\nstore_mb_s = 200\nweights_mb = 3\n[real_mb]\nvoice = 300\n"


def a_pair(
    folder: Path, *, place: str = "None", setting: str | None = SETTING, weights: str = WEIGHTS
) -> Path:
    """A declaration, where its author began beside it, weights, and above both the setting."""
    project = folder / "voice"
    (project / "before").mkdir(parents=True)
    (project / "app.py").write_text(HEAD + NOW.replace("PLACE", place))
    (project / "before" / "app.py").write_text(HEAD + BEFORE)
    if weights:
        (project / "weights.py").write_text(weights)
    if setting is not None:
        (folder / "bench.toml").write_text(setting)
    return project


def compared(project: Path, *options: str) -> Said:
    return coldstart(
        *("bench", str(project), "--against", "before", "--cold", "1", "--warm", "1", "-i", "text=you"),
        *options,
    )


def test_two_waterfalls_stand_one_above_the_other_and_the_ratio_below(tmp_path: Path) -> None:
    said = compared(a_pair(tmp_path))

    assert said.code == 0, said.err
    heads = [line for line in said.out.splitlines() if line in {"empty, before", "empty, now"}]
    assert heads == ["empty, before", "empty, now"]
    assert said.out.index("second, before") < said.out.index("second, now")
    assert "3.00 MB" in said.out
    second = said.out[said.out.index("second, now") :]
    (fetch,) = [line for line in second.splitlines() if line.lstrip("▸ ").startswith("fetch:w")]
    assert " store" in fetch
    (line,) = [line for line in second.splitlines() if line.startswith("second  first answer")]
    assert line.endswith(" x")
    assert "calculated for 300 MB" in second


def test_every_figure_is_in_the_json(tmp_path: Path) -> None:
    said = compared(a_pair(tmp_path), "--json", "--state", "same")

    assert said.code == 0, said.err
    assert said.data["setting"]["hub_bytes_s"] == 20e6
    assert {figure["figure"] for figure in said.data["figures"]} >= {"first answer", "ready", "first request"}
    assert {figure["state"] for figure in said.data["figures"]} == {"same"}
    assert said.data["at_real_size"] is None  # of a second worker alone


def test_what_is_baked_lies_on_the_second_workers_disk(tmp_path: Path) -> None:
    said = compared(a_pair(tmp_path, place='"image"'), "--state", "second")

    assert said.code == 0, said.err
    now = said.out[said.out.index("second, now") :]
    (fetch,) = [line for line in now.splitlines() if "fetch:w" in line and "MB/s" in line]
    assert "MB/s disk" in fetch


@pytest.mark.parametrize(
    ("fault", "message", "fix"),
    [
        ({"setting": None}, "there is no bench.toml", "hub_mb_s = 30"),
        ({"setting": "hub_mb_s = 20\n"}, "bench.toml cannot be read", "weights_mb"),
        ({"setting": SETTING.replace("20\n", '"fast"\n', 1)}, "is no number above 0", "numbers above 0"),
        ({"weights": ""}, "there is no weights.py", "python weights.py FOLDER BYTES"),
        (
            {"weights": "raise SystemExit('no numpy here')"},
            "weights.py failed: no numpy here",
            "Run it alone",
        ),
    ],
    ids=["no setting", "half a setting", "no number", "no weights.py", "weights.py fails"],
)
def test_what_is_missing_is_named_with_its_mend(
    tmp_path: Path, fault: dict[str, str | None], message: str, fix: str
) -> None:
    said = compared(a_pair(tmp_path, **fault))  # type: ignore[arg-type] # each a text or none

    assert said.code == 2
    assert message in said.problems[0]["error"]
    assert fix in said.problems[0]["fix"]


def test_a_comparison_asks_something(tmp_path: Path) -> None:
    said = coldstart("bench", str(a_pair(tmp_path)), "--against", "before")

    assert said.code == 2
    assert "nothing is asked" in said.problems[0]["error"]
