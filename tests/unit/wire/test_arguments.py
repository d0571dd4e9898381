"""A call's arguments fit the annotations or are refused, all at once; results are what was declared."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any, Literal, cast

import pytest
from pydantic import BaseModel, TypeAdapter

from coldstart_sdk.errors import DeclarationError
from coldstart_sdk.media import Audio, File, Image, forms
from coldstart_sdk.spec import (
    CallStyle,
    ContainerSpec,
    EndpointSpec,
    Medium,
    Parameter,
    ScaleSpec,
    Snapshot,
    Spec,
)
from coldstart_sdk.wire.arguments import Endpoint, prepare
from coldstart_sdk.wire.errors import BadArguments, BadField, ResultError

SOUND = Audio.silence("1ms")
PNG = Image.from_bytes(b"\x89PNG\r\n\x1a\n")


class Style(BaseModel):
    mood: Literal["calm", "glad"]
    picture: Image | None = None


class Model:
    def speak(  # noqa: PLR0913, PLR0917 - as many as a real one has
        self,
        text: str,
        speed: float = 1.0,
        steps: int = 32,
        ref: Audio = SOUND,
        style: Style | None = None,
        refs: list[Audio] = [],  # noqa: B006 - what users write
    ) -> Audio:
        raise NotImplementedError

    def score(self, text: str, copy: str | None = None) -> dict[str, float]:
        raise NotImplementedError

    def anything(self, text, _x=None):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201 - users may
        return text

    def count(self, to: int) -> Iterator[int]:
        yield from range(to)

    async def hear(self, sound: Audio) -> AsyncIterator[str]:
        yield sound.type


def a_parameter(name: str, kind: Any = Any, *, required: bool = False) -> Parameter:  # noqa: ANN401 - any type form
    return Parameter(
        name=name,
        required=required,
        default=None,
        schema=TypeAdapter(kind).json_schema(),
        text=kind is str,
        medium=Medium(kind.__name__) if isinstance(kind, type) and issubclass(kind, (Audio, Image)) else None,
    )


def an_endpoint(
    method: str, *parameters: Parameter, style: CallStyle = CallStyle.PLAIN, medium: Medium | None = None
) -> EndpointSpec:
    return EndpointSpec(
        method=method,
        style=style,
        default=False,
        timeout_s=None,
        parameters=parameters,
        result={},
        medium=medium,
        doc="",
    )


def a_spec(*endpoints: EndpointSpec) -> Spec:
    return Spec(
        name="model",
        module="model",
        qualname="Model",
        gpu=(),
        image=ContainerSpec(),
        weights={},
        store=None,
        place=None,
        volume=None,
        read_url=None,
        results=None,
        snapshot=Snapshot.NONE,
        scale=ScaleSpec(),
        timeout_s=60,
        imports=(),
        env={},
        secrets=(),
        overrides={},
        hooks=(),
        endpoints=endpoints,
    )


SPEC = a_spec(
    an_endpoint(
        "speak",
        a_parameter("text", str, required=True),
        a_parameter("speed", float),
        a_parameter("steps", int),
        a_parameter("ref", Audio),
        a_parameter("style", Style | None),
        a_parameter("refs", list[Audio]),
        medium=Medium.AUDIO,
    ),
    an_endpoint("score", a_parameter("text", str, required=True), a_parameter("copy", str | None)),
    an_endpoint("anything", a_parameter("text", required=True), a_parameter("_x")),
    an_endpoint("count", a_parameter("to", int, required=True), style=CallStyle.GENERATOR),
    an_endpoint("hear", a_parameter("sound", Audio, required=True), style=CallStyle.ASYNC_GENERATOR),
)


def _no_network(url: str) -> File:
    raise ValueError(f"asked for {url}")


@pytest.fixture(scope="module")
def endpoints() -> dict[str, Endpoint]:
    return dict(prepare(Model, SPEC, fetch=_no_network))


def test_absent_arguments_stay_absent_so_that_defaults_are_the_method_s_own(
    endpoints: dict[str, Endpoint],
) -> None:
    assert endpoints["speak"].bind({"text": "hi"}) == {"text": "hi"}


def test_arguments_become_what_the_annotations_say(endpoints: dict[str, Endpoint]) -> None:
    wire = json.dumps(
        {
            "text": "hi",
            "speed": 2,
            "steps": "3",
            "ref": forms.write(SOUND),
            "style": {"mood": "calm", "picture": forms.write(PNG)},
            "refs": [forms.write(SOUND)],
        }
    )

    assert endpoints["speak"].bind(json.loads(wire)) == {
        "text": "hi",
        "speed": 2.0,
        "steps": 3,
        "ref": SOUND,
        "style": Style(mood="calm", picture=PNG),
        "refs": [SOUND],
    }


def test_an_upload_is_taken_as_the_medium_that_is_declared(endpoints: dict[str, Endpoint]) -> None:
    bound = endpoints["hear"].bind({"sound": File.from_bytes(SOUND.bytes, name="a.wav")})

    assert bound == {"sound": SOUND}


def test_names_that_models_reserve_are_free_for_parameters(endpoints: dict[str, Endpoint]) -> None:
    assert endpoints["score"].bind({"text": "a", "copy": "b"}) == {"text": "a", "copy": "b"}
    assert endpoints["anything"].bind({"text": [1], "_x": {}}) == {"text": [1], "_x": {}}


def test_an_endpoint_says_whether_a_call_may_fetch(endpoints: dict[str, Endpoint]) -> None:
    assert {name for name, endpoint in endpoints.items() if endpoint.takes_media} == {"speak", "hear"}


def test_all_that_is_wrong_is_told_at_once(endpoints: dict[str, Endpoint]) -> None:
    with pytest.raises(BadArguments) as caught:
        endpoints["speak"].bind(
            {
                "txt": "hi",
                "steps": "many",
                "ref": {"base64": "?"},
                "style": {"mood": "angry", "picture": "x"},
                "refs": [forms.write(SOUND), "http://host/a.wav"],
            }
        )

    told = {bad.field: bad.message for bad in caught.value.fields}
    assert told["text"] == "required"
    assert told["txt"] == "unknown argument, did you mean text?"
    assert "valid integer" in told["steps"]
    assert "base64 is broken" in told["ref"]
    assert "'calm' or 'glad'" in told["style.mood"]
    assert "URL was expected" in told["style.picture"]
    assert told["refs[1]"] == "asked for http://host/a.wav"
    assert len(told) == 7
    assert "text: required" in caught.value.message


def _deep(depth: int) -> object:
    value: object = "x"
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("method", "arguments", "field", "said"),
    [
        ("score", None, "arguments", "must be an object"),
        ("score", [], "arguments", "must be an object"),
        ("score", [float("nan")], "arguments", "must be an object"),
        ("score", "x", "arguments", "must be an object"),
        ("score", {}, "text", "required"),
        ("score", {"text": None}, "text", "valid string"),
        ("score", {"text": 1}, "text", "valid string"),
        ("score", {"text": "\ud800"}, "text", "half a character"),
        ("score", {"\ud800": 1}, "\\ud800", "half a character"),
        ("speak", {"text": "a", "speed": float("nan")}, "speed", "NaN"),
        ("speak", {"text": "a", "speed": "inf"}, "speed", "finite"),
        ("anything", {"text": {"a": [float("inf")]}}, "text", "infinity"),
        ("anything", {"text": _deep(100_000)}, "arguments", "nested too deeply"),
        ("score", {f"k{i}": 1 for i in range(1_000_000)}, "arguments", "1000000 were given"),
        ("score", {"text": "a", "zzz": 1}, "zzz", "there are text, copy"),
        ("hear", {"sound": {"base64": "aGVsbG8"}}, "sound", "padding"),
        ("hear", {"sound": "aGVsbG8="}, "sound", "URL was expected"),
        ("hear", {"sound": "file:///etc/passwd"}, "sound", "URL was expected"),
        ("hear", {"sound": "gopher://host/"}, "sound", "URL was expected"),
        ("hear", {"sound": "/etc/passwd"}, "sound", "URL was expected"),
    ],
)
def test_bad_arguments_are_named(
    endpoints: dict[str, Endpoint], method: str, arguments: object, field: str, said: str
) -> None:
    with pytest.raises(BadArguments, match=said) as caught:
        endpoints[method].bind(cast("dict[str, object]", arguments))

    assert caught.value.fields[0].field == field
    assert "Traceback" not in caught.value.message
    assert len(caught.value.message) < 500


@pytest.mark.parametrize("text", ["aGVs\nbG8=\n", "data:;base64,aGVsbG8="])
def test_base64_with_line_breaks_or_a_data_prefix_is_taken(endpoints: dict[str, Endpoint], text: str) -> None:
    assert endpoints["hear"].bind({"sound": {"base64": text}}) == {"sound": Audio.from_bytes(b"hello")}


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1/a", "http://2130706433/", "http://[::1]/a?secret", "http://u:pw@1.1.1.1/"]
)
def test_urls_into_our_own_network_are_bad_arguments(url: str) -> None:
    endpoint = prepare(Model, SPEC)["hear"]

    with pytest.raises(BadArguments, match=r"not on the public internet|user name or password") as caught:
        endpoint.bind({"sound": url})

    assert caught.value.fields[0].field == "sound"
    assert "secret" not in caught.value.message
    assert "pw" not in caught.value.message.replace("password", "")


@pytest.mark.parametrize(
    ("method", "value", "wire"),
    [
        ("speak", SOUND, forms.write(SOUND)),
        ("score", {"a": 1}, {"a": 1.0}),
        ("count", 3, 3),
        ("hear", "x", "x"),
        ("anything", {"a": None}, {"a": None}),
    ],
)
def test_results_and_chunks_are_checked_against_the_annotation(
    endpoints: dict[str, Endpoint], method: str, value: object, wire: object
) -> None:
    assert endpoints[method].answer(value).value == wire


def test_a_number_of_numpy_is_the_number_that_was_declared(endpoints: dict[str, Endpoint]) -> None:
    numpy = pytest.importorskip("numpy")

    assert endpoints["count"].answer(numpy.int32(3)).value == 3
    assert endpoints["score"].answer({"a": numpy.float32(0.5)}).value == {"a": 0.5}


@pytest.mark.parametrize(
    ("method", "value", "said"),
    [
        ("speak", None, "speak returned NoneType, and declares Audio"),
        ("speak", "out.wav", "speak returned str, and declares Audio"),
        ("speak", PNG, "speak returned Image, and declares Audio"),
        ("speak", b"RIFF", "bytes cannot be sent"),
        ("score", None, "score returned NoneType, which is not what it declares"),
        ("score", {"a": "much"}, "not what it declares: a: must be a valid number"),
        ("count", "x", "count returned str"),
        ("anything", object(), "object cannot be sent"),
    ],
)
def test_a_result_that_was_not_declared_is_named(
    endpoints: dict[str, Endpoint], method: str, value: object, said: str
) -> None:
    with pytest.raises(ResultError, match=said):
        endpoints[method].answer(value)


def test_a_result_of_a_declared_model_is_written_as_that_model() -> None:
    @dataclasses.dataclass
    class Score:
        value: float

    class Judge:
        def judge(self) -> Score:
            return Score(1.0)

    Judge.judge.__annotations__["return"] = Score
    endpoint = prepare(Judge, a_spec(an_endpoint("judge")))["judge"]

    assert endpoint.answer(Score(value=2)).value == {"value": 2}
    assert endpoint.answer({"value": "2"}).value == {"value": 2.0}


def test_an_annotation_that_nobody_can_find_is_a_declaration_error() -> None:
    class Lost:
        def speak(self, text: Missing) -> None: ...  # type: ignore[name-defined]  # noqa: F821 - the mistake

    with pytest.raises(DeclarationError, match=r"'Missing' cannot be resolved") as caught:
        prepare(Lost, a_spec(an_endpoint("speak", a_parameter("text"))))

    assert "TYPE_CHECKING" in caught.value.fix


def test_a_type_that_nobody_can_check_is_a_declaration_error() -> None:
    class Opaque:
        def speak(self, text: object) -> None: ...

    Opaque.speak.__annotations__["text"] = type("Own", (), {})
    with pytest.raises(DeclarationError, match="cannot check"):
        prepare(Opaque, a_spec(an_endpoint("speak", a_parameter("text"))))


def test_a_flood_of_wrong_fields_is_not_echoed(endpoints: dict[str, Endpoint]) -> None:
    with pytest.raises(BadArguments) as caught:
        endpoints["speak"].bind({"text": "a", "refs": ["x"] * 1000})

    assert len(caught.value.fields) == 21
    assert caught.value.fields[-1] == BadField(field="arguments", message="980 more problems")
