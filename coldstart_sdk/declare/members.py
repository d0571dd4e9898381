"""The members of a class as a declaration sees them: what is marked, where, and how it is called."""

from __future__ import annotations

import ast
import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from coldstart_sdk.declare import source
from coldstart_sdk.declare.findings import Findings, did_you_mean
from coldstart_sdk.frozen import dataclass
from coldstart_sdk.hook import Mark, marks_of
from coldstart_sdk.spec import CallStyle


@dataclass(frozen=True, kw_only=True)
class Member:
    """One marked method."""

    name: str
    function: Callable[..., Any]
    mark: Mark
    bound: bool
    """Called on an instance; not a static or class method."""
    parameters: tuple[inspect.Parameter, ...]
    """Without `self` or `cls`."""

    def where(self, option: str | None = None) -> str | None:
        return source.of_function(self.function, option)

    @property
    def line(self) -> int | None:
        return source.line_of(self.function)

    @property
    def spelled(self) -> str:
        """The mark as a user writes it."""
        return spelled(self.mark)

    @property
    def style(self) -> CallStyle:
        """How it is called; a plain wrapper made with `functools.wraps` is what it wraps."""
        for function in (self.function, inspect.unwrap(self.function)):
            if inspect.isasyncgenfunction(function):
                return CallStyle.ASYNC_GENERATOR
            if inspect.isgeneratorfunction(function):
                return CallStyle.GENERATOR
            if inspect.iscoroutinefunction(function):
                return CallStyle.ASYNC
        return CallStyle.PLAIN


def spelled(mark: Mark) -> str:
    return f"@hook.{mark.kind.value}" if mark.kind else "@endpoint"


def read(cls: type, found: Findings) -> tuple[Member, ...]:
    """Every marked method, a base's before its subclass's, in the order written."""
    _check_twice(found)
    members: dict[str, Member | None] = {}
    for owner in reversed(cls.__mro__[:-1]):
        for name, value in vars(owner).items():
            before = members.get(name)
            member = _member(name, value, found)
            if before is not None and member is None and callable(getattr(value, "__func__", value)):
                found.add(
                    f"{owner.__name__}.{name} replaces a method marked {before.spelled}, and is not marked",
                    fix=f"Write {before.spelled} above it, or give it another name.",
                    where=source.of_function(getattr(value, "__func__", value)),
                )
            members[name] = member
    marked = {name: member for name, member in members.items() if member is not None}
    _check_overwritten(marked, found)
    return tuple(marked.values())


def unmarked(cls: type) -> Mapping[str, Callable[..., Any]]:
    """The plain public methods of the class itself."""
    functions = {name: getattr(value, "__func__", value) for name, value in vars(cls).items()}
    return {
        name: function
        for name, function in functions.items()
        if inspect.isfunction(function) and not name.startswith("_") and not marks_of(function)
    }


def check_options(member: Member, known: tuple[str, ...], found: Findings) -> None:
    """Name every option that this mark does not have."""
    for option in member.mark.options:
        if option in known:
            continue
        fix = did_you_mean(option, known, form="{}=") or f"It takes {', '.join(known)}."
        if option == "canary":
            fix = "Only @hook.warmup has canary=: its result is what a restored process is compared with."
        found.add(f"{member.spelled} has no option {option!r}", fix=fix, where=member.where(option))


def flag(member: Member, option: str, found: Findings, *, default: bool) -> bool:
    value = member.mark.options.get(option, default)
    if isinstance(value, bool):
        return value
    found.add(
        f"{member.name}: {option} is {value!r:.60}",
        fix=f"Write {option}=True or {option}=False.",
        where=member.where(option),
    )
    return default


def timeout_s(member: Member, found: Findings) -> float | None:
    value = member.mark.options.get("timeout")
    return None if value is None else found.seconds(value, f"{member.name}: timeout", member.where("timeout"))


def _member(name: str, value: object, found: Findings) -> Member | None:
    marks = marks_of(value)
    if not marks:
        _check_hidden(name, value, found)
        return None
    function: Any = getattr(value, "__func__", value)
    where = source.of_function(function)
    if not inspect.isfunction(function):
        found.add(
            f"{name} is marked {spelled(marks[0])}, and is a {type(function).__name__}, not a method",
            fix="Mark a function with `def` in the class.",
            where=where or found.source.of_class(),
        )
        return None
    if len(marks) > 1:
        found.add(
            f"{name} is marked {' and '.join(spelled(mark) for mark in reversed(marks))}",
            fix="Keep one mark, and write a second method for the other.",
            where=where,
        )
    parameters = tuple(inspect.signature(function).parameters.values())
    is_static = isinstance(value, staticmethod)
    if not is_static and not (parameters and parameters[0].kind in _POSITIONAL):
        found.add(
            f"{name} takes no self", fix=f"Write def {name}(self, …), or add @staticmethod.", where=where
        )
    return Member(
        name=name,
        function=function,
        mark=marks[0],
        bound=not isinstance(value, staticmethod | classmethod),
        parameters=parameters if is_static else parameters[1:],
    )


_POSITIONAL = (
    inspect.Parameter.POSITIONAL_ONLY,
    inspect.Parameter.POSITIONAL_OR_KEYWORD,
    inspect.Parameter.VAR_POSITIONAL,
)


def _check_hidden(name: str, value: object, found: Findings) -> None:
    """A mark under a property is never seen."""
    inner = (
        value.fget
        if isinstance(value, property)
        else value.func
        if isinstance(value, functools.cached_property | functools.partialmethod)
        else None
    )
    if inner is not None and marks_of(inner):
        found.add(
            f"{name} is marked {spelled(marks_of(inner)[0])}, and is a {type(value).__name__}, not a method",
            fix=f"Make it a method: take @{type(value).__name__} away.",
            where=source.of_function(inner),
        )


def _check_twice(found: Findings) -> None:
    """Two marked methods of one name: Python keeps the last and says nothing."""
    first: dict[str, ast.FunctionDef | ast.AsyncFunctionDef] = {}
    for node in found.source.methods():
        before = first.setdefault(node.name, node)
        if before is not node and _is_marked(before):
            found.add(
                f"{node.name} is defined twice, lines {before.lineno} and {node.lineno}; the first is lost",
                fix="Give one of them another name; several methods may carry one hook.",
                where=found.source.at(node.lineno),
            )


def _check_overwritten(marked: Mapping[str, Member], found: Findings) -> None:
    """`self.speak = …` hides the method `speak` from the moment it runs."""
    for method in found.source.methods():
        for node in ast.walk(method):
            if (
                isinstance(node, ast.Attribute)
                and isinstance(node.ctx, ast.Store)
                and isinstance(node.value, ast.Name)
                and node.value.id == "self"
                and node.attr in marked
            ):
                hidden = marked[node.attr].spelled
                found.add(
                    f"{method.name} sets self.{node.attr}, which hides the {hidden} method",
                    fix=f"Give the attribute another name, such as self.{node.attr}_model.",
                    where=found.source.at(node.lineno),
                )


def _is_marked(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    texts = (ast.unparse(decorator) for decorator in node.decorator_list)
    return any(text.startswith(("hook.", "endpoint")) or ".hook." in text for text in texts)
