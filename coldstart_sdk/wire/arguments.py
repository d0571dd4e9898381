"""Check a call's arguments, and an endpoint's results, against the annotations of its method.

`prepare` imports pydantic and compiles one validator for each endpoint: a step of its own beside the fetch.
After that a call costs one pass through compiled code.
"""

from __future__ import annotations

import math
import re
import typing
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from coldstart_sdk.errors import DeclarationError
from coldstart_sdk.media import File, Media, forms
from coldstart_sdk.spec import EndpointSpec, Spec
from coldstart_sdk.wire.errors import BadArguments, BadField, ResultError
from coldstart_sdk.wire.results import Answer, Spill, answer

if TYPE_CHECKING:
    from pydantic_core import SchemaValidator, ValidationError

AnyDict: typing.TypeAlias = dict[object, object]

_HALF = re.compile("[\ud800-\udfff]")
_LISTED = 20
"""How many problems of one call are told; a body of a million wrong keys must not be echoed."""


def fetch_url(url: str) -> File:
    """What a URL among the arguments is read with, unless `prepare` is told otherwise."""
    from coldstart_sdk.wire import remote  # noqa: PLC0415 - sockets and TLS, for a call that needs them

    return remote.fetch(url)


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """One endpoint with its compiled checks."""

    spec: EndpointSpec
    takes_media: bool
    """Whether a call may hold media, and so a URL to fetch: `bind` may then take long, off the event loop."""
    validator: SchemaValidator
    result: SchemaValidator | None
    fetch: forms.Fetch

    def bind(self, arguments: Mapping[str, object]) -> dict[str, object]:
        """Keyword arguments for the method; BadArguments lists all that is wrong, what is absent stays so."""
        from pydantic_core import ValidationError  # noqa: PLC0415 - `prepare` has loaded it

        self._sift(arguments)
        context = {forms.FETCH: self.fetch}
        try:
            bound = typing.cast(
                "dict[str, object]", self.validator.validate_python(arguments, context=context)
            )
        except ValidationError as exc:
            raise BadArguments(tuple(_problems(exc, self.spec))) from None
        if self.takes_media:
            for name, value in bound.items():
                forms.tell_argument(value, name)
        return bound

    def _sift(self, arguments: object) -> None:
        """Refuse what no annotation makes good, before anything is fetched or built."""
        takes = len(self.spec.parameters)
        if not isinstance(arguments, dict):
            raise _bad("arguments", "must be an object")
        if len(arguments) > takes + _LISTED:
            raise _bad("arguments", f"{len(arguments)} were given, and {self.spec.method} takes {takes}")
        try:
            if not _is_fit(arguments):
                unfit = [name for name, item in arguments.items() if not (_is_fit(name) and _is_fit(item))]
                said = "holds NaN, infinity, or half a character (a lone surrogate)"
                raise BadArguments(tuple(BadField(field=_shown(name), message=said) for name in unfit))
        except RecursionError:
            raise _bad("arguments", "nested too deeply") from None

    def answer(self, value: object, *, spill: Spill | None = None) -> Answer:
        """A result, or one chunk, as it will be sent, once it is what the method declares."""
        return answer(value if self.result is None else self._checked(self.result, value), spill=spill)

    def _checked(self, result: SchemaValidator, value: object) -> object:
        from pydantic_core import ValidationError  # noqa: PLC0415 - as above

        if isinstance(value, Media) and self.spec.medium and type(value).__name__ == self.spec.medium.value:
            return value
        with suppress(ValidationError):
            return result.validate_python(value)
        plain = answer(value)  # its error says more, when the value could not be sent at all
        try:
            # A number of numpy is a number once it is plain; media were what they are.
            return result.validate_python(value if self.spec.medium else plain.value)
        except ValidationError as misfit:
            raise self._unlike(value, misfit) from None

    def _unlike(self, value: object, misfit: ValidationError) -> ResultError:
        if self.spec.medium:
            return ResultError(
                f"{self.spec.method} returned {type(value).__name__}, and declares {self.spec.medium.value}",
                fix=f"Return {self.spec.medium.value}.from_path(path) or .from_bytes(data).",
            )
        first = misfit.errors(include_url=False, include_input=False)[0]
        at = _path(first["loc"])
        return ResultError(
            f"{self.spec.method} returned {type(value).__name__}, which is not what it declares"
            + (f": {at}: {_said(first)}" if at else f": {_said(first)}"),
            fix="Return what the annotation says, or change the annotation.",
        )


def prepare(cls: type, spec: Spec, *, fetch: forms.Fetch = fetch_url) -> Mapping[str, Endpoint]:
    """Each endpoint of the class by its name, ready to check calls."""
    return {endpoint.method: _prepare(cls, endpoint, fetch) for endpoint in spec.endpoints}


def _prepare(cls: type, endpoint: EndpointSpec, fetch: forms.Fetch) -> Endpoint:
    from pydantic import PydanticUserError  # noqa: PLC0415 - this step is where pydantic is paid for

    hints = _hints(cls, endpoint.method)
    try:
        return Endpoint(
            spec=endpoint,
            takes_media=any(_has_medium(parameter.schema) for parameter in endpoint.parameters),
            validator=_arguments_validator(endpoint, hints),
            result=_result_validator(endpoint, hints),
            fetch=fetch,
        )
    except PydanticUserError as exc:
        raise DeclarationError(
            f"{cls.__name__}.{endpoint.method}: pydantic cannot check one of its types",
            fix="Use JSON types, dataclasses, pydantic models, or Audio, Image, Video and File.",
            where=f"{cls.__module__}:{endpoint.line}",
        ) from exc


def _arguments_validator(endpoint: EndpointSpec, hints: Mapping[str, Any]) -> SchemaValidator:
    from pydantic import ConfigDict  # noqa: PLC0415 - as above
    from typing_extensions import NotRequired, TypedDict  # noqa: PLC0415 - comes with pydantic

    fields = {
        parameter.name: hints.get(parameter.name, Any)
        if parameter.required
        else NotRequired[hints.get(parameter.name, Any)]
        for parameter in endpoint.parameters
    }
    # Not a model: a parameter may be called `copy` or `_x`, and a default is the method's own affair.
    shape: Any = typing.cast("Any", TypedDict)(endpoint.method, fields)
    shape.__pydantic_config__ = ConfigDict(extra="forbid", allow_inf_nan=False)
    return _validator(shape)


def _result_validator(endpoint: EndpointSpec, hints: Mapping[str, Any]) -> SchemaValidator | None:
    declared = hints.get("return", Any)
    if endpoint.streams:
        declared = (*typing.get_args(declared), Any)[0]
    return None if declared in {Any, object} else _validator(declared)


def _validator(kind: Any) -> SchemaValidator:  # noqa: ANN401 - any type form
    from pydantic import TypeAdapter  # noqa: PLC0415 - as above

    return typing.cast("SchemaValidator", TypeAdapter(kind).validator)


def _hints(cls: type, method: str) -> dict[str, Any]:
    try:
        return typing.get_type_hints(getattr(cls, method), include_extras=True)
    except NameError as exc:
        raise DeclarationError(
            f"{cls.__name__}.{method}: the annotation {exc.name!r} cannot be resolved",
            fix="Import the name at the top of the file, not under TYPE_CHECKING: the worker reads it.",
            where=cls.__module__,
        ) from exc


def _has_medium(schema: object) -> bool:
    if isinstance(schema, Mapping):
        return forms.MEDIUM in schema or any(_has_medium(part) for part in schema.values())
    return isinstance(schema, (list, tuple)) and any(_has_medium(part) for part in schema)


def _is_fit(value: object) -> bool:
    """Whether it is free of what JSON can bring along and nobody can use: half characters, NaN, infinity."""
    kind = type(value)
    if kind is str:
        text = typing.cast("str", value)
        return text.isascii() or not _HALF.search(text)
    if kind is float:
        return math.isfinite(typing.cast("float", value))
    if kind is dict:
        return all(_is_fit(name) and _is_fit(item) for name, item in typing.cast("AnyDict", value).items())
    return kind is not list or all(map(_is_fit, typing.cast("list[object]", value)))


def _problems(exc: ValidationError, endpoint: EndpointSpec) -> Iterator[BadField]:
    errors = exc.errors(include_url=False, include_input=False)
    names = [parameter.name for parameter in endpoint.parameters]
    for error in errors[:_LISTED]:
        at = _path(error["loc"])
        if error["type"] == "extra_forbidden" and len(error["loc"]) == 1:
            yield BadField(field=at, message=_unknown(str(error["loc"][0]), names))
        else:
            fix = getattr(error.get("ctx", {}).get("error"), "fix", None)
            yield BadField(field=at or "arguments", message=_said(error), fix=fix)
    if len(errors) > _LISTED:
        yield BadField(field="arguments", message=f"{len(errors) - _LISTED} more problems")


def _bad(field: str, message: str) -> BadArguments:
    return BadArguments((BadField(field=field, message=message),))


def _shown(name: str) -> str:
    """A caller's own name for something, short and printable."""
    return ascii(name)[1:-1][:60] if _HALF.search(name) else name[:60]


def _unknown(name: str, names: list[str]) -> str:
    import difflib  # noqa: PLC0415 - only for a call that is wrong

    near = difflib.get_close_matches(name[:60], names, n=1)
    if near:
        return f"unknown argument, did you mean {near[0]}?"
    return "unknown argument; there " + (f"are {', '.join(names)}" if names else "are none")


def _said(error: Mapping[str, Any]) -> str:
    """Pydantic's message in our words."""
    if error["type"] == "missing":
        return "required"
    if error["type"] == "value_error":
        return str(error["ctx"]["error"])
    if error["type"] == "dict_type":
        return "must be an object"
    message = str(error["msg"])
    return message.replace("Input should be", "must be", 1)


def _path(location: tuple[int | str, ...]) -> str:
    """`ref.base64`, `images[2]`; the names that pydantic gives to functions inside unions are left out."""
    path = ""
    for part in location:
        if isinstance(part, int):
            path += f"[{part}]"
        elif not part.endswith(("]", ")")):
            path += f".{part[:60]}" if path else part[:60]
    return path
