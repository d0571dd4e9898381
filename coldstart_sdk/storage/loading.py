"""From files to tensors: read as suits the disk that they lie on, and said in the trace how.

On a local disk safetensors' own mapping is the fastest, and costs the least memory. From a network volume it
comes page by page, each a round trip: there a file is read whole, in large pieces side by side. A pickle runs
code, so it is loaded only where the declaration names it with its digest.
"""

from __future__ import annotations

import ctypes
import json
import os
import pickle
import threading
import warnings
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from coldstart_sdk import machine
from coldstart_sdk.errors import StorageError
from coldstart_sdk.events import Emit, Noted, Resource, SpanRecorded, now
from coldstart_sdk.storage import blobs, patterns

if TYPE_CHECKING:
    import torch

_PICKLES = frozenset({".bin", ".ckpt", ".pkl", ".pickle", ".pt", ".pth"})
_PIECE_BYTES = 16 << 20
_READERS = 8
_HEADER_LIMIT = 100_000_000
_DTYPES: Mapping[str, str] = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U64": "uint64",
    "U32": "uint32",
    "U16": "uint16",
    "U8": "uint8",
    "BOOL": "bool",
    "C64": "complex64",
}
"""What the header of a safetensors file calls each type, and what torch does."""


@dataclass(frozen=True, kw_only=True)
class Loading:
    """What a set needs to become tensors, beside its files."""

    step: str
    emit: Emit
    allow_pickle: tuple[str, ...] = ()
    """`file@sha256:…` of each pickle that may be loaded."""
    is_far: Callable[[Path], bool] = lambda path: machine.is_far(machine.file_system(path))
    """Whether a file lies where each page is a round trip."""


def tensors(
    name: str, path: Path, *, device: str, include: tuple[str, ...], loading: Loading
) -> dict[str, torch.Tensor]:
    """Every tensor of a set, by its name in the files."""
    files = _chosen(name, path, include)
    found: dict[str, torch.Tensor] = {}
    for relative, file in files.items():
        reader = _pickle if is_pickle(file) else _safe
        read = reader(name, relative, file, device, loading)
        if twice := sorted(found.keys() & read.keys()):
            raise StorageError(
                f"two files of {name!r} have a tensor {twice[0]!r}",
                where=relative,
                fix='Choose the files: weights["…"].tensors(include=["model/*.safetensors"]).',
            )
        found |= read
    return found


def is_pickle(file: Path) -> bool:
    """Whether a file's name is that of one that runs code when it is loaded."""
    return file.suffix.lower() in _PICKLES


def _chosen(name: str, path: Path, include: tuple[str, ...]) -> dict[str, Path]:
    """The files to read; pickles only where there is nothing better."""
    root = path if path.is_dir() else path.parent
    every = sorted(file for file in root.rglob("*") if file.is_file()) if path.is_dir() else [path]
    known = {file.relative_to(root).as_posix(): file for file in every}
    asked = {at: file for at, file in known.items() if not include or patterns.matches(at, include)}
    safe = {at: file for at, file in asked.items() if file.suffix == ".safetensors"}
    if chosen := safe or {at: file for at, file in asked.items() if is_pickle(file)}:
        return chosen
    raise StorageError(
        f"{name!r} has no file of tensors" + (" that is asked for" if include else ""),
        where=str(path),
        fix="Read it in the hook as its library does; .tensors() reads *.safetensors.",
    )


# ---- safetensors


def _safe(name: str, relative: str, file: Path, device: str, loading: Loading) -> dict[str, torch.Tensor]:
    size, started_s = file.stat().st_size, now()
    if loading.is_far(file):
        read = _in_bulk(file, relative)
        found = {key: value.to(device) for key, value in read.items()} if device != "cpu" else read
        how = f"in bulk, by {_READERS} readers"
    else:
        found, how = _mapped(file, relative, device), "mapped"
    ended_s = now()
    said = f"{name}: {relative} read {how}, {size / 1e6:.1f} MB to {device}"
    loading.emit(Noted(at_s=ended_s, step=loading.step, message=said))
    loading.emit(
        SpanRecorded(
            at_s=started_s,
            end_s=ended_s,
            step=loading.step,
            name=f"read:{relative}",
            resource=Resource.DISK,
            bytes=size,
        )
    )
    return found


def _mapped(file: Path, relative: str, device: str) -> dict[str, torch.Tensor]:
    try:
        from safetensors import SafetensorError  # noqa: PLC0415 - an extra
        from safetensors.torch import load_file  # noqa: PLC0415 - as above
    except ImportError as absent:
        raise StorageError(
            ".tensors() needs safetensors and torch, and one of them is not installed",
            where=relative,
            fix="pip install 'coldstart-sdk[torch]'",
        ) from absent
    try:
        found: dict[str, torch.Tensor] = load_file(file, device=device)
    except SafetensorError as damaged:
        raise _damaged(relative) from damaged
    return found


def _in_bulk(file: Path, relative: str) -> dict[str, torch.Tensor]:
    """The file whole, in one piece of memory that its tensors share."""
    import torch  # noqa: PLC0415 - loaded by whoever wants tensors

    layout, start = _header(file, relative)
    size = file.stat().st_size - start
    memory = torch.empty(size, dtype=torch.uint8)
    _fill(memory.data_ptr(), file, start, size)
    return {key: _part(memory, told, relative) for key, told in layout.items()}


def _header(file: Path, relative: str) -> tuple[dict[str, Any], int]:
    with file.open("rb") as opened:
        length = int.from_bytes(opened.read(8), "little")
        if length > _HEADER_LIMIT:
            raise _damaged(relative)
        text = opened.read(length)
    try:
        told = json.loads(text)
    except (ValueError, RecursionError) as misread:
        raise _damaged(relative) from misread
    if not isinstance(told, dict):
        raise _damaged(relative)
    return {key: part for key, part in told.items() if key != "__metadata__"}, 8 + length


def _fill(address: int, file: Path, start: int, size: int) -> None:
    """Read into memory, in large pieces side by side; reading frees the interpreter."""
    memory = memoryview((ctypes.c_ubyte * size).from_address(address)).cast("B") if size else memoryview(b"")
    descriptor = os.open(file, os.O_RDONLY)

    def piece(at: int) -> None:
        end = min(at + _PIECE_BYTES, size)
        while at < end:
            count = os.preadv(descriptor, [memory[at:end]], start + at)
            if not count:
                raise EOFError(file.name)
            at += count

    try:
        with ThreadPoolExecutor(max_workers=_READERS, thread_name_prefix="coldstart-load") as pool:
            list(pool.map(piece, range(0, size, _PIECE_BYTES)))
    finally:
        os.close(descriptor)


def _part(memory: torch.Tensor, told: Any, relative: str) -> torch.Tensor:  # noqa: ANN401 - what JSON holds
    import torch  # noqa: PLC0415 - as above

    try:
        begin, end = told["data_offsets"]
        dtype = getattr(torch, _DTYPES[told["dtype"]])
        raw = memory[begin:end]
        if begin % dtype.itemsize:
            raw = raw.clone()  # torch reads a type only where it is aligned
        part: torch.Tensor = raw.view(dtype).reshape(told["shape"])
    except (KeyError, TypeError, ValueError, RuntimeError, IndexError) as misfit:
        raise _damaged(relative) from misfit
    return part


def _damaged(relative: str) -> StorageError:
    return StorageError(
        f"{relative!r} is no sound safetensors file",
        where=relative,
        fix="Look whether it is what its publisher meant: coldstart weights verify FILE",
    )


# ---- pickles


def _pickle(name: str, relative: str, file: Path, device: str, loading: Loading) -> dict[str, torch.Tensor]:
    digest = blobs.digest_of_file(file, threading.Event())
    if f"{relative}@{digest}" not in loading.allow_pickle:
        raise StorageError(
            f"{relative!r} is a pickle, which runs code when it is loaded",
            where=f"weights[{name!r}]",
            fix=f"Take a safetensors file, or allow this one: allow_pickle=[{f'{relative}@{digest}'!r}].",
        )
    twin = f"{relative.rpartition('.')[0].replace('pytorch_model', 'model')}.safetensors"
    said = f"{name}: {relative} is a pickle, allowed by its digest; {twin} would run no code, and load faster"
    warnings.warn(said, stacklevel=2)
    import torch  # noqa: PLC0415 - as above

    try:
        found = torch.load(file, map_location=device, weights_only=True)
    except pickle.UnpicklingError as other:
        raise _more_than_tensors(relative) from other
    plain = isinstance(found, Mapping) and all(
        isinstance(key, str) and isinstance(value, torch.Tensor) for key, value in found.items()
    )
    if not plain:
        raise _more_than_tensors(relative)
    return dict(found)


def _more_than_tensors(relative: str) -> StorageError:
    """Of which only its own code can make sense."""
    return StorageError(
        f"{relative!r} holds more than tensors by name",
        where=relative,
        fix="Load it in the hook, as its library does, from weights[…].path.",
    )
