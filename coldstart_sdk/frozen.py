"""`dataclass` at a third of its price, for the records that a worker makes at each cold start.

The standard decorator compiles six methods for each class; with some fifty records that is a third of what
importing a worker costs. Here only `__init__` is compiled, and the rest is shared. To a type checker, to
`fields` and to `replace` it is the standard one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dataclasses import dataclass as dataclass  # noqa: PLC0414 - offered under its own name
else:
    import dataclasses
    from collections.abc import Callable

    def dataclass(*, frozen: bool, kw_only: bool = False) -> Callable[[type], type]:
        """What `dataclasses.dataclass` makes of a class; every record of ours is frozen."""
        assert frozen  # noqa: S101 - a mistake of ours, not of a user

        def decorate(cls: type) -> type:
            for name, method in _SHARED.items():
                setattr(cls, name, method)
            return dataclasses.dataclass(repr=False, eq=False, kw_only=kw_only)(cls)

        return decorate

    def _repr(self: object) -> str:
        fields = self.__dataclass_fields__.values()
        shown = (f"{field.name}={getattr(self, field.name)!r}" for field in fields if field.repr)
        return f"{type(self).__qualname__}({', '.join(shown)})"

    def _eq(self: object, other: object) -> bool:
        return _compared(self) == _compared(other) if other.__class__ is self.__class__ else NotImplemented

    def _hash(self: object) -> int:
        return hash(_compared(self))

    def _compared(self: object) -> tuple[object, ...]:
        fields = self.__dataclass_fields__.values()
        return tuple(getattr(self, field.name) for field in fields if field.compare)

    def _set_once(self: object, name: str, value: object) -> None:
        if name in self.__dict__ or name not in self.__dataclass_fields__:
            raise dataclasses.FrozenInstanceError(f"cannot assign to field {name!r}")
        object.__setattr__(self, name, value)

    def _delete(_self: object, name: str) -> None:
        raise dataclasses.FrozenInstanceError(f"cannot delete field {name!r}")

    _SHARED = {
        "__repr__": _repr,
        "__eq__": _eq,
        "__hash__": _hash,
        "__setattr__": _set_once,
        "__delattr__": _delete,
    }
