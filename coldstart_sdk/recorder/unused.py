"""Which packages the project's own files import and never name again. Reads text; runs nothing."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

_MOST = 50
"""Files of a project that are read."""


def packages(project: Path) -> tuple[frozenset[str], frozenset[str]]:
    """(unused, used) top-level packages of the project's loaded files."""
    unused: set[str] = set()
    used: set[str] = set()
    for path in [*_files(project)][:_MOST]:
        try:
            tree = ast.parse(path.read_text(encoding="utf-8"))
        except (OSError, SyntaxError, ValueError):
            continue
        named = _named(tree)
        for bound, package in _bound(tree):
            (used if bound in named else unused).add(package)
    unused -= used
    return frozenset(unused - _needed_elsewhere(unused, project)), frozenset(used)


def _files(project: Path) -> Iterator[Path]:
    for module in [*sys.modules.values()]:
        file = getattr(module, "__file__", None)
        if file and file.endswith(".py"):
            path = Path(file)
            if (
                path.is_relative_to(project)
                and "site-packages" not in path.parts
                and path.name != "__init__.py"
            ):
                yield path


def _bound(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Names that top-level imports bind, each with its package; those in a `try` are there to be tried."""
    for node in tree.body:
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.asname or alias.name.partition(".")[0], alias.name.partition(".")[0]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                yield alias.asname or alias.name, node.module.partition(".")[0]


def _named(tree: ast.Module) -> frozenset[str]:
    """Every name that is used, and every word of a string: an annotation or `__all__` may hold one."""
    names: set[str] = {"*", "annotations"}
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            names.add(node.id)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and len(node.value) < 200:  # noqa: PLR2004 - no annotation is longer
            names.update(node.value.replace(".", " ").replace("[", " ").replace("]", " ").split())
    return frozenset(names)


def _needed_elsewhere(candidates: set[str], project: Path) -> set[str]:
    """Those that a module of somebody else's holds on to: they would be imported all the same."""
    wanted: dict[int, str] = {
        id(module): name for name in candidates if (module := sys.modules.get(name)) is not None
    }
    found: set[str] = set()
    for name, module in [*sys.modules.items()]:
        file = str(getattr(module, "__file__", None) or "")
        theirs = "site-packages" in file or not Path(file).is_relative_to(project)
        if theirs and name != "__main__" and name.partition(".")[0] not in candidates:
            found.update(wanted[id(value)] for value in [*vars(module).values()] if id(value) in wanted)
    return found
