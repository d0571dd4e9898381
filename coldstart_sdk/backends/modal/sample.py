"""Arguments that an endpoint should take, made from its schema: for a first request that nobody wrote."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from coldstart_sdk.frozen import dataclass
from coldstart_sdk.spec import EndpointSpec, Spec

_VALUES: Mapping[str, object] = {
    "string": "hello",
    "integer": 1,
    "number": 1.0,
    "boolean": True,
    "array": [],
    "object": {},
    "null": None,
}
_UNKNOWN = object()


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One request."""

    endpoint: str
    streams: bool
    arguments: Mapping[str, Any]


def of(spec: Spec) -> Sample | None:
    """For the default endpoint, or the first that can be asked; None where only the user knows."""
    first = spec.default_endpoint or spec.endpoints[0]
    for endpoint in (first, *spec.endpoints):
        if (arguments := arguments_of(endpoint)) is not None:
            return Sample(endpoint=endpoint.method, streams=endpoint.streams, arguments=arguments)
    return None


def arguments_of(endpoint: EndpointSpec) -> dict[str, Any] | None:
    """The required ones; None where one of them is a file, or of no plain type."""
    made: dict[str, Any] = {}
    for parameter in endpoint.parameters:
        if parameter.required:
            value = _UNKNOWN if parameter.medium else _value(parameter.schema)
            if value is _UNKNOWN:
                return None
            made[parameter.name] = value
    return made


def _value(schema: Mapping[str, Any]) -> object:
    if "const" in schema:
        return schema["const"]
    if schema.get("enum"):
        return schema["enum"][0]
    if choices := schema.get("anyOf") or schema.get("oneOf"):
        return _value(choices[0])
    if schema.get("required") or schema.get("minItems"):
        return _UNKNOWN
    return schema.get("minimum", _VALUES.get(str(schema.get("type")), _UNKNOWN))
