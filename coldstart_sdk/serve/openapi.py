"""The endpoints of a declaration as an OpenAPI 3.1 document."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

from coldstart_sdk.media.forms import MEDIUM
from coldstart_sdk.spec import EndpointSpec, Parameter, Spec
from coldstart_sdk.wire.errors import Fault

Schema: TypeAlias = dict[str, Any]

_TYPES = {"Audio": "audio/*", "Image": "image/*", "Video": "video/*", "File": "application/octet-stream"}
_REFUSALS = {
    400: "The request or its arguments are wrong; the message says which and how.",
    403: "This Host or Origin is not allowed.",
    404: "There is no such endpoint.",
    413: "The body is too large.",
    415: "The body's type is not one of those listed.",
    429: "Every place and the queue are taken; Retry-After says when to come back.",
    500: "The endpoint failed; its log has the traceback under the id.",
    503: "The worker is starting, stopping, or could not start.",
    504: "The endpoint did not answer in time.",
}
_OWN = "#/$defs/"
_RETRIED = frozenset({429, 503})


def describe(spec: Spec, *, version: str, needs_token: bool) -> Schema:
    """The whole document; the version is the digest of what was declared."""
    kinds = _Kinds()
    paths: Schema = {f"/{endpoint.method}": _path(endpoint, kinds) for endpoint in spec.endpoints}
    if default := spec.default_endpoint:
        paths["/"] = _path(default, kinds, operation="default")
    document: Schema = {
        "openapi": "3.1.0",
        "info": {"title": spec.name, "version": version},
        "paths": paths,
        "components": {"schemas": {"Error": _error(), **kinds.named}},
    }
    for path, answer in _about().items():
        paths.setdefault(path, {})["get"] = answer
    if needs_token:
        document["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        document["security"] = [{"token": []}]
        for path in ("/health", "/ready", "/ping"):
            paths[path]["get"]["security"] = []
    return document


class _Kinds:
    """Types with names of their own, each once; two that share a name and differ get a number."""

    def __init__(self) -> None:
        self.named: dict[str, Schema] = {}

    def lift(self, schema: Mapping[str, Any]) -> Schema:
        """The schema, its own `$defs` moved to where the whole document can see them."""
        own = schema.get("$defs", {})
        names = {name: self._free(name, definition) for name, definition in own.items()}
        for name, definition in own.items():
            self.named[names[name]] = _renamed(definition, names)
        return _renamed({key: item for key, item in schema.items() if key != "$defs"}, names)  # type: ignore[no-any-return] # a mapping stays one

    def _free(self, name: str, definition: Schema) -> str:
        for candidate in _numbered(name):
            taken = {"Error": {}, **self.named}.get(candidate)
            if taken is None or taken == _renamed(definition, {name: candidate}):
                return candidate
        raise AssertionError  # there is always one more number


def _numbered(name: str) -> Iterator[str]:
    yield name
    number = 2
    while True:
        yield f"{name}{number}"
        number += 1


def _renamed(schema: Any, names: Mapping[str, str]) -> Any:  # noqa: ANN401 - any part of a schema
    """The same with every reference, in `$ref` or a discriminator, to where the type stands now."""
    if isinstance(schema, Mapping):
        return {key: _renamed(item, names) for key, item in schema.items()}
    if isinstance(schema, str) and schema.startswith(_OWN):
        name = schema.removeprefix(_OWN)
        return f"#/components/schemas/{names.get(name, name)}"
    return [_renamed(item, names) for item in schema] if isinstance(schema, (list, tuple)) else schema


def _path(endpoint: EndpointSpec, kinds: _Kinds, *, operation: str | None = None) -> Schema:
    said = endpoint.doc.partition("\n")
    post: Schema = {
        "operationId": operation or endpoint.method,
        "summary": said[0] or endpoint.method,
        "requestBody": {"required": _has_required(endpoint), "content": _bodies(endpoint, kinds)},
        "responses": {
            "200": {"description": "The result.", "content": _results(endpoint, kinds)},
            **{str(status): _refusal(status, about) for status, about in _REFUSALS.items()},
        },
    }
    if rest := said[2].strip():
        post["description"] = rest
    return {"post": post}


def _has_required(endpoint: EndpointSpec) -> bool:
    return any(parameter.required for parameter in endpoint.parameters)


def _bodies(endpoint: EndpointSpec, kinds: _Kinds) -> Schema:
    bodies: Schema = {"application/json": {"schema": _object(endpoint, kinds, as_form=False)}}
    if any(_medium(parameter.schema) for parameter in endpoint.parameters):
        bodies["multipart/form-data"] = {"schema": _object(endpoint, kinds, as_form=True)}
    return bodies


def _object(endpoint: EndpointSpec, kinds: _Kinds, *, as_form: bool) -> Schema:
    required = [parameter.name for parameter in endpoint.parameters if parameter.required]
    return {
        "type": "object",
        "properties": {
            parameter.name: _property(parameter, kinds, as_form=as_form) for parameter in endpoint.parameters
        },
        **({"required": required} if required else {}),
        "additionalProperties": False,
    }


def _property(parameter: Parameter, kinds: _Kinds, *, as_form: bool) -> Schema:
    medium = _medium(parameter.schema)
    if as_form and medium:
        part = {"type": "string", "contentMediaType": _TYPES.get(medium, "application/octet-stream")}
        return part if parameter.medium else {"type": "array", "items": part}
    schema = kinds.lift(parameter.schema)
    if not parameter.required and not parameter.medium:
        schema["default"] = parameter.default
    return schema


def _medium(schema: object) -> str | None:
    """The medium that a schema holds somewhere."""
    if isinstance(schema, Mapping):
        own = schema.get(MEDIUM)
        return str(own) if own else next(filter(None, map(_medium, schema.values())), None)
    if isinstance(schema, (list, tuple)):
        return next(filter(None, map(_medium, schema)), None)
    return None


def _results(endpoint: EndpointSpec, kinds: _Kinds) -> Schema:
    result = kinds.lift(endpoint.result)
    if endpoint.streams:
        chunk = {"type": "object", "properties": {"chunk": result}, "required": ["chunk"]}
        return {
            "application/x-ndjson": {"schema": {"anyOf": [chunk, _reference()]}},
            "text/event-stream": {
                "schema": {
                    "type": "string",
                    "description": "Each `data:` is a chunk; then `end`, or `error`.",
                }
            },
        }
    wrapped = {"type": "object", "properties": {"result": result}, "required": ["result"]}
    raw: Schema = {_TYPES[endpoint.medium.value]: {}} if endpoint.medium else {}
    return {"application/json": {"schema": wrapped}, **raw}


def _refusal(status: int, about: str) -> Schema:
    retry = {"Retry-After": {"schema": {"type": "integer"}, "description": "Seconds."}}
    return {
        "description": about,
        "content": {"application/json": {"schema": _reference()}},
        **({"headers": retry} if status in _RETRIED else {}),
    }


def _reference() -> Schema:
    return {"$ref": "#/components/schemas/Error"}


def _error() -> Schema:
    text = {"type": "string"}
    field = {
        "type": "object",
        "properties": {"field": text, "message": text},
        "required": ["field", "message"],
    }
    error = {
        "type": "object",
        "properties": {
            "type": {"enum": [fault.value for fault in Fault]},
            "message": text,
            "id": {"type": "string", "description": "The worker's log knows more under it."},
            "fields": {
                "type": "array",
                "items": field,
                "description": "Each argument that is wrong, and how.",
            },
        },
        "required": ["type", "message", "id"],
    }
    return {"type": "object", "properties": {"error": error}, "required": ["error"]}


def _about() -> dict[str, Schema]:
    """What the server says of itself."""

    def get(summary: str, **answers: str) -> Schema:
        return {
            "summary": summary,
            "responses": {code.removeprefix("_"): {"description": said} for code, said in answers.items()},
        }

    return {
        "/": get("A page for people.", _200="HTML."),
        "/health": get("Whether the process is up.", _200="It is."),
        "/ready": get(
            "Whether requests are answered at once.", _200="They are.", _503="Not now; the body says why."
        ),
        "/ping": get(
            "The same for a load balancer.",
            _200="Ready.",
            _204="Starting.",
            _503="Stopping, or could not start.",
        ),
        "/metrics": get("Figures for Prometheus.", _200="Text."),
        "/trace": get(
            "The start as a trace; `?format=chrome` for Perfetto, `svg` and `html` to look at.", _200="It."
        ),
        "/openapi.json": get("This document.", _200="JSON."),
    }
