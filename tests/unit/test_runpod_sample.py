"""The request that a new worker is tried with."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from coldstart_sdk.backends.runpod import backend, sample
from coldstart_sdk.errors import BundleError
from coldstart_sdk.plan import Plan
from coldstart_sdk.planner import plan
from coldstart_sdk.spec import EndpointSpec, Medium, Parameter
from tests.builders import LOAD, a_spec, an_endpoint

REF = Parameter(
    name="ref", required=True, default=None, medium=Medium.AUDIO, text=False, schema={"type": "object"}
)


def planned(*endpoints: EndpointSpec) -> Plan:
    return plan(a_spec(LOAD, *endpoints), "runpod", backend.capabilities, sdk="1.2.3")


def with_file(method: str = "clone") -> EndpointSpec:
    return replace(an_endpoint(method), parameters=(REF,))


def test_it_is_made_of_what_the_endpoint_needs(tmp_path: Path) -> None:
    assert sample.of(planned(an_endpoint()), tmp_path) == {"text": "hello"}


def test_of_several_endpoints_the_one_that_is_asked_is_named(tmp_path: Path) -> None:
    made = planned(an_endpoint("speak"), an_endpoint("sing"))

    assert sample.of(made, tmp_path) == {"endpoint": "speak", "text": "hello"}


def test_it_is_never_empty(tmp_path: Path) -> None:
    bare = replace(an_endpoint("speak"), parameters=())

    assert sample.of(planned(bare), tmp_path) == {"endpoint": "speak"}


def test_no_file_is_made_up_another_endpoint_is_asked(tmp_path: Path) -> None:
    made = planned(with_file(), an_endpoint("speak"))

    assert sample.of(made, tmp_path) == {"endpoint": "speak", "text": "hello"}


def test_where_every_endpoint_needs_a_file_the_worker_is_asked_how_it_is(tmp_path: Path) -> None:
    assert sample.of(planned(with_file()), tmp_path) == {"endpoint": "ready", "wait": True}


def test_the_projects_own_request_is_taken_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "test_input.json").write_text(
        '{"input": {"endpoint": "clone", "ref": "https://example.org/a.wav"}}'
    )

    assert sample.of(planned(with_file()), tmp_path)["ref"] == "https://example.org/a.wav"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "holds no request"),
        ("[]", "holds no request"),
        ('{"text": "hi"}', "holds no request"),
        ('{"input": {}}', "holds no request"),
        ('{"input": {"endpoint": "sing"}}', "'sing', and there is none"),
    ],
)
def test_a_file_that_is_no_request_is_refused_with_its_mend(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "test_input.json").write_text(text)

    with pytest.raises(BundleError, match=said) as refused:
        sample.of(planned(an_endpoint()), tmp_path)
    assert refused.value.fix
    assert refused.value.where == str(tmp_path / "test_input.json")
