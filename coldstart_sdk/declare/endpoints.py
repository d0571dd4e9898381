"""Read the endpoints of a class: what callers may send, and what they get."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

from coldstart_sdk.declare import members, schema, source
from coldstart_sdk.declare.findings import Findings
from coldstart_sdk.declare.members import Member
from coldstart_sdk.declare.overrides import as_json
from coldstart_sdk.spec import EndpointSpec, Medium, Parameter

OPTIONS = ("default", "timeout")
RESERVED = frozenset({"health", "ready", "metrics", "trace", "ping", "openapi.json"})
SELECTOR = "endpoint"
"""The argument by which a request names its endpoint."""


def read(cls: type, marked: Sequence[Member], found: Findings) -> tuple[EndpointSpec, ...]:
    endpoints = [member for member in marked if member.mark.kind is None]
    if not endpoints:
        _add_none(cls, found)
    specs = tuple(_read_one(member, found) for member in endpoints)
    _check_default(specs, endpoints, found)
    return specs


def _add_none(cls: type, found: Findings) -> None:
    near = next(iter(members.unmarked(cls).items()), None)
    found.add(
        f"{cls.__name__} has no endpoint, so nothing can be asked of it",
        fix=f"Write @endpoint above {near[0]}." if near else "Write @endpoint above the method that answers.",
        where=source.of_function(near[1]) if near else found.source.of_class(),
    )


def _check_default(specs: Sequence[EndpointSpec], endpoints: Sequence[Member], found: Findings) -> None:
    defaults = [member for spec, member in zip(specs, endpoints, strict=True) if spec.default]
    if len(defaults) > 1:
        names = " and ".join(f"{member.name} (line {member.line})" for member in defaults)
        found.add(
            f"{names} are both the default endpoint",
            fix="Keep default=True on one of them.",
            where=defaults[1].where("default"),
        )


def _read_one(member: Member, found: Findings) -> EndpointSpec:
    members.check_options(member, OPTIONS, found)
    if member.name in RESERVED or member.name.startswith("_"):
        found.add(
            f"an endpoint may not be called {member.name}",
            fix=f"Give it another name; {', '.join(sorted(RESERVED))} and names with a leading _ are taken.",
            where=member.where(),
        )
    hints = _hints(member, found)
    result, medium = _result(member, hints, found)
    return EndpointSpec(
        method=member.name,
        style=member.style,
        default=members.flag(member, "default", found, default=False),
        timeout_s=members.timeout_s(member, found),
        parameters=tuple(
            read_
            for parameter in member.parameters
            if (read_ := _parameter(member, parameter, hints, found)) is not None
        ),
        result=result,
        medium=medium,
        doc=inspect.getdoc(member.function) or "",
        line=member.line,
    )


def _hints(member: Member, found: Findings) -> dict[str, Any] | None:
    """None when they cannot be read: one problem says so for all of them."""
    try:
        return schema.hints_of(inspect.unwrap(member.function))
    except schema.MisfitError as misfit:
        found.add(f"{member.name}: {misfit}", fix=misfit.fix, where=member.where())
        return None


def _parameter(
    member: Member, parameter: inspect.Parameter, hints: dict[str, Any] | None, found: Findings
) -> Parameter | None:
    name, default = parameter.name, parameter.default
    misfit = _misfit(member, parameter)
    if misfit:
        found.add(misfit[0], fix=misfit[1], where=member.where())
        return None
    if hints is None:
        return None
    has_default = default is not inspect.Parameter.empty
    try:
        json_schema = schema.schema_of(hints[name], of_result=False)
        plain = schema.default_of(hints[name], default) if has_default else None
    except schema.MisfitError as error:
        found.add(f"{member.name}: {name}: {error}", fix=error.fix, where=member.where())
        return None
    if as_json(plain) is None:
        found.add(
            f"{member.name}: the default of {name} cannot be written as JSON",
            fix="Use a plain value, or None.",
            where=member.where(),
        )
    return Parameter(
        name=name,
        required=not has_default,
        default=plain,
        schema=json_schema,
        text=schema.is_text(hints[name]),
        medium=schema.medium_of(hints[name]),
    )


def _misfit(member: Member, parameter: inspect.Parameter) -> tuple[str, str] | None:
    """What is wrong with an argument before its type is looked at."""
    name, default = parameter.name, parameter.default
    if parameter.kind in {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD}:
        stars = "*" if parameter.kind is inspect.Parameter.VAR_POSITIONAL else "**"
        return (
            f"{member.name} takes {stars}{name}, which callers cannot see",
            "Name each argument, with its type.",
        )
    if parameter.kind is inspect.Parameter.POSITIONAL_ONLY:
        return f"{member.name}: {name} is positional-only, and callers send names", "Take the / out."
    if name == SELECTOR:
        return (
            f"{member.name} has an argument called {SELECTOR}, by which a request names its endpoint",
            "Give it another name.",
        )
    if parameter.annotation is inspect.Parameter.empty:
        return f"{member.name}: {name} has no type", f"Annotate it, such as {name}: {schema.guess(default)}."
    return None


def _result(
    member: Member, hints: dict[str, Any] | None, found: Findings
) -> tuple[dict[str, Any], Medium | None]:
    if hints is None or "return" not in hints:
        return {}, None
    try:
        chunk = schema.chunk_of(hints["return"], member.style)
        return schema.schema_of(chunk, of_result=True), schema.medium_of(chunk)
    except schema.MisfitError as misfit:
        found.add(f"{member.name}: the result: {misfit}", fix=misfit.fix, where=member.where())
        return {}, None
