"""Which files of a folder a Python file imports, and those in turn; read as syntax trees, nothing is run.

What is imported under a name made at run time is not seen: `Container.copy` brings it along.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from pathlib import Path


def closure(folder: Path, first: Path, *, also: Iterable[str] = ()) -> tuple[Path, ...]:
    """The file, every file below the folder that it leads to, and the modules named `also`."""
    found: dict[Path, None] = {}
    waiting = [first, *(file for name in also for file in _files(folder, name))]
    while waiting:
        file = waiting.pop()
        if file not in found:
            found[file] = None
            waiting.extend(each for name in _names(file, folder) for each in _files(folder, name))
    return tuple(sorted(found))


def _files(folder: Path, name: str) -> Iterator[Path]:
    """The file of a module, and the `__init__.py` of each package on the way to it."""
    at = folder
    for part in name.split("."):
        if (at / f"{part}.py").is_file() and not (at / part / "__init__.py").is_file():
            yield at / f"{part}.py"
            return
        at /= part
        if not at.is_dir():
            return
        if (at / "__init__.py").is_file():
            yield at / "__init__.py"


def _names(file: Path, folder: Path) -> Iterator[str]:
    """Every module that the file may mean, as seen from the folder: of `from a import b` also a.b."""
    try:
        tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError):
        return  # whoever imports it is told better than we could here
    package = file.parent.relative_to(folder).parts
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            base = ".".join((*above, *([node.module] if node.module else [])))
            if base:
                yield base
            yield from (f"{base}.{alias.name}" if base else alias.name for alias in node.names)
        elif isinstance(node, ast.Call) and _is_import_module(node):
            for argument in node.args[:1]:
                if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
                    yield argument.value


def _is_import_module(call: ast.Call) -> bool:
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", None)
    return name in {"import_module", "__import__"}
