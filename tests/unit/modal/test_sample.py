"""A first request that nobody wrote: arguments from the schema, or none where only the user knows."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from coldstart_sdk.backends.modal import sample
from coldstart_sdk.spec import EndpointSpec, Medium
from tests.builders import a_spec, an_endpoint


def taking(schema: dict[str, Any], medium: Medium | None = None) -> EndpointSpec:
    """An endpoint whose one argument is of that kind."""
    (parameter,) = an_endpoint().parameters
    return an_endpoint(parameters=(replace(parameter, name="x", schema=schema, medium=medium),))


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"type": "string"}, "hello"),
        ({"type": "integer", "minimum": 3}, 3),
        ({"enum": ["alto", "bass"]}, "alto"),
        ({"anyOf": [{"type": "number"}, {"type": "null"}]}, 1.0),
    ],
)
def test_an_argument_fits_its_schema(schema: dict[str, Any], value: object) -> None:
    assert sample.arguments_of(taking(schema)) == {"x": value}


@pytest.mark.parametrize(
    "schema", [{"$ref": "#/x"}, {"type": "object", "required": ["a"]}, {"type": "array", "minItems": 1}]
)
def test_what_only_the_user_knows_is_not_made_up(schema: dict[str, Any]) -> None:
    assert sample.arguments_of(taking(schema)) is None


def test_the_first_endpoint_that_can_be_asked_is() -> None:
    upload = taking({"type": "object"}, Medium.AUDIO)
    spec = a_spec(upload, an_endpoint("count"))

    asked = sample.of(spec)

    assert asked
    assert asked.endpoint == "count"
    assert sample.of(a_spec(upload)) is None
