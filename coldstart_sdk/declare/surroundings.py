"""What the rest of the file does that a cold start would trip over: read as a syntax tree, never run."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator, Mapping

from coldstart_sdk.declare.findings import Findings
from coldstart_sdk.spec import Origin, WeightSpec

_HUB = frozenset(
    {"transformers", "huggingface_hub", "diffusers", "datasets", "sentence_transformers", "timm"}
)
READ_AT_IMPORT: Mapping[str, frozenset[str]] = {
    "HF_HOME": _HUB,
    "HF_HUB_CACHE": _HUB,
    "HUGGINGFACE_HUB_CACHE": _HUB,
    "HF_ENDPOINT": _HUB,
    "HF_HUB_OFFLINE": _HUB,
    "HF_HUB_ENABLE_HF_TRANSFER": _HUB,
    "TRANSFORMERS_CACHE": frozenset({"transformers", "diffusers", "sentence_transformers"}),
    "TRANSFORMERS_OFFLINE": frozenset({"transformers", "diffusers", "sentence_transformers"}),
    "HF_DATASETS_CACHE": frozenset({"datasets"}),
    "NUMBA_CACHE_DIR": frozenset({"numba", "librosa"}),
    "MPLCONFIGDIR": frozenset({"matplotlib"}),
    "OMP_NUM_THREADS": frozenset({"torch", "numpy", "onnxruntime"}),
}
"""Variable → the libraries that read it when they are imported, and never again."""
_MOUNTS = ("/runpod-volume/",)
_COMMIT = re.compile(r"[0-9a-f]{40}")


def check(weights: Mapping[str, WeightSpec], found: Findings) -> None:
    _check_own_name(found)
    _check_neighbours(found)
    _check_order(found)
    _check_mounts(found)
    _check_remote_code(weights, found)


def _check_own_name(found: Findings) -> None:
    """`whisper.py` that says `import whisper` gets itself, and learns of it on the first call."""
    own = found.source.path
    if own is None:
        return
    for node in ast.walk(found.source.tree):
        if isinstance(node, ast.Import | ast.ImportFrom) and own.stem in _imports(node):
            found.add(
                f"{own.name} hides the package {own.stem!r} that it imports",
                fix=f"Rename the file, such as my_{own.stem}.py.",
                where=found.source.at(node.lineno),
            )


def _check_neighbours(found: Findings) -> None:
    """A start looks for modules here first: a `queue.py` here is what every library gets."""
    own = found.source.path
    beside = () if own is None else (path for path in sorted(own.parent.iterdir()) if path != own)
    for path in beside:
        is_module = path.suffix == ".py" or (path / "__init__.py").is_file()
        if is_module and path.stem in sys.stdlib_module_names:
            found.add(
                f"{path.name} hides Python's own module {path.stem!r} from every library",
                fix=f"Rename it, such as my_{path.name}.",
                where=path.name,
            )


def _check_order(found: Findings) -> None:
    imported: dict[str, int] = {}
    for statement in _in_order(found.source.tree.body):
        for module in _imports(statement):
            imported.setdefault(module, statement.lineno)
        for variable, line in _variables_set(statement):
            readers = READ_AT_IMPORT.get(variable, frozenset()) & set(imported)
            if readers:
                first = min(readers, key=lambda module: imported[module])
                found.add(
                    f"{variable} is set on line {line}, after `import {first}` has read it",
                    fix=f"Leave {variable} out: coldstart sets cache directories before any import. "
                    "Anything else belongs in env= of warm_model.",
                    where=found.source.at(imported[first]),
                )


def _check_mounts(found: Findings) -> None:
    for statement in found.source.tree.body:
        for node in _outside_decorators(statement):
            if (
                isinstance(node, ast.Constant)
                and isinstance(node.value, str)
                and node.value.startswith(_MOUNTS)
            ):
                found.add(
                    f"{node.value!r:.80} exists on one platform only",
                    fix='Take the path from weights["name"].path in the hook.',
                    where=found.source.at(getattr(node, "lineno", None)),
                )


def _check_remote_code(weights: Mapping[str, WeightSpec], found: Findings) -> None:
    moving = [
        name
        for name, spec in weights.items()
        if spec.origin is Origin.HF and not _COMMIT.fullmatch(spec.revision or "")
    ]
    lines = [
        node.value.lineno
        for node in ast.walk(found.source.tree)
        if isinstance(node, ast.keyword)
        and node.arg == "trust_remote_code"
        and isinstance(node.value, ast.Constant)
        and node.value.value is True
    ]
    if moving and lines:
        found.add(
            f"trust_remote_code=True runs code of weights/{moving[0]}, whose revision can move",
            fix=f"Pin it to a commit of 40 hex digits: revision=… on {', '.join(moving)}.",
            where=found.source.at(lines[0]),
        )


def _in_order(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements that run when the file is imported."""
    for statement in body:
        yield statement
        for part in ("body", "orelse", "finalbody"):
            if isinstance(statement, ast.If | ast.Try | ast.With):
                yield from _in_order(getattr(statement, part, []))


def _imports(statement: ast.stmt) -> list[str]:
    if isinstance(statement, ast.Import):
        return [name.name.partition(".")[0] for name in statement.names]
    if isinstance(statement, ast.ImportFrom) and statement.module and not statement.level:
        return [statement.module.partition(".")[0]]
    return []


def _variables_set(statement: ast.stmt) -> list[tuple[str, int]]:
    """(name, line) of `os.environ[…] = …`, `.setdefault(…)`, `.update(…)` and `os.putenv(…)`."""
    if isinstance(statement, ast.Assign):
        return [
            (target.slice.value, statement.lineno)
            for target in statement.targets
            if isinstance(target, ast.Subscript)
            and _is_environ(target.value)
            and isinstance(target.slice, ast.Constant)
            and isinstance(target.slice.value, str)
        ]
    if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call):
        return [(name, statement.lineno) for name in _variables_of_call(statement.value)]
    return []


def _variables_of_call(call: ast.Call) -> list[str]:
    if not isinstance(call.func, ast.Attribute):
        return []
    first = call.args[0] if call.args else None
    keys: list[ast.expr | None] = []
    if call.func.attr == "putenv" or (call.func.attr == "setdefault" and _is_environ(call.func.value)):
        keys = [first]
    elif call.func.attr == "update" and _is_environ(call.func.value):
        keys = list(first.keys) if isinstance(first, ast.Dict) else []
        keys += [ast.Constant(keyword.arg) for keyword in call.keywords]
    return [key.value for key in keys if isinstance(key, ast.Constant) and isinstance(key.value, str)]


def _is_environ(node: ast.expr) -> bool:
    return (isinstance(node, ast.Attribute) and node.attr == "environ") or (
        isinstance(node, ast.Name) and node.id == "environ"
    )


def _outside_decorators(node: ast.AST) -> Iterator[ast.AST]:
    """Every node below but those of decorators: `store=` and its kin may name a mount."""
    yield node
    for field, value in ast.iter_fields(node):
        children = value if isinstance(value, list) else [value]
        for child in children if field != "decorator_list" else ():
            if isinstance(child, ast.AST):
                yield from _outside_decorators(child)
