"""What `rehearse` shows of an answer: readable, whatever the answer is."""

from __future__ import annotations

import base64
from pathlib import Path

from coldstart_sdk.cli.answers import rows

SOUND = {"base64": base64.b64encode(b"RIFF-sound").decode(), "type": "audio/wav"}


def test_a_medium_goes_into_a_file_whose_path_is_shown(tmp_path: Path) -> None:
    shown = dict(rows({"result": SOUND}, tmp_path / "rehearsal"))

    assert shown["result"] == f"{tmp_path}/rehearsal/result.wav (audio/wav, 10 B)"
    assert (tmp_path / "rehearsal/result.wav").read_bytes() == b"RIFF-sound"


def test_each_of_several_results_has_a_row_and_a_file(tmp_path: Path) -> None:
    shown = dict(rows({"results": [SOUND, SOUND]}, tmp_path))

    assert list(shown) == ["results 1", "results 2"]
    assert (tmp_path / "results-2.wav").is_file()


def test_a_long_value_is_cut_and_says_so(tmp_path: Path) -> None:
    shown = dict(rows({"result": "a" * 5000}, tmp_path))

    assert shown["result"] == "a" * 200 + "… (5000 characters; --json has all of them)"


def test_figures_stay_as_they_are(tmp_path: Path) -> None:
    shown = dict(rows({"ready_s": 0.25, "worker": "ready"}, tmp_path))

    assert shown == {"ready_s": "0.25", "worker": "ready"}


def test_what_is_no_text_is_json(tmp_path: Path) -> None:
    shown = dict(rows({"result": [{"word": "grün", "on": True}]}, tmp_path))

    assert shown == {"result": '[{"word": "grün", "on": true}]'}


def test_each_note_has_a_line(tmp_path: Path) -> None:
    assert list(rows({"notes": ["one", "two"]}, tmp_path)) == [("notes", "one"), ("notes", "two")]
