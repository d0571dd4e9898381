"""Put what an endpoint gave where it was asked for: text plain, media in a file, everything else as JSON."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from coldstart_sdk.cli.console import Console
from coldstart_sdk.errors import UsageError
from coldstart_sdk.spec import EndpointSpec

if TYPE_CHECKING:
    from coldstart_sdk.cli.sounds import GrowingSound


class Results:
    """Takes chunks and the result of one call; `shown` is what `--json` says of the result."""

    def __init__(self, endpoint: EndpointSpec, output: str | None, console: Console) -> None:
        self._endpoint = endpoint
        self._output = output
        self._console = console
        self._chunks = 0
        self._written: list[Any] = []
        self._is_open_line = False
        self._sound: GrowingSound | None = None

    def chunk(self, value: object) -> None:
        """One piece of a stream, at once."""
        self._chunks += 1
        joined = self._joined(value)
        shown = joined or self._kept(value, number=self._chunks)
        if self._console.json:
            self._console.result_json({"chunk": shown})
        elif shown == "-" or (joined and self._chunks > 1):
            pass  # it is on stdout, or its file was named with the first chunk
        elif self._is_path(shown) or self._output is None:
            # Text is joined as it comes; anything else takes a line of its own.
            is_piece = isinstance(shown, str) and not self._is_path(shown)
            self._console.result(str(shown) if is_piece else f"{_spelled(shown, lines=False)}\n")
            self._is_open_line = is_piece
        if self._output is not None and not self._is_path(shown):
            self._written.append(shown)

    def result(self, value: object) -> object:
        """The end of the answer, and what to call it in one JSON object."""
        if self._endpoint.streams:
            return self._end_of_stream()
        shown = self._kept(value, number=None)
        if self._output is not None and not self._is_path(shown):
            self._write(self._output, f"{_spelled(shown)}\n".encode())
            shown = self._output
        if not self._console.json and self._output != "-":
            self._console.result(f"{_spelled(shown)}\n")
        return shown

    def _end_of_stream(self) -> object:
        if self._sound is not None:
            self._sound.close()
            return self._sound.path
        if self._output is not None and self._written:
            text = all(isinstance(piece, str) for piece in self._written)
            joined = (
                "".join(self._written)
                if text
                else "".join(f"{_spelled(piece, lines=False)}\n" for piece in self._written)
            )
            self._write(self._output, joined.encode())
            if not self._console.json and self._output != "-":
                self._console.result(f"{self._output}\n")
            return self._output
        if self._is_open_line:
            self._console.result("\n")
        return None

    def _is_path(self, shown: object) -> bool:
        return self._endpoint.medium is not None and isinstance(shown, str)

    def _kept(self, value: object, *, number: int | None) -> object:
        """The value; of media, the path of the file that now holds it."""
        if not isinstance(value, Mapping) or self._endpoint.medium is None or "base64" not in value:
            return value
        return self._write(self._path(value, number), base64.b64decode(value["base64"]))

    def _joined(self, value: object) -> str | None:
        """The file of the one sound that a chunk went into; None where it goes its own way."""
        if not isinstance(value, Mapping) or value.get("type") != "audio/wav" or "base64" not in value:
            return None
        if self._chunks == 1:
            from coldstart_sdk.cli.sounds import GrowingSound  # noqa: PLC0415 - only for a stream of sound

            self._sound = GrowingSound(self._path(value, None), self._write)
        is_in = self._sound is not None and self._sound.add(base64.b64decode(value["base64"]))
        return self._sound.path if self._sound and is_in else None

    def _path(self, value: Mapping[str, Any], number: int | None) -> str:
        from coldstart_sdk.media import kinds  # noqa: PLC0415 - only for media

        suffix = kinds.suffix_of(value.get("type", kinds.UNKNOWN), value.get("name"))
        path = self._output or f"./{self._endpoint.method}{suffix}"
        if number is None or path == "-":
            return path
        return f"{path.removesuffix(Path(path).suffix)}-{number}{Path(path).suffix}"

    def _write(self, path: str, content: bytes, mode: str = "wb") -> str:
        if path == "-":
            self._console.result_bytes(content)
            return path
        try:
            with Path(path).open(mode) as file:
                file.write(content)
        except OSError as refused:
            raise UsageError(
                f"the result cannot be written: {refused.strerror}",
                where=path,
                fix="Name another file with -o.",
            ) from refused
        return path


def _spelled(value: object, *, lines: bool = True) -> str:
    return (
        value
        if isinstance(value, str)
        else json.dumps(value, ensure_ascii=False, indent=2 if lines else None)
    )
