"""Arguments sent as multipart/form-data: files become media, other parts text or JSON, as the schema says.

A part above a megabyte is written to a file while it comes in, so that an upload is in memory once at most.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING

from coldstart_sdk.errors import UsageError
from coldstart_sdk.media import Audio, File, Image, Media, Video
from coldstart_sdk.serve.bodies import json_value
from coldstart_sdk.spec import EndpointSpec, Parameter
from coldstart_sdk.wire.errors import BadArguments, BadField, CallError, Fault

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

IN_MEMORY_BYTES = 2**20
MOST_PARTS = 256
_MEDIA: Mapping[str, type[Media]] = {kind.__name__: kind for kind in (Audio, File, Image, Video)}


async def arguments(
    content_type: str, chunks: AsyncIterator[bytes], endpoint: EndpointSpec
) -> dict[str, object]:
    """What the parts of a form mean to this endpoint."""
    with ExitStack() as files:
        form = _Form(content_type, files)
        async for chunk in chunks:
            form.feed(chunk)
        parts = form.finish()
        # Media read their files: not on the loop that everybody waits for.
        return await asyncio.get_running_loop().run_in_executor(None, _bind, parts, endpoint)


class _Part:
    """One field or file of a form, as it comes in."""

    def __init__(self) -> None:
        self.headers: dict[bytes, bytes] = {}
        self.name = ""
        self.file_name: str | None = None
        """None: not a file."""
        self.kind: str | None = None
        self._memory = bytearray()
        self._disk: IO[bytes] | None = None
        self._path = Path()

    def write(self, data: bytes, files: ExitStack) -> None:
        if self._disk is None and len(self._memory) + len(data) > IN_MEMORY_BYTES:
            self._path, self._disk = _temporary(files)
            self._disk.write(self._memory)
            self._memory.clear()
        if self._disk is None:
            self._memory += data
        else:
            self._disk.write(data)

    def text(self) -> str:
        if self._disk is not None:
            raise _wrong(self.name, f"a field that is no file may have {IN_MEMORY_BYTES} bytes at most")
        try:
            return self._memory.decode()
        except UnicodeDecodeError:
            raise _wrong(self.name, "not UTF-8; send bytes as a file") from None

    def media(self, kind: type[Media]) -> Media:
        try:
            if self._disk is None:
                return kind.from_bytes(self._memory, self.kind, name=self.file_name or None)
            self._disk.flush()
            return kind.from_path(self._path, self.kind, name=self.file_name or "upload")
        except UsageError as exc:
            raise _wrong(self.name, exc.message) from None

    @property
    def is_nothing(self) -> bool:
        """What a browser sends for a file that nobody chose."""
        return self.file_name == "" and self._disk is None and not self._memory


class _Form:
    """Feeds python-multipart, and keeps what it finds."""

    def __init__(self, content_type: str, files: ExitStack) -> None:
        from python_multipart import MultipartParser  # noqa: PLC0415 - only a form pays for it
        from python_multipart.exceptions import FormParserError  # noqa: PLC0415 - as above
        from python_multipart.multipart import parse_options_header  # noqa: PLC0415 - as above

        self._files = files
        self._options: Callable[[bytes], tuple[bytes, dict[bytes, bytes]]] = parse_options_header
        self._error: type[Exception] = FormParserError
        self._parts: list[_Part] = []
        self._header = (bytearray(), bytearray())
        self._is_whole = False
        boundary = parse_options_header(content_type)[1].get(b"boundary")
        if not boundary:
            raise _broken("its Content-Type names no boundary")
        try:
            self._parser = MultipartParser(boundary, self._callbacks())
        except FormParserError:
            raise _broken("its boundary is too long") from None

    def feed(self, chunk: bytes) -> None:
        try:
            self._parser.write(chunk)
        except self._error:
            raise _broken("its parts cannot be told apart") from None

    def finish(self) -> list[_Part]:
        if not self._is_whole:
            raise _broken("it ends before its last boundary")
        return [part for part in self._parts if not part.is_nothing]

    def _callbacks(self) -> MultipartCallbacks:
        return {
            "on_part_begin": self._begin,
            "on_header_field": lambda data, start, end: self._header[0].extend(data[start:end]),
            "on_header_value": lambda data, start, end: self._header[1].extend(data[start:end]),
            "on_header_end": self._end_header,
            "on_headers_finished": self._read_headers,
            "on_part_data": lambda data, start, end: self._parts[-1].write(data[start:end], self._files),
            "on_end": self._end,
        }

    def _begin(self) -> None:
        if len(self._parts) >= MOST_PARTS:
            raise _broken(f"it has more than {MOST_PARTS} parts")
        self._parts.append(_Part())

    def _end_header(self) -> None:
        name, value = (bytes(each) for each in self._header)
        self._parts[-1].headers[name.lower()] = value
        self._header = (bytearray(), bytearray())

    def _read_headers(self) -> None:
        part = self._parts[-1]
        kind, options = self._options(part.headers.get(b"content-disposition", b""))
        if kind != b"form-data" or b"name" not in options:
            raise _broken("one of its parts has no name")
        if part.headers.get(b"content-transfer-encoding", b"binary").lower() not in {
            b"7bit",
            b"8bit",
            b"binary",
        }:
            raise _broken("one of its parts has a Content-Transfer-Encoding; send the bytes as they are")
        try:
            part.name = options[b"name"].decode()
            part.file_name = options[b"filename"].decode() if b"filename" in options else None
        except UnicodeDecodeError:
            raise _broken("the name of one of its parts is not UTF-8") from None
        part.kind = part.headers.get(b"content-type", b"").decode("latin-1") or None

    def _end(self) -> None:
        self._is_whole = True


def _bind(parts: list[_Part], endpoint: EndpointSpec) -> dict[str, object]:
    """Each argument with its value; a list gathers the parts of its name."""
    known = {parameter.name: parameter for parameter in endpoint.parameters}
    bound: dict[str, object] = {}
    for part in parts:
        parameter = known.get(part.name)
        value = _value(part, parameter)
        if parameter is not None and _is_list(parameter.schema) and not isinstance(value, list):
            gathered = bound.setdefault(part.name, [])
            assert isinstance(gathered, list)  # noqa: S101 - nothing else is put under the name of a list
            gathered.append(value)
        elif part.name in bound:
            raise _wrong(part.name, "sent twice")
        else:
            bound[part.name] = value
    return bound


def _value(part: _Part, parameter: Parameter | None) -> object:
    if part.file_name is not None:
        medium = parameter.medium if parameter else None
        return part.media(_MEDIA[medium.value] if medium else File)
    text = part.text()
    if parameter is None or parameter.text:
        return text  # what nobody knows is told by the check of the arguments
    if (parameter.medium or _is_list(parameter.schema)) and not text.lstrip().startswith(("{", "[")):
        return _item(text, parameter)
    return _json(part.name, text)


def _item(text: str, parameter: Parameter) -> object:
    """A URL, or one item of a list."""
    if parameter.medium:
        return text
    with suppress(CallError):
        return json_value(text)
    return text


def _json(name: str, text: str) -> object:
    try:
        return json_value(text)
    except CallError as exc:
        raise _wrong(name, f"send it as JSON ({exc.message})") from None


def _is_list(schema: Mapping[str, object]) -> bool:
    choices = schema.get("anyOf", ())
    return schema.get("type") == "array" or (
        isinstance(choices, (list, tuple))
        and any(isinstance(each, Mapping) and _is_list(each) for each in choices)
    )


def _temporary(files: ExitStack) -> tuple[Path, IO[bytes]]:
    """A file that goes when the form has been read."""
    handle, name = tempfile.mkstemp(prefix="coldstart-upload-")
    path = Path(name)
    files.callback(path.unlink, missing_ok=True)
    return path, files.enter_context(os.fdopen(handle, "wb"))


def _wrong(name: str, message: str) -> BadArguments:
    return BadArguments((BadField(field=name[:60], message=message),))


def _broken(why: str) -> CallError:
    return CallError(Fault.BAD_REQUEST, f"the form cannot be read: {why}")
