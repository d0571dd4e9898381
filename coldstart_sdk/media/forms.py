"""How a media value looks on the wire, and what pydantic must know to read it.

In: a URL, a `data:` URL, `{"base64" | "url", "type"}`, or a value that an upload was made into. A path
is never read: a caller must not choose files of the worker's. Out: `{"base64", "type"}`.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from coldstart_sdk.errors import UsageError
from coldstart_sdk.media import File, Media

if TYPE_CHECKING:
    from pydantic import SerializationInfo, ValidationInfo
    from pydantic_core import CoreSchema

M = TypeVar("M", bound=Media)

Fetch: TypeAlias = Callable[[str], File]
"""What a URL is read with; it raises ValueError with a message that a caller may see."""

MEDIUM = "x-coldstart-medium"
"""The key of a JSON schema under which the medium's name stands."""

FETCH = "coldstart_fetch"
"""The key of pydantic's validation context under which a `Fetch` stands."""

WRITE = "coldstart_write"
"""The key of pydantic's serialization context under which another `write` may stand."""

_KEYS = frozenset({"base64", "url", "type", "name"})


def read(cls: type[M], value: object, fetch: Fetch | None = None) -> M:
    """The media value that a wire form means; ValueError says what is wrong with it."""
    if isinstance(value, Media):
        media = value if isinstance(value, cls) else _become(cls, value)
    elif isinstance(value, str):
        media = _read_text(cls, value, None, None, fetch)
    elif isinstance(value, Mapping):
        media = _read_object(cls, value, fetch)
    else:
        raise ValueError(f"a URL or an object with base64 was expected, not {_named(value)}")  # noqa: TRY004 - pydantic collects ValueError alone
    return _checked(media)


def tell_argument(value: object, at: str) -> None:
    """Let each medium in an argument know which one it came as, for when it cannot be decoded."""
    if isinstance(value, Media):
        value._argument = at  # noqa: SLF001 - set once, here, before the user's code sees the value
    elif isinstance(value, (list, tuple)):
        for number, item in enumerate(value):
            tell_argument(item, f"{at}[{number}]")
    elif isinstance(value, Mapping):
        for key, item in value.items():
            tell_argument(item, f"{at}.{key}")
    elif hasattr(value, "__pydantic_fields__") or hasattr(value, "__dataclass_fields__"):
        for name, item in getattr(value, "__dict__", {}).items():
            tell_argument(item, f"{at}.{name}")


def write(media: Media) -> dict[str, str]:
    """The wire form of a value."""
    named = {"name": media.name} if media.name else {}
    return {"base64": base64.b64encode(media.bytes).decode("ascii"), "type": media.type, **named}


def core_schema(cls: type[Media]) -> CoreSchema:
    """Read wire forms; keep the value as it is in Python, and write its wire form in JSON."""
    from pydantic_core import core_schema as schemas  # noqa: PLC0415 - pydantic is there when this is called

    return schemas.with_info_plain_validator_function(
        partial(_validate, cls),
        serialization=schemas.plain_serializer_function_ser_schema(
            _serialize, info_arg=True, when_used="json"
        ),
    )


def json_schema(cls: type[Media], *, written: bool) -> dict[str, Any]:
    """The wire forms as JSON schema, with the medium's name under `MEDIUM`."""
    plain = {"type": {"type": "string"}, "name": {"type": "string"}}
    inline = _object({"base64": {"type": "string", "contentEncoding": "base64"}, **plain}, "base64")
    linked = _object({"url": {"type": "string", "format": "uri"}, **plain}, "url")
    link = {"type": "string", "format": "uri", "description": "http, https or data"}
    forms = [inline, linked] if written else [link, inline, linked]
    return {"title": cls.__name__, MEDIUM: cls.__name__, "anyOf": forms}


def _object(properties: dict[str, Any], required: str) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": [required], "additionalProperties": False}


def _validate(cls: type[M], value: object, info: ValidationInfo) -> M:
    return read(cls, value, (info.context or {}).get(FETCH))


def _serialize(media: Media, info: SerializationInfo) -> dict[str, str]:
    chosen: Callable[[Media], dict[str, str]] = (info.context or {}).get(WRITE, write)
    return chosen(media)


def _read_object(cls: type[M], form: Mapping[str, object], fetch: Fetch | None) -> M:
    if unknown := sorted(str(key) for key in form if key not in _KEYS):
        raise ValueError(f"unknown key {unknown[0]!r:.60}; a media object has base64 or url, and type")
    if ("base64" in form) == ("url" in form):
        raise ValueError("a media object has one of base64 and url")
    if wrong := sorted(key for key, item in form.items() if not _is_text(key, item)):
        raise ValueError(f"{wrong[0]} must be a string, not {_named(form[wrong[0]])}")
    kind, name = (str(form[key]) if form.get(key) else None for key in ("type", "name"))
    if "url" in form:
        return _read_text(cls, str(form["url"]), kind, name, fetch)
    text = str(form["base64"])
    return (
        _read_text(cls, text, kind, name, None)
        if text.startswith("data:")
        else _made(cls, _decode(text), kind, name)
    )


def _is_text(key: str, item: object) -> bool:
    """Only what may be left out may also be null."""
    return isinstance(item, str) or (item is None and key in {"type", "name"})


def _read_text(cls: type[M], text: str, kind: str | None, name: str | None, fetch: Fetch | None) -> M:
    if text[:5].lower() == "data:":
        content, told = _read_data_url(text)
        return _made(cls, content, kind or told, name)
    if text[:8].lower().startswith(("http://", "https://")):
        if fetch is None:
            raise ValueError("a URL can only be fetched by a worker; send the content as base64")
        fetched = fetch(text)
        return _become(cls, fetched, kind, name)
    raise ValueError('an http, https or data URL was expected, or {"base64": ..., "type": ...}')


def _read_data_url(url: str) -> tuple[bytes, str | None]:
    head, comma, body = url[5:].partition(",")
    if not comma:
        raise ValueError("the data URL has no comma before its content")
    kind, *options = (part.strip() for part in head.split(";"))
    if options and options[-1].lower() == "base64":
        return _decode(body.replace("%2B", "+").replace("%2F", "/").replace("%3D", "=")), kind or None
    from urllib.parse import unquote_to_bytes  # noqa: PLC0415 - brings ipaddress, for a rare form

    return unquote_to_bytes(body), kind or "text/plain"


def _decode(text: str) -> bytes:
    """Standard base64; line breaks inside it are common and harmless."""
    try:
        packed = text.encode("ascii")
        if b"\n" in packed or b" " in packed or b"\r" in packed:
            packed = b"".join(packed.split())
        return base64.b64decode(packed, validate=True)
    except (binascii.Error, UnicodeEncodeError):
        raise ValueError("the base64 is broken: check its alphabet and its padding") from None


def _become(cls: type[M], media: Media, kind: str | None = None, name: str | None = None) -> M:
    return _made(cls, media.bytes, kind or media.type, name or media.name)


def _made(cls: type[M], content: bytes, kind: str | None, name: str | None) -> M:
    try:
        return cls.from_bytes(content, kind, name=name)
    except UsageError as exc:
        raise ValueError(exc.message) from None


def _checked(media: M) -> M:
    """Refuse at the door what would only fail deep inside the user's code."""
    if not media.families:
        return media
    name = type(media).__name__
    if not len(media):
        raise ValueError(f"this {name} is empty")
    if not media.type.startswith(media.families):
        raise ValueError(f"{name} was expected, and this is {media.type}")
    return media


def _named(value: object) -> str:
    return "null" if value is None else type(value).__name__
