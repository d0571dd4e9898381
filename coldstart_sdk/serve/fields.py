"""What a person fills in for one argument: its schema as a part of an HTML form.

The page's script is told how to spell a value, and nothing else of the schema: whether it will do is the
worker's to say.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any, NewType, TypeAlias

from coldstart_sdk.media.forms import MEDIUM
from coldstart_sdk.spec import EndpointSpec, Parameter

Html = NewType("Html", str)
"""Markup; any other text goes through `text` first."""
Schema: TypeAlias = Mapping[str, Any]

_ACCEPT = {"Audio": "audio/*", "Image": "image/*", "Video": "video/*"}
_WORDS = {"text": "text", "switch": "yes or no", "choice": "a choice", "file": "a file", "json": "JSON"}
_BOUNDS = {
    "minimum": "at least",
    "exclusiveMinimum": "above",
    "maximum": "at most",
    "exclusiveMaximum": "below",
    "minLength": "characters at least",
    "maxLength": "characters at most",
}
_SAMPLES = {"string": "…", "boolean": False, "integer": 0, "number": 0}
_DEEPEST = 4
_LONGEST_HINT = 300
_SHORT = 40
"""A text that may not be longer gets one line."""


def text(said: object) -> Html:
    return Html(escape(str(said)))


def tag(name: str, *inner: Html, **attributes: object) -> Html:
    """One element; `class_` and `data_kind` are `class` and `data-kind`, None and False are left out."""
    said = "".join(_attribute(key, value) for key, value in attributes.items())
    return Html(f"<{name}{said}>{''.join(inner)}</{name}>")


def void(name: str, **attributes: object) -> Html:
    """An element without an end."""
    return Html(f"<{name}{''.join(_attribute(key, value) for key, value in attributes.items())}>")


def field(endpoint: EndpointSpec, parameter: Parameter) -> Html:
    """A labelled control, what it takes, and room for what is wrong with it."""
    at = f"{endpoint.method}.{parameter.name}"
    schema, nullable = _opened(parameter.schema, parameter.schema.get("$defs", {}))
    kind = "file" if _is_file(parameter, schema) else _kind(schema, nullable=nullable)
    about = {
        "id": at,
        "aria_describedby": f"{at}-hint {at}-error",
        "aria_required": _flag(parameter.required),
    }
    return tag(
        "div",
        tag("label", text(parameter.name), for_=at),
        tag("span", text(_hint(parameter, schema, kind)), class_="dim hint", id=f"{at}-hint"),
        _control(parameter, schema, kind, about, nullable=nullable),
        tag("p", class_="error", id=f"{at}-error", hidden=True),
        class_="field",
        data_name=parameter.name,
        data_kind=kind,
        data_empty=_empty(parameter, kind, nullable=nullable),
        data_literal=kind == "text" and parameter.text,
    )


def _attribute(key: str, value: object) -> str:
    if value is None or value is False:
        return ""
    name = key.rstrip("_").replace("_", "-")
    return f" {name}" if value is True else f' {name}="{escape(str(value))}"'


def _flag(value: bool) -> str | None:  # noqa: FBT001 - the value itself is what is spelled
    return "true" if value else None


def _opened(schema: Schema, types: Mapping[str, Schema]) -> tuple[Schema, bool]:
    """The schema itself, and whether null will do too."""
    nullable = False
    for _ in range(_DEEPEST):
        if "$ref" in schema:
            beside = {key: item for key, item in schema.items() if key != "$ref"}
            schema = {**types.get(str(schema["$ref"]).rpartition("/")[2], {}), **beside}
            continue
        choices = schema.get("anyOf", ())
        some = [each for each in choices if each.get("type") != "null"]
        if MEDIUM in schema or len(some) != 1:
            break
        nullable = nullable or len(some) < len(choices)
        schema = {**some[0], **{key: item for key, item in schema.items() if key != "anyOf"}}
    return schema, nullable


def _is_file(parameter: Parameter, schema: Schema) -> bool:
    return parameter.medium is not None or _is_files(schema)


def _is_files(schema: Schema) -> bool:
    return schema.get("type") == "array" and MEDIUM in schema.get("items", {})


def _medium(parameter: Parameter, schema: Schema) -> str:
    return parameter.medium.value if parameter.medium else str(schema["items"][MEDIUM])


def _kind(schema: Schema, *, nullable: bool) -> str:
    if "enum" in schema or "const" in schema or (nullable and schema.get("type") == "boolean"):
        return "choice"
    kinds = {"string": "text", "integer": "number", "number": "number", "boolean": "switch"}
    return kinds.get(str(schema.get("type")), "json")


def _empty(parameter: Parameter, kind: str, *, nullable: bool) -> str | None:
    """What a control that holds nothing means: the value null, or no value; a text is else the empty text."""
    if nullable and parameter.required:
        return "null"
    return "omit" if kind != "text" or (not parameter.required and parameter.default is None) else None


def _hint(parameter: Parameter, schema: Schema, kind: str) -> str:
    said = [str(schema["type"]) if kind == "number" else _WORDS[kind]]
    if kind == "file":
        said = [f"{_medium(parameter, schema)} file{'s' if parameter.medium is None else ''}"]
    elif kind == "json" and schema.get("type") == "array":
        said = ["a list, as JSON"]
    for key, words in _BOUNDS.items():
        if key in schema:
            said.append(f"{schema[key]} {words}" if key.endswith("Length") else f"{words} {schema[key]}")
    if not parameter.required:
        said.append("optional")
    about = str(parameter.schema.get("description") or schema.get("description") or "")
    return ", ".join(said) + (f": {about}" if about else "")[:_LONGEST_HINT]


def _control(
    parameter: Parameter, schema: Schema, kind: str, about: Mapping[str, object], *, nullable: bool
) -> Html:
    match kind:
        case "file":
            made = _picker(parameter, schema, about)
        case "switch":
            made = void("input", type="checkbox", checked=parameter.default is True, **about)
        case "choice":
            made = tag("select", *_options(parameter, schema, nullable=nullable), **about)
        case "number":
            made = _number(parameter, schema, about)
        case "text":
            made = _text(parameter, schema, about)
        case _:
            made = _json(parameter, schema, about)
    return made


def _picker(parameter: Parameter, schema: Schema, about: Mapping[str, object]) -> Html:
    medium = _medium(parameter, schema)
    picker = void("input", type="file", accept=_ACCEPT.get(medium), multiple=_is_files(schema), **about)
    return Html(picker + tag("div", class_="preview"))


def _number(parameter: Parameter, schema: Schema, about: Mapping[str, object]) -> Html:
    value = None if parameter.default is None else json.dumps(parameter.default)
    step = "1" if schema["type"] == "integer" else "any"
    bounds = {"min": schema.get("minimum"), "max": schema.get("maximum")}
    return void("input", type="number", step=step, value=value, **bounds, **about)


def _text(parameter: Parameter, schema: Schema, about: Mapping[str, object]) -> Html:
    if schema.get("maxLength", _SHORT + 1) <= _SHORT:
        return void("input", type="text", value=parameter.default, **about)
    return tag("textarea", _first_line(parameter.default), rows="1", **about)


def _json(parameter: Parameter, schema: Schema, about: Mapping[str, object]) -> Html:
    said = None if parameter.default is None else json.dumps(parameter.default, ensure_ascii=False)
    looks = json.dumps(_sample(schema, parameter.schema.get("$defs", {}), _DEEPEST), ensure_ascii=False)
    return tag("textarea", _first_line(said), rows="2", spellcheck="false", placeholder=looks, **about)


def _first_line(said: object) -> Html:
    """A text area drops a line end that stands first; so it gets one to drop."""
    return Html(f"\n{text('' if said is None else said)}")


def _options(parameter: Parameter, schema: Schema, *, nullable: bool) -> Iterator[Html]:
    """Each value as JSON; the one without a value leaves the argument out, or is null."""
    values = [True, False] if schema.get("type") == "boolean" else schema.get("enum", [schema.get("const")])
    if parameter.required or nullable or parameter.default not in values:
        yield tag(
            "option", text("(none)" if nullable else "(choose)" if parameter.required else ""), value=""
        )
    for value in values:
        said = value if isinstance(value, str) else json.dumps(value)
        is_default = not parameter.required and value == parameter.default
        yield tag("option", text(said), value=json.dumps(value), selected=is_default)


def _sample(schema: Schema, types: Mapping[str, Schema], deep: int) -> object:
    """A value of the right shape, to be written over."""
    schema, _ = _opened(schema, types)
    if MEDIUM in schema:
        return "https://…"
    for given in [schema["default"]] if "default" in schema else schema.get("enum", ()):
        return given
    match schema.get("type"):
        case "object" if deep:
            fields = schema.get("properties", {})
            sample: object = {name: _sample(each, types, deep - 1) for name, each in fields.items()}
        case "array" if deep:
            item = schema.get("items")
            sample = [_sample(item, types, deep - 1)] if isinstance(item, Mapping) else []
        case kind:
            sample = _SAMPLES.get(str(kind), schema.get("const"))
    return sample
