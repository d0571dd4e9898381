"""Where each part of a declaration stands in its file.

Reads the file as a syntax tree; nothing of the user's is run.
"""

from __future__ import annotations

import ast
import functools
import inspect
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from coldstart_sdk.entry import shown

MARKER = "warm_model"


class Source:
    """The file of one class. Every answer is `file:line`, as near as it is known; None without a file."""

    def __init__(self, cls: type) -> None:
        self.path = file_of(cls)
        self.tree = parse(self.path) if self.path else ast.Module(body=[], type_ignores=[])
        self.class_node = _class_at(self.tree, cls.__qualname__.split("."))

    def of_class(self) -> str | None:
        return self.at(self.class_node.lineno) if self.class_node else self.at(None)

    def of_option(self, *keys: str) -> str | None:
        """The line of `warm_model(a={"b": f(c=…)})` for keys a, b, c; of the deepest that is written out."""
        for call in self._decorators():
            if any(keyword.arg == keys[0] for keyword in call.keywords):
                return self.at(self._descend(call, keys))
        return self.of_class()

    def at(self, line: int | None) -> str | None:
        if self.path is None:
            return None
        return f"{shown(self.path)}:{line}" if line else shown(self.path)

    def methods(self) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
        """The methods written in the class itself, in order; a name may come twice."""
        for node in self.class_node.body if self.class_node else ():
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield node

    def _decorators(self) -> Iterator[ast.Call]:
        for node in self.class_node.decorator_list if self.class_node else ():
            if isinstance(node, ast.Call) and _last_name(node.func) == MARKER:
                yield node

    def _descend(self, node: ast.expr, keys: tuple[str, ...]) -> int:
        line = node.lineno
        for key in keys:
            found = _child(self._resolved(node), key)
            if found is None:
                break
            line, node = found
        return line

    def _resolved(self, node: ast.expr) -> ast.expr:
        """What a bare name was set to at the top of the file."""
        if isinstance(node, ast.Name):
            for statement in self.tree.body:
                if isinstance(statement, ast.Assign) and any(
                    isinstance(target, ast.Name) and target.id == node.id for target in statement.targets
                ):
                    return statement.value
        return node


def of_function(function: Callable[..., Any], option: str | None = None) -> str | None:
    """Where a method, or one option of its mark, stands."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    if code is None:
        return None
    path, line = Path(code.co_filename), code.co_firstlineno
    for node in ast.walk(parse(path)) if option else ():
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and _first_line(node) == line:
            keywords = (
                keyword
                for decorator in node.decorator_list
                if isinstance(decorator, ast.Call)
                for keyword in decorator.keywords
            )
            line = next((keyword.value.lineno for keyword in keywords if keyword.arg == option), line)
            break
    return f"{shown(path)}:{line}"


def line_of(function: Callable[..., Any]) -> int | None:
    code = getattr(inspect.unwrap(function), "__code__", None)
    return code.co_firstlineno if code else None


def file_of(cls: type) -> Path | None:
    name = getattr(sys.modules.get(cls.__module__), "__file__", None)
    return Path(name) if name else None


@functools.lru_cache(maxsize=16)
def _parsed(path: Path, _mtime_ns: int) -> ast.Module:
    return ast.parse(path.read_bytes())


def parse(path: Path) -> ast.Module:
    """The file's tree; an empty one where it is gone or not Python."""
    try:
        return _parsed(path, path.stat().st_mtime_ns)
    except (OSError, SyntaxError, ValueError):
        return ast.Module(body=[], type_ignores=[])


def _class_at(tree: ast.AST, names: list[str]) -> ast.ClassDef | None:
    """The class of that qualified name; the last, where the file has several."""
    scope: ast.AST = tree
    for name in names:
        if name == "<locals>":
            continue
        found = [
            node
            for node in ast.walk(scope)
            if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and node.name == name
        ]
        if not found:
            return None
        scope = found[-1]
    return scope if isinstance(scope, ast.ClassDef) else None


def _child(node: ast.expr, key: str) -> tuple[int, ast.expr] | None:
    """(line, value) of a keyword, key, item or chained call of an expression."""
    if isinstance(node, ast.Call):
        return _child_of_call(node, key)
    pairs: list[tuple[ast.expr | None, ast.expr]] = []
    if isinstance(node, ast.Dict):
        pairs = list(zip(node.keys, node.values, strict=True))
    elif isinstance(node, ast.List | ast.Tuple | ast.Set):
        pairs = [(item, item) for item in node.elts]
    return next(
        (
            (name.lineno, value)
            for name, value in pairs
            if isinstance(name, ast.Constant) and str(name.value) == key
        ),
        None,
    )


def _child_of_call(node: ast.Call, key: str) -> tuple[int, ast.expr] | None:
    for keyword in node.keywords:
        if keyword.arg == key:
            return keyword.value.lineno, keyword.value
    if not isinstance(node.func, ast.Attribute):
        return None
    if node.func.attr == key:
        return node.func.end_lineno or node.lineno, node
    return _child(node.func.value, key)


def _first_line(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    return min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])


def _last_name(node: ast.expr) -> str | None:
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else None
