"""`-i name=value` to the arguments of one endpoint, checked before anything starts.

A `str` is taken literally and everything else is JSON; `@file` is the file's content for media, and JSON for
the rest.
"""

from __future__ import annotations

import base64
import difflib
import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn, cast

from coldstart_sdk.errors import Problem, UsageError
from coldstart_sdk.redact import redact
from coldstart_sdk.spec import EndpointSpec, Parameter, Spec

_URLS = ("http://", "https://", "data:")


def endpoint_of(spec: Spec, name: str | None) -> EndpointSpec:
    """The endpoint of that name, or without one the default."""
    found = spec.default_endpoint if name is None else spec.endpoint(name)
    if found is not None:
        return found
    names = [endpoint.method for endpoint in spec.endpoints]
    have = f"It has {', '.join(names)}." if names else "Mark a method with @endpoint."
    if name is None:
        raise UsageError(
            f"{spec.qualname} has {len(names) or 'no'} endpoints and none is the default",
            fix=f"Name one after FILE, or mark one with @endpoint(default=True). {have}",
        )
    near = difflib.get_close_matches(name, names, n=1)
    if "=" in name:
        name, meant = name.partition("=")[0], f"-i {shlex.quote(redact(name[:60]))}"
        raise UsageError(f"{name[:60]!r} stands where an endpoint would", fix=f"Did you mean {meant}?")
    raise UsageError(
        f"{spec.qualname} has no endpoint {name!r}", fix=f"Did you mean {near[0]!r}? {have}" if near else have
    )


def arguments(endpoint: EndpointSpec, given: Sequence[str]) -> Mapping[str, Any]:
    """What a caller would send; every mistake at once."""
    known = {parameter.name: parameter for parameter in endpoint.parameters}
    problems: list[Problem] = []
    values: dict[str, Any] = {}
    for item in given:
        try:
            name, value = _one(item, known, endpoint)
            if name in values:
                _refuse(f"{name} is given twice", "Give it once.")
            values[name] = value
        except UsageError as error:  # noqa: PERF203 - every mistake is shown, not the first
            problems += error.problems
    problems += _missing(known.values(), {item.partition("=")[0] for item in given})
    if problems:
        raise UsageError.of(tuple(problems))
    return values


def first_call(spec: Spec, file: str) -> str:
    """The `run` that reaches an endpoint of the declaration, with something for each argument it needs."""
    words = ["coldstart", "run", shlex.quote(file)]
    if endpoint := spec.default_endpoint or next(iter(spec.endpoints), None):
        words += [] if spec.default_endpoint else [endpoint.method]
        words += [f"-i {_example(parameter)}" for parameter in endpoint.parameters if parameter.required]
    return " ".join(words)


def example(schema: Any) -> object:  # noqa: ANN401 - a JSON schema
    """A value that the schema may well take."""
    for word in ("const", "default", "minimum"):
        if word in schema:
            return cast("object", schema[word])
    if "exclusiveMinimum" in schema:
        return cast("object", schema["exclusiveMinimum"] + 1)
    for word in ("enum", "anyOf"):
        if schema.get(word):
            first = schema[word][0]
            return first if word == "enum" else example(first)
    return _EXAMPLES.get(str(schema.get("type")), "hello")


_EXAMPLES: Mapping[str, object] = {"integer": 1, "number": 1.0, "boolean": True, "array": [], "object": {}}


def _example(parameter: Parameter) -> str:
    if parameter.medium:
        return f"{parameter.name}=@file"
    value = example(parameter.schema)
    return shlex.quote(f"{parameter.name}={value if parameter.text else json.dumps(value)}")


def _one(item: str, known: Mapping[str, Parameter], endpoint: EndpointSpec) -> tuple[str, Any]:
    name, equals, text = item.partition("=")
    if not equals:
        _refuse(f"-i {item[:40]!r} has no `=`", "Write -i name=value.")
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        have = f"It takes {', '.join(known)}." if known else "It takes nothing."
        _refuse(
            f"{endpoint.method} takes no argument {name!r}",
            f"Did you mean {near[0]!r}? {have}" if near else have,
        )
    return name, _value(known[name], text)


def _value(parameter: Parameter, text: str) -> Any:  # noqa: ANN401 - plain JSON has no closer type
    if not _is_text(text):
        _refuse(f"{parameter.name} is not UTF-8", "Set a UTF-8 locale, such as LC_ALL=C.UTF-8.")
    if parameter.text:
        return text
    if parameter.medium is not None and not text.startswith("{"):
        return _medium(parameter, text)
    if text.startswith("@"):
        text = _text_of(_file(parameter, text[1:]), parameter)
    try:
        return json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        kind = parameter.schema.get("type", "JSON")
        quoted = (
            ""
            if kind in {"integer", "number", "boolean"}
            else f" A string is written -i '{parameter.name}=\"…\"'."
        )
        _refuse(
            f"{parameter.name} is not JSON, and {_a(str(kind))} is expected",
            f"Write -i {parameter.name}=JSON, or -i {parameter.name}=@file.json.{quoted}",
        )


def _medium(parameter: Parameter, text: str) -> Any:  # noqa: ANN401 - as above
    if text.startswith(_URLS):
        return text
    if not text.startswith("@"):
        hint = f"@{text}" if Path(text).is_file() else "@file"
        _refuse(
            f"{parameter.name} takes {parameter.medium and parameter.medium.value}, from a file or a URL",
            f"Write -i {parameter.name}={hint}, or -i {parameter.name}=https://….",
        )
    path = _file(parameter, text[1:])
    from coldstart_sdk.media import kinds  # noqa: PLC0415 - only for an upload

    content = _read(path, parameter)
    told = kinds.sniff(content[: kinds.HEAD_BYTES]) or kinds.of_name(path.name)
    packed = {"base64": base64.b64encode(content).decode("ascii"), "name": path.name}
    return {**packed, "type": told} if told else packed


def _file(parameter: Parameter, name: str) -> Path:
    path = Path(name).expanduser()
    if path.is_dir():
        _refuse(f"{parameter.name}: {name} is a folder", "Give the path of a file after the @.")
    if not path.is_file():  # also keeps a pipe from being waited for
        beside = [file.name for file in path.parent.iterdir()] if path.parent.is_dir() else []
        near = difflib.get_close_matches(path.name, beside, n=1)
        _refuse(
            f"{parameter.name}: there is no file {name}",
            f"Did you mean @{path.parent / near[0]}?" if near else "Give the path of a file after the @.",
        )
    return path


def _read(path: Path, parameter: Parameter) -> bytes:
    try:
        return path.read_bytes()
    except OSError as refused:
        _refuse(f"{parameter.name}: {path} cannot be read: {refused.strerror}", "Make it readable.")


def _text_of(path: Path, parameter: Parameter) -> str:
    try:
        return _read(path, parameter).decode("utf-8-sig")
    except UnicodeDecodeError:
        _refuse(f"{parameter.name}: {path} is not UTF-8", "Save it as UTF-8.")


def _missing(parameters: Any, given: set[str]) -> list[Problem]:  # noqa: ANN401 - a view of parameters
    return [
        Problem(
            message=f"the argument {parameter.name} is missing",
            fix=f"Add -i {parameter.name}={'@file' if parameter.medium else '…'}.",
        )
        for parameter in parameters
        if parameter.required and parameter.name not in given
    ]


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _a(noun: str) -> str:
    return f"{'an' if noun[0] in 'aeio' else 'a'} {noun}"


def _refuse(message: str, fix: str) -> NoReturn:
    raise UsageError(message, fix=fix)
