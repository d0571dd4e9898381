"""Every mistake of a declaration, gathered while it is read."""

from __future__ import annotations

import difflib
import enum
import re
from collections.abc import Iterable
from typing import TypeVar

from coldstart_sdk.declare import amounts
from coldstart_sdk.declare.source import Source
from coldstart_sdk.errors import Problem

E = TypeVar("E", bound=enum.Enum)


class Findings:
    """Where a reader notes what is wrong before it goes on with the next thing."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self._problems: list[Problem] = []

    def add(self, message: str, *, fix: str, where: str | None) -> None:
        problem = Problem(message=message, fix=fix, where=where)
        if problem not in self._problems:
            self._problems.append(problem)

    def on_option(self, message: str, *keys: str, fix: str) -> None:
        """A mistake in an option of `warm_model`; the keys lead to it."""
        self.add(message, fix=fix, where=self.source.of_option(*keys))

    @property
    def problems(self) -> tuple[Problem, ...]:
        """In the order of the file's lines."""
        return tuple(sorted(self._problems, key=_line))

    def text(self, value: object, *keys: str, example: str) -> str | None:
        """The string, when it is one and says something."""
        name = "/".join(keys)
        if not isinstance(value, str):
            self.on_option(f"{name} is {kind(value)}, not a string", *keys, fix=f"Write {example}.")
        elif not value or value != value.strip() or not value.isprintable():
            self.on_option(
                f"{name} is empty, or has white space around or inside it",
                *keys,
                fix=f"Write {example}; look for a pasted newline or space.",
            )
        else:
            return value
        return None

    def texts(self, value: object, *keys: str, example: str) -> tuple[str, ...]:
        """One string or several, as a tuple."""
        if isinstance(value, str):
            value = (value,)
        if not isinstance(value, list | tuple):
            self.on_option(
                f"{'/'.join(keys)} is {kind(value)}, not a list of strings", *keys, fix=f"Write {example}."
            )
            return ()
        read = (self.text(item, *keys, example=example) for item in value)
        return tuple(item for item in read if item is not None)

    def choice(self, value: object, choices: type[E], *keys: str) -> E | None:
        have = [choice.value for choice in choices]
        if value in have:
            return choices(value)
        self.on_option(
            f"{'/'.join(keys)} is {value!r}, which is none of {', '.join(have)}",
            *keys,
            fix=did_you_mean(str(value), have) or f"Choose one of {', '.join(map(repr, have))}.",
        )
        return None

    def seconds(self, value: object, name: str, where: str | None) -> float | None:
        read = amounts.seconds(value)
        if read is None:
            self.add(f"{name} is {value!r}, not a duration", fix=f"Write {amounts.DURATION}.", where=where)
        return read


def did_you_mean(word: str, have: Iterable[str], *, form: str = "{}", cutoff: float = 0.6) -> str | None:
    """`Did you mean …?`, when something near exists."""
    known = {name.lower().replace("-", "_"): name for name in have}
    near = difflib.get_close_matches(word.lower().replace("-", "_"), list(known), n=1, cutoff=cutoff)
    return f"Did you mean {form.format(known[near[0]])}?" if near else None


def kind(value: object) -> str:
    """`a list`, `None`, `the class Weights`: what a value is, in a sentence."""
    if value is None:
        return "None"
    if isinstance(value, type):
        return f"the class {value.__name__}"
    name = {"str": "string", "int": "whole number", "float": "number"}.get(
        type(value).__name__, type(value).__name__
    )
    return f"{'an' if name[0] in 'aeiouAEIOU' else 'a'} {name}"


def _line(problem: Problem) -> tuple[bool, str, int]:
    match = re.fullmatch(r"(.*):(\d+)", problem.where or "")
    return (False, match[1], int(match[2])) if match else (True, problem.where or "", 0)
