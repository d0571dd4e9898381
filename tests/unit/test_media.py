"""Media are values: what they hold never changes, they clean up, and they say clearly what they cannot do."""

from __future__ import annotations

import copy
import gc
import io
import math
import os
import pickle
import struct
import wave
from collections.abc import Callable
from pathlib import Path

import pytest

from coldstart_sdk import media
from coldstart_sdk.errors import UsageError
from coldstart_sdk.media import Audio, File, Image, Media, Video, forms

PNG = b"\x89PNG\r\n\x1a\n" + bytes(20)


def a_wav(form: int, bits: int, frames: bytes, *, channels: int = 1, rate: int = 8000) -> bytes:
    width = channels * bits // 8
    header = struct.pack("<HHIIHH", form, channels, rate, rate * width, width, bits)
    return (
        b"RIFF\0\0\0\0WAVEfmt "
        + struct.pack("<I", len(header))
        + header
        + b"LIST\x03\0\0\0abc\0data"
        + struct.pack("<I", len(frames))
        + frames
    )


@pytest.mark.parametrize(
    ("head", "kind", "suffix"),
    [
        (b"RIFF\0\0\0\0WAVE", "audio/wav", ".wav"),
        (b"fLaC", "audio/flac", ".flac"),
        (b"OggS" + bytes(24) + b"\x01vorbis", "audio/ogg", ".ogg"),
        (b"OggS" + bytes(24) + b"\x80theora", "video/ogg", ".ogv"),
        (b"ID3\x04", "audio/mpeg", ".mp3"),
        (b"\xff\xfb\x90\x00", "audio/mpeg", ".mp3"),
        (b"\xff\xf1\x50\x80", "audio/aac", ".aac"),
        (b"\0\0\0\x20ftypM4A ", "audio/mp4", ".m4a"),
        (b"\0\0\0\x20ftypisom", "video/mp4", ".mp4"),
        (b"\x1aE\xdf\xa3" + bytes(20) + b"webm", "video/webm", ".webm"),
        (PNG, "image/png", ".png"),
        (b"\xff\xd8\xff\xe0", "image/jpeg", ".jpg"),
        (b"RIFF\0\0\0\0WEBP", "image/webp", ".webp"),
        (b"%PDF-1.7", "application/pdf", ".pdf"),
        (b"BM is how this text begins", "application/octet-stream", ".bin"),
        (b"", "application/octet-stream", ".bin"),
    ],
)
def test_a_type_and_a_suffix_are_told_from_the_first_bytes(head: bytes, kind: str, suffix: str) -> None:
    file = File.from_bytes(head)

    assert (file.type, file.suffix) == (kind, suffix)


def test_a_given_type_wins_and_has_one_spelling() -> None:
    assert Audio.from_bytes(b"x", "audio/X-WAV; rate=8000").type == "audio/wav"


def test_a_name_tells_the_type_where_the_bytes_do_not() -> None:
    assert File.from_bytes(b"a,b", name="table.csv").type == "text/csv"


@pytest.mark.parametrize("kind", ["audio", "audio/wav\r\nSet-Cookie: a=b", "a b/c", "/", "é/x"])
def test_a_type_that_could_break_a_header_is_refused(kind: str) -> None:
    with pytest.raises(UsageError, match="not a MIME type"):
        File.from_bytes(b"", kind)


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("../../etc/passwd", "passwd"),
        ("C:\\x\\a.wav", "a.wav"),
        ("a\r\nb.wav", "ab.wav"),
        ("..", None),
        ("", None),
    ],
)
def test_a_name_keeps_no_folder_and_no_control_characters(name: str, kept: str | None) -> None:
    assert File.from_bytes(b"", name=name).name == kept


def test_a_value_holds_what_its_file_held_when_it_was_made(tmp_path: Path) -> None:
    source = tmp_path / "out.png"
    source.write_bytes(PNG)
    image = Image.from_path(source)
    source.write_bytes(b"the next request's")
    source.unlink()

    assert image.bytes == PNG
    assert image.path.read_bytes() == PNG
    assert (image.name, image.type) == ("out.png", "image/png")


def test_a_large_file_is_held_on_disk_and_not_in_memory(tmp_path: Path) -> None:
    source = tmp_path / "film.mp4"
    with source.open("wb") as file:
        file.write(b"\0\0\0\x20ftypisom")
        file.truncate(media.IN_MEMORY_BYTES + 1)
    video = Video.from_path(source)
    own = video.path
    source.unlink()

    assert len(video) == own.stat().st_size == media.IN_MEMORY_BYTES + 1
    assert own != source
    assert video.type == "video/mp4"
    assert video.save(tmp_path / "copy.mp4").stat().st_size == len(video)
    video.close()
    assert not own.exists()
    with pytest.raises(UsageError, match="was closed"):
        _ = video.bytes
    assert "closed" in repr(video)


@pytest.mark.parametrize("kind", ["missing", "folder", "pipe"])
def test_only_regular_files_become_media(tmp_path: Path, kind: str) -> None:
    path = tmp_path / kind
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)

    with pytest.raises(UsageError, match="not a file"):
        File.from_path(path)


@pytest.mark.parametrize("source", ["a path", 3, None, [1, 2]])
def test_media_are_made_of_bytes_or_files_alone(source: object) -> None:
    with pytest.raises(UsageError, match="made of bytes or of a file") as caught:
        Audio.from_bytes(source)  # type: ignore[arg-type]  # what a user may do all the same

    assert "from_path" in caught.value.fix


def test_a_path_is_made_once_and_goes_with_its_value() -> None:
    audio = Audio.silence("10ms")
    path = audio.path

    assert path is not None
    assert path == audio.path
    assert path.suffix == ".wav"
    assert path.stat().st_mode & 0o077 == 0
    del audio
    gc.collect()
    assert not path.exists()


def test_a_path_that_was_moved_away_is_made_again() -> None:
    with File.from_bytes(b"x") as file:
        file.path.unlink()

        assert file.path.read_bytes() == b"x"


def test_closing_removes_the_file_and_keeps_the_bytes() -> None:
    with File.from_bytes(b"x") as file:
        path = file.path

    assert not path.exists()
    assert file.bytes == b"x"


def test_media_are_equal_when_class_and_content_are() -> None:
    assert Image.from_bytes(PNG, name="a") == Image.from_bytes(PNG, name="b")
    assert Image.from_bytes(PNG) != Image.from_bytes(PNG + b"x")
    assert Image.from_bytes(PNG) != File.from_bytes(PNG)
    assert len({Image.from_bytes(PNG), Image.from_bytes(PNG)}) == 1
    assert Image.from_bytes(PNG) != PNG


def test_media_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        Image.from_bytes(PNG).type = "x/y"  # type: ignore[misc]  # the very mistake


def test_a_repr_shows_no_content() -> None:
    shown = repr(File.from_bytes(b"my diary", "text/plain", name="diary.txt"))

    assert shown == "File(text/plain, 8 bytes, name='diary.txt')"


def test_media_travel_between_processes_and_are_not_copied_within_one() -> None:
    image = Image.from_bytes(PNG, name="a.png")
    again = pickle.loads(pickle.dumps(image))  # noqa: S301 - our own bytes

    assert (again, again.name, again.type) == (image, image.name, image.type)
    assert copy.deepcopy([image])[0] is copy.copy(image) is image


# ---- sound


@pytest.mark.parametrize(
    ("duration", "seconds"), [("1s", 1), ("250ms", 0.25), (0.5, 0.5), ("0.1", 0.1), (0, 0)]
)
def test_silence_is_as_long_as_it_was_asked_to_be(duration: str | float, seconds: float) -> None:
    assert Audio.silence(duration, rate=8000).duration_s == seconds


@pytest.mark.parametrize("duration", ["", "1h", "-1s", "nan", "1e309", -1.0, "99999999s"])
def test_what_is_no_duration_is_refused(duration: str | float) -> None:
    with pytest.raises(UsageError, match="not how long"):
        Audio.silence(duration)


@pytest.mark.parametrize("rate", [0, -1, 24000.0, True, "24000", 10**9])
def test_what_is_no_rate_is_refused(rate: object) -> None:
    with pytest.raises(UsageError, match="sample rate"):
        Audio.from_samples([0.0], rate)  # type: ignore[arg-type]  # the mistake under test


def test_samples_become_a_wav_that_others_can_read() -> None:
    audio = Audio.from_samples([0.0, 1.0, -1.0, 2.0, 0.5], 8000)

    with wave.open(io.BytesIO(audio.bytes)) as read:
        assert read.getparams()[:4] == (1, 2, 8000, 5)
        assert struct.unpack("<5h", read.readframes(5)) == (0, 32767, -32767, 32767, 16384)


def _of_numpy(values: list[list[float]], kind: str) -> object:
    numpy = pytest.importorskip("numpy")
    return numpy.asarray(values, dtype=kind)


def _of_torch(values: list[list[float]], kind: str) -> object:
    torch = pytest.importorskip("torch")
    return torch.tensor(values, dtype=getattr(torch, kind), requires_grad=True)


STEREO = [[0.0, 0.5], [0.25, -0.5], [1.0, -1.0]]


@pytest.mark.parametrize(
    "made",
    [
        lambda: STEREO,
        lambda: list(zip(*STEREO, strict=True)),
        lambda: _of_numpy(STEREO, "float64"),
        lambda: _of_numpy([list(row) for row in zip(*STEREO, strict=True)], "float16"),
        lambda: _of_torch(STEREO, "float32"),
        lambda: _of_torch(STEREO, "bfloat16"),
    ],
)
def test_two_axes_are_frames_and_channels_whichever_comes_first(made: Callable[[], object]) -> None:
    audio = Audio.from_samples(made(), 8000)

    with wave.open(io.BytesIO(audio.bytes)) as read:
        assert (read.getnchannels(), read.getnframes()) == (2, 3)
        assert struct.unpack("<6h", read.readframes(3)) == (0, 16384, 8192, -16384, 32767, -32767)


def test_integers_are_samples_as_they_stand() -> None:
    numpy = pytest.importorskip("numpy")
    frames = [0, 1, -32768, 32767]

    assert Audio.from_samples(frames, 8000) == Audio.from_samples(numpy.array(frames, dtype="int16"), 8000)
    assert Audio.from_samples(numpy.array(frames, dtype="int64"), 8000) == Audio.from_samples(frames, 8000)


@pytest.mark.parametrize(
    ("samples", "said"),
    [
        ([math.nan], "NaN"),
        ([math.inf], "NaN"),
        ([40000], "neither a float nor a 16-bit"),
        ([True], "neither a float"),
        (["a"], "neither a float"),
        ([[0.0], [0.0, 1.0]], "equally long"),
        ([[0.0], 1.0], "equally long"),
        ("text", "no row of numbers"),
        (b"\0\0", "no row of numbers"),
        (None, "no row of numbers"),
    ],
)
def test_what_is_no_sound_is_refused_in_words(samples: object, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        Audio.from_samples(samples, 8000)


@pytest.mark.parametrize(
    ("values", "kind", "said"),
    [
        ([float("nan")], "float32", "NaN"),
        ([[[0.0]]], "float32", "shape"),
        ([[0.0] * 100] * 100, "float32", "shape"),
        ([70000], "int32", "16 bits"),
        ([True], "bool", "holds no sound"),
        (["a"], "str", "holds no sound"),
    ],
)
def test_an_array_that_is_no_sound_is_refused_in_words(values: list[object], kind: str, said: str) -> None:
    numpy = pytest.importorskip("numpy")

    with pytest.raises(UsageError, match=said):
        Audio.from_samples(numpy.array(values, dtype=kind), 8000)


@pytest.mark.parametrize("made", [list, lambda: _of_numpy([], "float32")])
def test_no_samples_are_an_empty_wav(made: Callable[[], object]) -> None:
    assert Audio.from_samples(made(), 8000).duration_s == 0


@pytest.mark.parametrize(
    ("form", "bits", "frames"),
    [
        (1, 8, bytes([128, 192, 64])),
        (1, 16, struct.pack("<3h", 0, 16384, -16384)),
        (1, 24, b"\0\0\0" + b"\0\0\x40" + b"\0\0\xc0"),
        (1, 32, struct.pack("<3i", 0, 2**30, -(2**30))),
        (3, 32, struct.pack("<3f", 0, 0.5, -0.5)),
        (3, 64, struct.pack("<3d", 0, 0.5, -0.5)),
    ],
)
def test_every_uncompressed_wav_can_be_read(form: int, bits: int, frames: bytes) -> None:
    pytest.importorskip("numpy")
    samples, rate = Audio.from_bytes(a_wav(form, bits, frames)).samples()

    assert rate == 8000
    assert samples.dtype == "float32"
    assert samples.tolist() == [0, 0.5, -0.5]


def test_channels_are_the_second_axis_of_samples() -> None:
    pytest.importorskip("numpy")

    assert Audio.from_samples(STEREO, 8000).samples()[0].shape == (3, 2)


def test_a_streamed_wav_without_a_length_is_read_to_its_end() -> None:
    whole = a_wav(1, 16, bytes(20))
    streamed = whole[:-24] + b"\xff\xff\xff\xff" + whole[-20:] + b"\0"

    assert Audio.from_bytes(streamed).duration_s == 10 / 8000


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"ID3\x04", "only wav can be read here, and this is audio/mpeg"),
        (b"RIFF\0\0\0\0WAVE", "header or its samples"),
        (a_wav(1, 16, b"")[:30], "header or its samples"),
        (a_wav(2, 4, b"1234"), "compressed"),
        (a_wav(1, 16, b"1234", rate=0), "no rate"),
    ],
)
def test_sound_that_cannot_be_read_is_named(content: bytes, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        _ = Audio.from_bytes(content).duration_s


def test_a_picture_goes_through_pillow_and_back() -> None:
    pillow = pytest.importorskip("PIL.Image")
    image = Image.from_pil(pillow.new("RGB", (3, 2), "red"))

    assert image.type == "image/png"
    assert image.pil().getpixel((0, 0)) == (255, 0, 0)


def test_a_broken_picture_is_named() -> None:
    pytest.importorskip("PIL.Image")

    with pytest.raises(UsageError, match="cannot be decoded"):
        Image.from_bytes(PNG).pil()


# ---- forms


@pytest.mark.parametrize(
    "form",
    [
        {"base64": "aGVsbG8=", "type": "text/plain"},
        {"base64": "aGVs\r\nbG8=\n", "type": None},
        {"base64": "data:text/plain;base64,aGVsbG8="},
        {"url": "data:,hello"},
        "data:text/plain;charset=utf-8;base64,aGVsbG8=",
        "DATA:,hel%6co",
        File.from_bytes(b"hello"),
        Image.from_bytes(b"hello"),
    ],
)
def test_every_wire_form_of_one_content_means_the_same(form: object) -> None:
    assert forms.read(File, form) == File.from_bytes(b"hello")


@pytest.mark.parametrize(
    ("form", "said"),
    [
        ("hello", "URL was expected"),
        ("/etc/passwd", "URL was expected"),
        ("file:///etc/passwd", "URL was expected"),
        ("@a.wav", "URL was expected"),
        ("", "URL was expected"),
        ("http://example.org/a.wav", "only be fetched by a worker"),
        ("data:audio/wav;base64", "no comma"),
        ("data:;base64,???", "base64 is broken"),
        ({"base64": "aGVsbG8"}, "base64 is broken"),
        ({"base64": "aGVs*bG8="}, "base64 is broken"),
        ({"base64": "é"}, "base64 is broken"),
        ({"base64": ""}, "empty"),
        ({"base64": 1}, "base64 must be a string, not int"),
        ({"base64": None}, "base64 must be a string, not null"),
        ({"base64": "aGVsbG8=", "type": "x"}, "not a MIME type"),
        ({"base64": "aGVsbG8=", "type": "image/png"}, "Audio was expected, and this is image/png"),
        ({"base64": "aGVsbG8=", "url": "x"}, "one of base64 and url"),
        ({"type": "audio/wav"}, "one of base64 and url"),
        ({"base64": "", "path": "/etc/passwd"}, "unknown key 'path'"),
        ({}, "one of base64 and url"),
        (None, "not null"),
        (3, "not int"),
        ([1], "not list"),
        (Image.from_bytes(PNG), "Audio was expected, and this is image/png"),
    ],
)
def test_a_wrong_wire_form_is_named(form: object, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        forms.read(Audio, form)


def test_what_is_written_can_be_read() -> None:
    for value in (Audio.silence("1ms"), Image.from_bytes(PNG, name="a.png"), Video.from_bytes(b"?")):
        again: Media = forms.read(type(value), forms.write(value))

        assert (again, again.type, again.name) == (value, value.type, value.name)


def test_a_url_is_read_with_what_the_worker_gives() -> None:
    asked: list[str] = []

    def fetch(url: str) -> File:
        asked.append(url)
        return File.from_bytes(PNG, name="a.png")

    image = forms.read(Image, {"url": "HTTPS://example.org/a", "name": "b.png"}, fetch)

    assert asked == ["HTTPS://example.org/a"]
    assert (image.type, image.name) == ("image/png", "b.png")


def test_pydantic_models_hold_media() -> None:
    from pydantic import BaseModel, TypeAdapter, ValidationError

    class Page(BaseModel):
        pictures: list[Image]
        voice: Audio | None = None

    page = Page.model_validate({"pictures": [forms.write(Image.from_bytes(PNG))]})

    assert page.pictures == [Image.from_bytes(PNG)]
    assert page.model_dump()["pictures"][0] is page.pictures[0]
    assert Page.model_validate_json(page.model_dump_json()) == page
    with pytest.raises(ValidationError, match="base64 is broken"):
        TypeAdapter(Page).validate_python({"pictures": [{"base64": "?"}]})


def test_a_json_schema_names_the_medium_and_fits_what_is_written() -> None:
    jsonschema = pytest.importorskip("jsonschema")
    from pydantic import TypeAdapter

    for cls in (Audio, Image, Video, File):
        taken = TypeAdapter(cls).json_schema()
        given = TypeAdapter(cls).json_schema(mode="serialization")

        assert taken["x-coldstart-medium"] == given["x-coldstart-medium"] == cls.__name__
        jsonschema.validate(forms.write(cls.from_bytes(b"x", name="a.bin")), given)
        jsonschema.validate("https://example.org/a", taken)
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate("https://example.org/a", given)
