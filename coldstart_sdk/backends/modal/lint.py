"""Read a declaration's text for what does not survive a snapshot, and name the hook and the line.

Looked at is what runs before the cut: the file itself, `__init__`, the hooks that the plan puts there, and
the methods of the class that those call. It reads only; what a library does inside itself, `cut` sees.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from coldstart_sdk.errors import Problem
from coldstart_sdk.plan import Plan, Stage, Work
from coldstart_sdk.spec import Snapshot

RESTORED = "Do it in hook.restored, which runs after each restore."
_THREADS = frozenset(
    {
        "concurrent.futures.ProcessPoolExecutor",
        "concurrent.futures.ThreadPoolExecutor",
        "multiprocessing.Pool",
        "multiprocessing.Process",
        "subprocess.Popen",
        "threading.Thread",
        "threading.Timer",
    }
)
_CONNECTIONS = frozenset(
    {
        "aiohttp.ClientSession",
        "boto3.client",
        "boto3.resource",
        "httpx.AsyncClient",
        "httpx.Client",
        "openai.AsyncOpenAI",
        "openai.OpenAI",
        "psycopg.connect",
        "redis.Redis",
        "redis.from_url",
        "requests.Session",
        "socket.create_connection",
        "socket.socket",
        "sqlite3.connect",
    }
)
_GENERATORS = frozenset(
    {
        "numpy.random.RandomState",
        "numpy.random.default_rng",
        "random.Random",
        "torch.Generator",
    }
)
_ON_DEVICE = frozenset({"cuda", "to"})


@dataclass(frozen=True, kw_only=True)
class _Place:
    """A stretch of code that runs before the cut."""

    name: str
    """How a person calls it: `hook.load load`, `the file itself`."""
    body: tuple[ast.stmt, ...]
    is_module: bool = False


def lint(plan: Plan, project: Path) -> tuple[Problem, ...]:
    """Everything that will not be right after a restore, in the order of the file."""
    file = project / f"{plan.spec.module}.py"
    if plan.snapshot is Snapshot.NONE or not file.is_file():
        return ()
    tree = ast.parse(file.read_text(encoding="utf-8"))
    reader = _Reader(plan, file.name, _imports(tree))
    found = {problem.where: problem for place in _places(tree, plan) for problem in reader.read(place)}
    return tuple(sorted(found.values(), key=lambda problem: _line(problem.where)))


def _line(where: str | None) -> int:
    return int((where or ":0").partition(":")[2].partition(",")[0])


def _places(tree: ast.Module, plan: Plan) -> Iterator[_Place]:
    outer = tuple(
        node
        for node in tree.body
        if not isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
    )
    yield _Place(name="the file itself", body=outer, is_module=True)
    name = plan.spec.qualname.rpartition(".")[2]
    for cls in ast.walk(tree):
        if isinstance(cls, ast.ClassDef) and cls.name == name:
            yield from _methods(cls, plan)


def _methods(cls: ast.ClassDef, plan: Plan) -> Iterator[_Place]:
    methods = {
        node.name: node for node in cls.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    early = {
        step.target: f"hook.{step.kind.value} {step.target}"
        for step in plan.steps_in(Stage.BEFORE_SNAPSHOT)
        if step.work is Work.HOOK
    }
    waiting = {"__init__": "__init__", **early}
    seen: set[str] = set()
    while waiting:
        method, said = waiting.popitem()
        if method in seen or method not in methods:
            continue
        seen.add(method)
        yield _Place(name=said, body=tuple(methods[method].body))
        for called in _called(methods[method]):
            waiting.setdefault(called, f"{called}, which {said} calls")


def _called(method: ast.AST) -> Iterator[str]:
    """Methods of its own object that it calls."""
    for node in ast.walk(method):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            owner = node.func.value
            if isinstance(owner, ast.Name) and owner.id == "self":
                yield node.func.attr


def _imports(tree: ast.Module) -> Mapping[str, str]:
    """Name in the file → what it stands for, such as `np` → `numpy`."""
    known: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                known[alias.asname or alias.name.partition(".")[0]] = (
                    alias.name if alias.asname else alias.name.partition(".")[0]
                )
        elif isinstance(node, ast.ImportFrom) and node.module:
            known |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    return known


class _Reader:
    """Reads one place after the other."""

    def __init__(self, plan: Plan, file: str, imports: Mapping[str, str]) -> None:
        self._plan = plan
        self._file = file
        self._imports = imports

    def read(self, place: _Place) -> Iterator[Problem]:
        for statement in place.body:
            for node in ast.walk(statement):
                if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
                    yield from self._kept(node, node.value, place)
                if isinstance(node, ast.Call):
                    yield from self._started(node, place)
                if self._plan.snapshot is Snapshot.CPU and isinstance(node, ast.expr):
                    yield from self._touched(node, place)

    def _touched(self, node: ast.expr, place: _Place) -> Iterator[Problem]:
        """CUDA, where the snapshot is taken without a GPU."""
        if (name := self._named(node)) and (name.startswith("torch.cuda.")):
            what = "fixes the device" if place.is_module else "asks for CUDA"
            yield self._problem(node, place, f"{name} {what}, and there is no GPU before a cpu snapshot")
        elif isinstance(node, ast.Call) and self._moves(node):
            yield self._problem(node, place, "this moves to a GPU, and there is none before a cpu snapshot")

    def _moves(self, node: ast.Call) -> bool:
        given = [*node.args, *(word.value for word in node.keywords if word.arg in {"device", "device_map"})]
        on_cuda = any(
            isinstance(each, ast.Constant) and str(each.value).partition(":")[0] == "cuda" for each in given
        )
        if isinstance(node.func, ast.Attribute) and node.func.attr in _ON_DEVICE:
            return on_cuda or node.func.attr == "cuda"
        return on_cuda and any(word.arg in {"device", "device_map"} for word in node.keywords)

    def _started(self, node: ast.Call, place: _Place) -> Iterator[Problem]:
        name = self._named(node.func)
        if name in _THREADS:
            yield self._problem(
                node, place, f"{name} may be alive at the snapshot, and in every worker that is restored"
            )

    def _kept(self, node: ast.Assign | ast.AnnAssign, value: ast.expr, place: _Place) -> Iterator[Problem]:
        """What is put where it outlives the hook."""
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        if not any(place.is_module or isinstance(target, ast.Attribute) for target in targets):
            return
        name = self._named(value.func) if isinstance(value, ast.Call) else None
        if name in _CONNECTIONS:
            yield self._problem(node, place, f"{name} is kept across the snapshot, and its connection is not")
        elif name == "open":
            yield self._problem(node, place, "a file is kept open across the snapshot")
        elif name in _GENERATORS:
            yield self._problem(node, place, f"{name}: every restored worker draws the same numbers from it")
        elif secret := self._secret(value):
            yield self._problem(node, place, f"the secret {secret} is kept as it was before the snapshot")

    def _secret(self, value: ast.expr) -> str | None:
        """The declared secret that is read here, if one is."""
        for node in ast.walk(value):
            if isinstance(node, ast.Constant) and node.value in self._plan.spec.secrets:
                return str(node.value)
        return None

    def _named(self, node: ast.expr) -> str | None:
        """`np.random.default_rng` as `numpy.random.default_rng`; None for what is no plain name."""
        parts: list[str] = []
        while isinstance(node, ast.Attribute):
            parts.append(node.attr)
            node = node.value
        if not isinstance(node, ast.Name):
            return None
        return ".".join((self._imports.get(node.id, node.id), *reversed(parts)))

    def _problem(self, node: ast.AST, place: _Place, message: str) -> Problem:
        line = getattr(node, "lineno", 0)
        return Problem(message=message, fix=RESTORED, where=f"{self._file}:{line}, in {place.name}")
