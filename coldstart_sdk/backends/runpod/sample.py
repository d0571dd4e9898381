"""The request that a new worker is tried with: the project's own, or one made from an endpoint's schema."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from coldstart_sdk.errors import BundleError
from coldstart_sdk.plan import Plan

NAME = "test_input.json"
READY = {"endpoint": "ready", "wait": True}
"""Asks a worker only how it is: where every endpoint needs a file, nobody but the user has a request."""
_VALUES: Mapping[str, Any] = {
    "string": "hello",
    "integer": 1,
    "number": 1.0,
    "boolean": False,
    "array": [],
    "object": {},
}


def of(plan: Plan, project: Path) -> dict[str, Any]:
    """What stands under `input`; never nothing, for RunPod has a job without any input fail."""
    file = project / NAME
    return _own(file, plan) if file.is_file() else _made(plan)


def in_bundle(bundle: Path) -> dict[str, Any]:
    """The same, as a bundle was compiled with it: all of the job."""
    given: dict[str, Any] = json.loads((bundle / NAME).read_text(encoding="utf-8"))
    return given


def _own(file: Path, plan: Plan) -> dict[str, Any]:
    try:
        given = json.loads(file.read_text(encoding="utf-8"))["input"]
    except (OSError, ValueError, KeyError, TypeError):
        given = None
    if not isinstance(given, dict) or not given:
        raise BundleError(
            f"{NAME} holds no request",
            fix='Write {"input": {"endpoint": "speak", "text": "hi"}}, or remove the file.',
            where=str(file),
        )
    name = given.get("endpoint")
    if name is not None and given != READY and plan.spec.endpoint(str(name)) is None:
        have = ", ".join(endpoint.method for endpoint in plan.spec.endpoints)
        raise BundleError(
            f"{NAME} asks for an endpoint {name!r:.40}, and there is none",
            fix=f"There are {have}.",
            where=str(file),
        )
    return given


def _made(plan: Plan) -> dict[str, Any]:
    spec = plan.spec
    first = spec.default_endpoint or spec.endpoints[0]
    for endpoint in (first, *spec.endpoints):
        required = [parameter for parameter in endpoint.parameters if parameter.required]
        if not any(parameter.medium for parameter in required):
            arguments = {parameter.name: _value(parameter.schema) for parameter in required}
            needs_no_name = bool(arguments) and len(spec.endpoints) == 1
            return arguments if needs_no_name else {"endpoint": endpoint.method, **arguments}
    return dict(READY)


def _value(schema: Mapping[str, Any]) -> object:
    if "const" in schema or "enum" in schema:
        return schema.get("const", schema.get("enum", [None])[0])
    for word in ("default", "minimum"):
        if word in schema:
            return schema[word]
    choices = schema.get("anyOf") or schema.get("oneOf")
    if choices:
        return _value(choices[0])
    return _VALUES.get(str(schema.get("type")))
