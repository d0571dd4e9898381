"""What kind of bytes these are: MIME types told from magic bytes, and the file suffix each one goes by."""

from __future__ import annotations

import re

from coldstart_sdk.errors import UsageError

UNKNOWN = "application/octet-stream"

_TYPE = re.compile(r"[a-z0-9!#$&^_.+-]{1,63}/[a-z0-9!#$&^_.+-]{1,63}", re.ASCII)
_SUFFIX = re.compile(r"\.[A-Za-z0-9]{1,10}", re.ASCII)

_ALIASES = {
    "audio/x-wav": "audio/wav",
    "audio/wave": "audio/wav",
    "audio/vnd.wave": "audio/wav",
    "audio/mp3": "audio/mpeg",
    "audio/x-flac": "audio/flac",
    "audio/x-m4a": "audio/mp4",
    "audio/x-aiff": "audio/aiff",
    "image/jpg": "image/jpeg",
}

_SUFFIXES = {
    "audio/aac": ".aac",
    "audio/aiff": ".aiff",
    "audio/amr": ".amr",
    "audio/flac": ".flac",
    "audio/mp4": ".m4a",
    "audio/mpeg": ".mp3",
    "audio/ogg": ".ogg",
    "audio/wav": ".wav",
    "audio/webm": ".weba",
    "image/avif": ".avif",
    "image/bmp": ".bmp",
    "image/gif": ".gif",
    "image/heic": ".heic",
    "image/jpeg": ".jpg",
    "image/png": ".png",
    "image/tiff": ".tiff",
    "image/webp": ".webp",
    "video/mp4": ".mp4",
    "video/mpeg": ".mpg",
    "video/ogg": ".ogv",
    "video/quicktime": ".mov",
    "video/webm": ".webm",
    "video/x-flv": ".flv",
    "video/x-matroska": ".mkv",
    "video/x-msvideo": ".avi",
    "application/json": ".json",
    "application/pdf": ".pdf",
    "application/zip": ".zip",
    "text/csv": ".csv",
    "text/plain": ".txt",
}

_MAGIC = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"II*\x00", "image/tiff"),
    (b"MM\x00*", "image/tiff"),
    (b"fLaC", "audio/flac"),
    (b"ID3", "audio/mpeg"),
    (b"#!AMR", "audio/amr"),
    (b"FLV\x01", "video/x-flv"),
    (b"\x00\x00\x01\xba", "video/mpeg"),
    (b"%PDF-", "application/pdf"),
    (b"PK\x03\x04", "application/zip"),
)
_RIFF = {b"WAVE": "audio/wav", b"WEBP": "image/webp", b"AVI ": "video/x-msvideo"}
_ISO_BRANDS = {
    b"M4A ": "audio/mp4",
    b"M4B ": "audio/mp4",
    b"avif": "image/avif",
    b"avis": "image/avif",
    b"heic": "image/heic",
    b"heix": "image/heic",
    b"mif1": "image/heic",
    b"qt  ": "video/quicktime",
}
HEAD_BYTES = 64
"""How much of a file `sniff` looks at."""


def sniff(content: bytes) -> str | None:
    """The MIME type that the first bytes tell, if they tell one."""
    head = content[:HEAD_BYTES]
    for magic, kind in _MAGIC:
        if head.startswith(magic):
            return kind
    return _sniff_container(head) or _sniff_frame(head)


def _sniff_container(head: bytes) -> str | None:
    if head[:4] in {b"RIFF", b"RF64"}:
        return _RIFF.get(head[8:12])
    if head[:4] == b"FORM" and head[8:12] in {b"AIFF", b"AIFC"}:
        return "audio/aiff"
    if head[4:8] == b"ftyp":
        return _ISO_BRANDS.get(head[8:12], "video/mp4")
    if head[:4] == b"OggS":
        return "video/ogg" if b"theora" in head else "audio/ogg"
    if head[:4] == b"\x1aE\xdf\xa3":
        return "video/webm" if b"webm" in head else "video/x-matroska"
    return None


def _sniff_frame(head: bytes) -> str | None:
    """Formats without a header of their own: the first frame's sync bits must do."""
    if len(head) > 3 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0:  # noqa: PLR2004 - eleven sync bits
        layer, rate = (head[1] >> 1) & 0b11, (head[2] >> 4) & 0b1111
        if layer == 0 and head[1] & 0xF0 == 0xF0:  # noqa: PLR2004 - ADTS has twelve sync bits and layer 0
            return "audio/aac"
        return "audio/mpeg" if layer and rate not in {0, 0b1111} else None
    # A bitmap's header length, at byte 14, is one of a few: two letters alone would take in any text.
    if head[:2] == b"BM" and head[14:18] in {bytes([size, 0, 0, 0]) for size in (12, 40, 52, 56, 108, 124)}:
        return "image/bmp"
    return None


def of_name(name: str) -> str | None:
    """The MIME type that a file's name tells, the same on every machine."""
    suffix = "." + name.lower().rpartition(".")[2]
    for kind, known in _SUFFIXES.items():
        if known == suffix:
            return kind
    import mimetypes  # noqa: PLC0415 - only for suffixes that media do not have

    return mimetypes.MimeTypes().guess_type(name, strict=False)[0]


def suffix_of(kind: str, name: str | None) -> str:
    """What a file of this type is called: by its type, else by its own name."""
    if kind in _SUFFIXES:
        return _SUFFIXES[kind]
    own = "." + name.rpartition(".")[2] if name and "." in name else ""
    return own if _SUFFIX.fullmatch(own) else ".bin"


def tidy(kind: str) -> str:
    """One spelling per MIME type, without parameters; it may become a header, so nothing else passes."""
    bare = kind.partition(";")[0].strip().lower()
    if not _TYPE.fullmatch(bare):
        raise UsageError(
            f"{kind[:80]!r} is not a MIME type",
            fix='Write it like "audio/wav", or leave it out: it is told from the content.',
        )
    return _ALIASES.get(bare, bare)


def tidy_name(name: str) -> str | None:
    """The last part of a file's name, printable; callers may send any text."""
    last = name.replace("\\", "/").rpartition("/")[2]
    kept = "".join(letter for letter in last if letter.isprintable())[:255]
    return None if kept in {"", ".", ".."} else kept
