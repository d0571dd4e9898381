"""Read the hooks of a class: options, what they ask for, their order, and methods meant to be hooks."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator, Sequence

from coldstart_sdk.declare import members, source
from coldstart_sdk.declare.findings import Findings, did_you_mean, kind
from coldstart_sdk.declare.members import Member
from coldstart_sdk.spec import CallStyle, HookSpec, Kind

GIVEN = ("weights", "device", "spec", "log")
OPTIONS = ("required", "timeout", "after")
AFTER_READY = frozenset({Kind.BACKGROUND, Kind.CLOSE})
"""Hooks that nothing waits for, so nothing can require them."""
MEANT = {
    "load": Kind.LOAD,
    "loadmodel": Kind.LOAD,
    "loadmodels": Kind.LOAD,
    "loadweights": Kind.LOAD,
    "setup": Kind.LOAD,
    "preload": Kind.LOAD,
    "warm": Kind.WARMUP,
    "warmup": Kind.WARMUP,
    "warmupmodel": Kind.WARMUP,
    "warmupmodels": Kind.WARMUP,
    "prewarm": Kind.WARMUP,
    "cudainit": Kind.CUDA_INIT,
    "initcuda": Kind.CUDA_INIT,
    "restore": Kind.RESTORED,
    "restored": Kind.RESTORED,
    "onrestore": Kind.RESTORED,
    "background": Kind.BACKGROUND,
    "shutdown": Kind.CLOSE,
    "teardown": Kind.CLOSE,
    "cleanup": Kind.CLOSE,
    "close": Kind.CLOSE,
}
"""Names that other systems or a hurried hand give to a hook."""


def read(marked: Sequence[Member], found: Findings) -> tuple[HookSpec, ...]:
    hooks = [member for member in marked if member.mark.kind is not None]
    specs = tuple(_read_one(member, member.mark.kind, hooks, found) for member in hooks if member.mark.kind)
    _check_cycles(specs, hooks, found)
    return specs


def check_near_misses(cls: type, hooks: Sequence[HookSpec], found: Findings) -> None:
    """Name each unmarked method that looks like a hook the class has none of, and that nothing calls."""
    have = {hook.kind for hook in hooks}
    called = set(_called(found.source.class_node, {"self", "cls", cls.__name__}))
    for name, function in members.unmarked(cls).items():
        meant = MEANT.get(name.lower().replace("_", ""))
        if meant and meant not in have and name not in called:
            found.add(
                f"{name} is not marked, so nothing calls it",
                fix=f"Write @hook.{meant.value} above it; if it is no hook, give it another name.",
                where=source.of_function(function),
            )


def _read_one(member: Member, hook: Kind, siblings: Sequence[Member], found: Findings) -> HookSpec:
    canary = ("canary",) if hook is Kind.WARMUP else ()
    members.check_options(member, (*OPTIONS, *canary), found)
    _check_style(member, hook, found)
    required = members.flag(member, "required", found, default=hook not in AFTER_READY)
    if required and hook in AFTER_READY:
        found.add(
            f"{member.name}: a {hook.value} hook cannot be required",
            fix="Leave required= out; what must succeed before READY is a @hook.warmup."
            if hook is Kind.BACKGROUND
            else "Leave required= out.",
            where=member.where("required"),
        )
    return HookSpec(
        kind=hook,
        method=member.name,
        required=required,
        timeout_s=members.timeout_s(member, found),
        after=_after(member, siblings, found),
        receives=_receives(member, found),
        is_async=member.style is CallStyle.ASYNC,
        canary=bool(canary) and members.flag(member, "canary", found, default=False),
        line=member.line,
    )


def _check_style(member: Member, hook: Kind, found: Findings) -> None:
    if member.style in {CallStyle.GENERATOR, CallStyle.ASYNC_GENERATOR}:
        found.add(
            f"{member.name} yields, and a hook runs once to its end",
            fix="Return instead; what must be undone at the end belongs in a @hook.close.",
            where=member.where(),
        )
    if hook is Kind.BUILD and member.bound:
        found.add(
            f"{member.name}: a build hook runs while an image is built, where there is no instance",
            fix="Write @staticmethod between @hook.build and def, and take self out.",
            where=member.where(),
        )


def _receives(member: Member, found: Findings) -> tuple[str, ...]:
    given: list[str] = []
    for parameter in member.parameters:
        if parameter.kind in {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD}:
            continue
        if parameter.name in GIVEN and parameter.kind is not inspect.Parameter.POSITIONAL_ONLY:
            given.append(parameter.name)
        elif parameter.default is inspect.Parameter.empty:
            found.add(
                f"{member.name} asks for {parameter.name!r}, which no hook is given",
                fix=did_you_mean(parameter.name, GIVEN)
                or f"A hook may ask for {', '.join(GIVEN)} by name; give anything else a default.",
                where=member.where(),
            )
    return tuple(given)


def _after(member: Member, hooks: Sequence[Member], found: Findings) -> tuple[str, ...]:
    value = member.mark.options.get("after")
    names = () if value is None else (value,) if isinstance(value, str) else value
    if not isinstance(names, list | tuple):
        found.add(
            f"{member.name}: after is {kind(value)}, not a method's name",
            fix='Write after="other_method", as a string.',
            where=member.where("after"),
        )
        return ()
    siblings = [other.name for other in hooks if other.mark.kind is member.mark.kind and other is not member]
    others = {other.name: other for other in hooks if other.mark.kind is not member.mark.kind}
    for name in map(str, names):
        if name in siblings:
            continue
        if name == member.name:
            message, fix = "comes after itself", "Leave after= out."
        elif name in others:
            message = f"comes after {name}, which is a {others[name].spelled}"
            fix = "after= orders methods of one hook; the hooks themselves have a fixed order."
        else:
            message = f"comes after {name!r:.60}, and no {member.spelled} has that name"
            fix = did_you_mean(name, siblings) or (
                f"Name one of {', '.join(siblings)}." if siblings else "Leave after= out: there is no other."
            )
        found.add(f"{member.name} {message}", fix=fix, where=member.where("after"))
    return tuple(name for name in map(str, names) if name in siblings)


def _check_cycles(specs: Sequence[HookSpec], hooks: Sequence[Member], found: Findings) -> None:
    after = {spec.method: spec.after for spec in specs}
    in_cycle: set[str] = set()
    for member in hooks:
        circle = _circle(member.name, after)
        if circle and member.name not in in_cycle:
            in_cycle.update(circle)
            found.add(
                f"{' after '.join((*circle, circle[0]))}: each waits for the other",
                fix="Take one after= away.",
                where=member.where("after"),
            )


def _circle(start: str, after: dict[str, tuple[str, ...]]) -> tuple[str, ...]:
    """The way from a method back to itself, if there is one."""
    ways: list[tuple[str, ...]] = [(start,)]
    seen: set[str] = set()
    while ways:
        way = ways.pop()
        for name in after.get(way[-1], ()):
            if name == start:
                return way
            if name not in seen:
                seen.add(name)
                ways.append((*way, name))
    return ()


def _called(node: ast.ClassDef | None, owners: set[str]) -> Iterator[str]:
    """Names that the class's own code reads from itself."""
    for part in ast.walk(node) if node else ():
        if isinstance(part, ast.Attribute) and isinstance(part.value, ast.Name) and part.value.id in owners:
            yield part.attr
