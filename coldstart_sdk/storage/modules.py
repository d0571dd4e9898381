"""A model made without its numbers, and filled from tensors: nothing is drawn at random to be thrown away.

Parameters are made on torch's `meta` device as each is registered; buffers stay real, since many are computed
and in no file. Tied parameters stay tied.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from coldstart_sdk.errors import StorageError

if TYPE_CHECKING:
    import torch

M = TypeVar("M", bound="torch.nn.Module")

_SHOWN = 5


def filled(
    name: str, make: Callable[[], M], tensors: Mapping[str, torch.Tensor], *, device: str, strict: bool
) -> M:
    """The model that `make` makes, with these tensors for its parameters and buffers."""
    with _empty_parameters():
        model = make()
    tied = _tied(model)
    try:
        unexpected = model.load_state_dict(tensors, strict=False, assign=True).unexpected_keys
    except RuntimeError as misfit:  # another shape; torch tells each
        raise _misfit(name, model, " ".join(str(misfit).split())) from misfit
    for names in tied:
        _tie(model, names, tensors)
    empty = [key for key, value in model.named_parameters() if value.is_meta]
    if empty or (strict and unexpected):
        raise _misfit(name, model, _told(empty, unexpected))
    model.to(device)  # in place, as torch moves modules
    return model


@contextmanager
def _empty_parameters() -> Iterator[None]:
    import torch  # noqa: PLC0415 - loaded by whoever makes a model
    from torch.nn.modules import module  # noqa: PLC0415 - as above

    here = threading.get_ident()

    def emptied(
        _module: object, _name: str, parameter: torch.nn.Parameter | None
    ) -> torch.nn.Parameter | None:
        if parameter is None or parameter.is_meta or threading.get_ident() != here:
            return None  # left as it is: also a parameter that is registered under a second name
        return torch.nn.Parameter(parameter.to("meta"), requires_grad=parameter.requires_grad)

    handle = module.register_module_parameter_registration_hook(emptied)
    try:
        yield
    finally:
        handle.remove()


def _tied(model: torch.nn.Module) -> list[list[str]]:
    """Names that mean one parameter."""
    names: dict[int, list[str]] = {}
    for key, value in model.named_parameters(remove_duplicate=False):
        names.setdefault(id(value), []).append(key)
    return [same for same in names.values() if len(same) > 1]


def _tie(model: torch.nn.Module, names: list[str], tensors: Mapping[str, torch.Tensor]) -> None:
    """All to the one that came."""
    came = next((key for key in names if key in tensors), None)
    if came is None:
        return
    parameter = model.get_parameter(came)
    for key in names:
        owner, _, attribute = key.rpartition(".")
        setattr(model.get_submodule(owner), attribute, parameter)


def _misfit(name: str, model: torch.nn.Module, why: str) -> StorageError:
    return StorageError(
        f"the tensors of {name!r} are not those of {type(model).__name__}: {why}",
        where=f"weights[{name!r}]",
        fix="Make the model with the publisher's own configuration, or rename the tensors first.",
    )


def _told(empty: list[str], unexpected: list[str]) -> str:
    parts = (("missing", empty), ("unexpected", unexpected))
    return "; ".join(
        f"{len(keys)} {what} ({', '.join(keys[:_SHOWN])}{', …' if len(keys) > _SHOWN else ''})"
        for what, keys in parts
        if keys
    )
