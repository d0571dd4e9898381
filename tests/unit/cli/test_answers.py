"""What `rehearse` shows of an answer: readable, whatever the answer is."""

from __future__ import annotations

import base64
import wave
from pathlib import Path

from coldstart_sdk import Audio
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


def a_chunk(seconds: float) -> dict[str, str]:
    sound = Audio.silence(f"{seconds}s").bytes
    return {"base64": base64.b64encode(sound).decode(), "type": "audio/wav"}


def test_a_stream_of_sound_is_one_sound(tmp_path: Path) -> None:
    shown = dict(rows({"result": [a_chunk(0.5), a_chunk(0.25)]}, tmp_path / "rehearsal"))

    with wave.open(str(tmp_path / "rehearsal/result.wav")) as sound:
        assert sound.getnframes() / sound.getframerate() == 0.75
    assert shown["result"].startswith(f"{tmp_path}/rehearsal/result.wav (audio/wav, ")
    assert shown["result"].endswith(", 2 chunks)")


def test_of_other_media_in_a_stream_each_is_a_file(tmp_path: Path) -> None:
    picture = {"base64": base64.b64encode(b"a picture").decode(), "type": "image/png"}

    shown = dict(rows({"result": [a_chunk(0.5), picture]}, tmp_path))

    assert sorted(path.name for path in tmp_path.iterdir()) == ["result-1.wav", "result-2.png"]
    assert f"{tmp_path}/result-2.png (image/png, 9 B)" in shown["result"]


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
