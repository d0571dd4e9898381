"""What a rehearsal tells, as rows that a person can read: media go into files, and what is long is cut."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeGuard

from coldstart_sdk.cli.build import shown
from coldstart_sdk.cli.sounds import GrowingSound
from coldstart_sdk.media import kinds
from coldstart_sdk.trace.figures import size

_LONGEST = 200
_LINES = ("notes", "lint")
"""Lists of sentences."""


def rows(told: Mapping[str, Any], folder: Path) -> Iterator[tuple[str, str]]:
    """Each fact on a line; media are put into the folder."""
    for name, value in told.items():
        if name in _LINES and isinstance(value, list | tuple):
            yield from ((name, str(line)) for line in value)
            continue
        for number, each in enumerate(value if name == "results" else [value], 1):
            label = f"{name} {number}" if name == "results" else name
            yield label, _shown(each, folder / label.replace(" ", "-"))


def _shown(value: object, stem: Path) -> str:
    if _is_medium(value):
        return _kept(value, stem)
    if isinstance(value, list) and value and all(map(_is_medium, value)):
        return _streamed(value, stem)
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    if len(text) <= _LONGEST:
        return text
    return f"{text[:_LONGEST]}… ({len(text)} characters; --json has all of them)"


def _is_medium(value: object) -> TypeGuard[Mapping[str, Any]]:
    return isinstance(value, Mapping) and "base64" in value


def _streamed(chunks: Sequence[Mapping[str, Any]], stem: Path) -> str:
    """Chunks of wav are one sound, as `run` makes it of them; of anything else each is a file."""
    path = stem.with_suffix(".wav")
    path.parent.mkdir(parents=True, exist_ok=True)
    sound = GrowingSound(str(path), _write)
    if all(sound.add(base64.b64decode(chunk["base64"])) for chunk in chunks):
        sound.close()
        return f"{shown(path)} (audio/wav, {size(path.stat().st_size)}, {len(chunks)} chunks)"
    path.unlink(missing_ok=True)
    return ", ".join(
        _kept(chunk, stem.with_name(f"{stem.name}-{number}")) for number, chunk in enumerate(chunks, 1)
    )


def _write(path: str, content: bytes, mode: str) -> None:
    with Path(path).open(mode) as file:
        file.write(content)


def _kept(media: Mapping[str, Any], stem: Path) -> str:
    kind, content = media.get("type", kinds.UNKNOWN), base64.b64decode(media["base64"])
    path = stem.with_suffix(kinds.suffix_of(kind, media.get("name")))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return f"{shown(path)} ({kind}, {size(len(content))})"
