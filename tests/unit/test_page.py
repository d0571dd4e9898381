"""The page as it is sent: whole, safe, and with a form for every endpoint."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from importlib.resources import files
from typing import Any

import pytest

from coldstart_sdk import entry
from coldstart_sdk.declare.read import read
from coldstart_sdk.errors import Problem
from coldstart_sdk.events import State
from coldstart_sdk.lifecycle import Status
from coldstart_sdk.progress import Reading
from coldstart_sdk.serve import page
from coldstart_sdk.serve.fields import field
from coldstart_sdk.spec import CallStyle, EndpointSpec, Medium, Parameter, Spec
from tests.builders import a_spec, an_endpoint

READY = Status(state=State.READY)
DONE = Reading(percent=100, eta_s=0.0, running=())
TEMPLATES = ("blank", "llm", "tts", "video")
HOSTILE = "\"'></textarea></script><script>alert(1)</script><!--&lt;"


class Seen(HTMLParser):
    """The elements of a document, in order, and its text."""

    def __init__(self, document: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(document)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def all(self, tag: str, **attributes: str) -> list[dict[str, str | None]]:
        return [
            found
            for name, found in self.elements
            if name == tag and all(found.get(key) == value for key, value in attributes.items())
        ]


def rendered(spec: Spec, status: Status = READY, reading: Reading = DONE) -> str:
    return page.render(spec, "sha256:0", status, reading)


def a_parameter(schema: dict[str, Any], **fields: Any) -> Parameter:  # noqa: ANN401 - fields of a record, each of its own type
    parameter = Parameter(name="a", required=True, default=None, schema=schema, text=False, medium=None)
    return replace(parameter, **fields)


def control(parameter: Parameter) -> tuple[dict[str, str | None], str, dict[str, str | None]]:
    """The field, and its control: the element's name and its attributes."""
    seen = Seen(field(an_endpoint(), parameter))
    name, attributes = next(each for each in seen.elements if each[0] in {"input", "textarea", "select"})
    return seen.elements[0][1], name, attributes


@pytest.fixture(scope="module")
def templates(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Spec]]:
    """What `coldstart init` writes, declared under names that no two modules share."""
    folder, before = tmp_path_factory.mktemp("templates"), list(sys.path)
    found = {}
    for name in TEMPLATES:
        source = (files("coldstart_sdk.cli") / "templates" / name / "app.py").read_text(encoding="utf-8")
        (folder / f"page_of_{name}.py").write_text(source, encoding="utf-8")
        (folder / "corpus.txt").touch()
        found[name] = read(entry.load(str(folder / f"page_of_{name}.py")))
    yield found
    sys.path[:] = before
    for name in TEMPLATES:
        sys.modules.pop(f"page_of_{name}", None)


def policy() -> str:
    return dict(page.headers())[b"content-security-policy"].decode()


@pytest.mark.parametrize("name", TEMPLATES)
def test_every_endpoint_has_a_form_and_every_argument_a_labelled_control(
    name: str, templates: dict[str, Spec]
) -> None:
    spec = templates[name]
    seen = Seen(rendered(spec))

    for endpoint in spec.endpoints:
        assert len(seen.all("form", action=endpoint.method)) == 1
        for parameter in endpoint.parameters:
            at = f"{endpoint.method}.{parameter.name}"
            assert len(seen.all("label", **{"for": at})) == 1
            assert [tag for tag, attributes in seen.elements if attributes.get("id") == at] != []


@pytest.mark.parametrize("name", TEMPLATES)
def test_the_page_is_small(name: str, templates: dict[str, Spec]) -> None:
    assert len(rendered(templates[name]).encode()) < 40_000


@pytest.mark.parametrize("tag", ["script", "style"])
def test_the_policy_allows_the_very_script_and_style_that_are_there(tag: str) -> None:
    inside = re.findall(f"<{tag}>(.*?)</{tag}>", rendered(a_spec()), re.DOTALL)

    assert len(inside) == 1
    digest = base64.b64encode(hashlib.sha256(inside[0].encode()).digest()).decode()
    assert f"{tag}-src 'sha256-{digest}'" in policy()


def test_the_policy_allows_nothing_else() -> None:
    rules = dict(rule.split(" ", 1) for rule in policy().split("; "))

    assert rules["default-src"] == "'none'"
    assert rules["connect-src"] == "'self'"
    assert "unsafe" not in policy()
    assert rules["require-trusted-types-for"] == "'script'"


def test_nothing_comes_from_anywhere_else(templates: dict[str, Spec]) -> None:
    seen = Seen(rendered(templates["tts"]))
    addresses = [
        value
        for _, found in seen.elements
        for key, value in found.items()
        if key in {"src", "href", "action"}
    ]

    assert addresses
    assert [each for each in addresses if each and re.match(r"(?!data:)[a-z]+:|//", each)] == []
    assert not re.search(r"https?://|@import|url\(", rendered(templates["tts"]))


def test_no_element_has_a_style_or_a_handler_of_its_own(templates: dict[str, Spec]) -> None:
    seen = Seen(rendered(templates["tts"]))

    assert [
        key for _, found in seen.elements for key in found if key == "style" or key.startswith("on")
    ] == []


def test_the_script_makes_elements_of_no_text_but_the_page_itself() -> None:
    script = (files("coldstart_sdk.serve") / "page.js").read_text(encoding="utf-8")

    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function", script
    )
    assert script.count("parseFromString") == script.count("page.createHTML(") == 1


def hostile_spec() -> Spec:
    parameters = (
        a_parameter({"type": "string", "description": HOSTILE}, name=HOSTILE, text=True),
        a_parameter({"type": "string"}, name="b", required=False, default=HOSTILE, text=True),
        a_parameter({"enum": [HOSTILE, "x"]}, name="c", text=True),
        a_parameter({"type": "object", "properties": {HOSTILE: {"const": HOSTILE}}}, name="d"),
        a_parameter({"type": "array"}, name="e", required=False, default=[HOSTILE]),
    )
    return a_spec(
        an_endpoint(method="speak", doc=f"{HOSTILE}\n{HOSTILE}", parameters=parameters), name=HOSTILE
    )


def test_no_name_doc_default_or_reason_becomes_an_element() -> None:
    plain, hostile = (
        Seen(rendered(a_spec())),
        Seen(
            rendered(
                hostile_spec(),
                Status(state=State.FAILED, problem=Problem(message=HOSTILE, where=HOSTILE, fix=HOSTILE)),
                Reading(percent=3, eta_s=None, running=(HOSTILE,)),
            )
        ),
    )

    assert len(hostile.all("script")) == len(plain.all("script")) == 1
    assert sum(HOSTILE in text for text in hostile.texts) >= 7
    assert json.dumps(HOSTILE) in [option["value"] for option in hostile.all("option")]
    assert hostile.all("div", **{"data-name": HOSTILE})


def test_no_two_elements_share_an_id() -> None:
    spec = a_spec(an_endpoint("speak"), an_endpoint("sing"))
    ids = [found["id"] for _, found in Seen(rendered(spec)).elements if "id" in found]

    assert len(ids) == len(set(ids))


def test_only_the_default_endpoint_is_open() -> None:
    spec = a_spec(an_endpoint("speak"), an_endpoint("sing", default=True))
    document = rendered(spec)

    assert re.findall(r"<details class=\"endpoint\"( open)?>.*?/(\w+)</code>", document, re.DOTALL) == [
        ("", "speak"),
        (" open", "sing"),
    ]


def test_a_start_says_how_far_it_is_before_any_script_runs() -> None:
    document = rendered(
        a_spec(), Status(state=State.STARTING), Reading(percent=42, eta_s=None, running=("load:voice",))
    )

    assert "42 %, load:voice" in "".join(Seen(document).texts)
    assert Seen(document).all("progress", value="42")


def test_without_the_token_the_page_tells_the_state_and_no_name() -> None:
    seen = Seen(page.render_locked(Status(state=State.STARTING)))

    assert "starting" in seen.texts
    assert [form["id"] for form in seen.all("form")] == ["unlock"]
    assert "hidden" not in seen.all("form")[0]


KINDS: list[tuple[dict[str, Any], dict[str, Any], str, str, str | None]] = [
    # schema, the rest of the parameter, kind, control, what an empty one means
    ({"type": "string"}, {"text": True}, "text", "textarea", None),
    ({"type": "string", "maxLength": 8}, {"text": True}, "text", "input", None),
    ({"type": "string", "format": "date"}, {}, "text", "textarea", None),
    ({"type": "integer"}, {}, "number", "input", "omit"),
    ({"type": "number"}, {"required": False, "default": 1.5}, "number", "input", "omit"),
    ({"type": "boolean"}, {"required": False, "default": True}, "switch", "input", "omit"),
    ({"enum": ["a", "b"]}, {"text": True}, "choice", "select", "omit"),
    ({"const": 3}, {}, "choice", "select", "omit"),
    ({"anyOf": [{"type": "string"}, {"type": "null"}]}, {"required": False}, "text", "textarea", "omit"),
    ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, {}, "number", "input", "null"),
    ({"anyOf": [{"type": "boolean"}, {"type": "null"}]}, {"required": False}, "choice", "select", "omit"),
    ({"anyOf": [{"type": "integer"}, {"type": "string"}]}, {}, "json", "textarea", "omit"),
    ({"$ref": "#/$defs/E", "$defs": {"E": {"enum": [1, 2]}}}, {}, "choice", "select", "omit"),
    ({"$ref": "#/$defs/E", "$defs": {"E": {"$ref": "#/$defs/E"}}}, {}, "json", "textarea", "omit"),
    ({"type": "array", "items": {"type": "string"}}, {}, "json", "textarea", "omit"),
    ({"type": "object"}, {}, "json", "textarea", "omit"),
    ({}, {}, "json", "textarea", "omit"),
    ({"x-coldstart-medium": "Audio", "anyOf": []}, {"medium": Medium.AUDIO}, "file", "input", "omit"),
    ({"type": "array", "items": {"x-coldstart-medium": "File"}}, {}, "file", "input", "omit"),
]


@pytest.mark.parametrize(("schema", "rest", "kind", "element", "empty"), KINDS)
def test_each_type_of_argument_has_its_control(
    schema: dict[str, Any], rest: dict[str, Any], kind: str, element: str, empty: str | None
) -> None:
    around, name, _ = control(a_parameter(schema, **rest))

    assert (around["data-kind"], name, around.get("data-empty")) == (kind, element, empty)


def test_a_number_keeps_its_bounds() -> None:
    _, _, attributes = control(a_parameter({"type": "integer", "minimum": 1, "maximum": 50}))

    assert (attributes["min"], attributes["max"], attributes["step"]) == ("1", "50", "1")


def test_an_upload_asks_for_its_own_kind_of_file() -> None:
    _, _, one = control(a_parameter({"x-coldstart-medium": "Audio"}, medium=Medium.AUDIO))
    _, _, many = control(a_parameter({"type": "array", "items": {"x-coldstart-medium": "Image"}}))

    assert (one["accept"], "multiple" in one) == ("audio/*", False)
    assert (many["accept"], "multiple" in many) == ("image/*", True)


def test_json_comes_with_a_sample_of_its_shape() -> None:
    voice = {
        "type": "object",
        "properties": {
            "pitch": {"type": "number"},
            "name": {"type": "string", "default": "anna"},
            "tags": {"type": "array", "items": {"type": "string"}},
            "next": {"anyOf": [{"$ref": "#/$defs/Voice"}, {"type": "null"}], "default": None},
        },
    }
    _, _, attributes = control(a_parameter({"$ref": "#/$defs/Voice", "$defs": {"Voice": voice}}))

    assert json.loads(str(attributes["placeholder"])) == {
        "pitch": 0,
        "name": "anna",
        "tags": ["…"],
        "next": None,
    }


def test_a_type_that_holds_itself_has_a_sample_that_ends() -> None:
    tree = {"type": "object", "properties": {"below": {"$ref": "#/$defs/Tree"}}}
    _, _, attributes = control(a_parameter({"$ref": "#/$defs/Tree", "$defs": {"Tree": tree}}))

    assert str(attributes["placeholder"]).startswith('{"below": {')


@pytest.mark.parametrize(
    ("endpoint", "accept", "streams"),
    [
        (an_endpoint(medium=Medium.AUDIO), "audio/*, application/json;q=0.5", False),
        (an_endpoint(medium=Medium.FILE), None, False),
        (an_endpoint(medium=Medium.AUDIO, style=CallStyle.GENERATOR), None, True),
    ],
)
def test_media_are_asked_for_as_they_are_except_in_a_stream(
    endpoint: EndpointSpec,
    accept: str | None,
    streams: bool,  # noqa: FBT001 - a parameter of the table
) -> None:
    (form,) = Seen(rendered(a_spec(endpoint))).all("form", action="speak")

    assert (form.get("data-accept"), "data-streams" in form) == (accept, streams)
