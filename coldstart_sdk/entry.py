"""From `FILE[:Class]` to the class: import the user's file, and say plainly why it cannot be imported.

A worker imports this too, so what only a mistake needs is imported where the mistake is told.
"""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType, TracebackType

from coldstart_sdk.errors import ColdstartError, DeclarationError, Problem, UsageError
from coldstart_sdk.hook import declarations_of, marks_of

INSTALLED_AS = {
    "PIL": "pillow",
    "bs4": "beautifulsoup4",
    "cv2": "opencv-python-headless",
    "dateutil": "python-dateutil",
    "dotenv": "python-dotenv",
    "f5_tts": "f5-tts",
    "sklearn": "scikit-learn",
    "skimage": "scikit-image",
    "yaml": "pyyaml",
}
"""Modules whose distribution goes by another name."""
_WELL_KNOWN = frozenset(
    {"accelerate", "diffusers", "librosa", "numpy", "onnxruntime", "pydantic", "requests", "safetensors"}
    | {"scipy", "soundfile", "tokenizers", "torch", "torchaudio", "torchvision", "transformers", "vllm"}
)
"""What a slip of the finger may have meant, whether it is installed here or not."""
_OURS = __name__.partition(".")[0]


def load(reference: str) -> type:
    """The class that `FILE:Class` names, or the only declared one of `FILE`."""
    path, name = parse(reference)
    module = import_file(path)
    return _named(module, name, path) if name else _only(module, path)


def find(module: str, qualname: str, *, folder: Path | None = None) -> type:
    """The class that a `Spec` tells of: in the folder, or else wherever modules are looked for."""
    places = (folder,) if folder else tuple(Path(place or ".") for place in sys.path)
    path = next((file for place in places if (file := place / f"{module}.py").is_file()), None)
    if path is None:
        raise UsageError(
            f"there is no {module}.py {f'in {folder}' if folder else 'where Python looks for modules'}",
            fix="Put the declaration's file beside the worker, or build the bundle again.",
        )
    return _named(import_file(path), qualname, path)


def folder_of(reference: str) -> Path:
    """Where the declaration lies that the reference names."""
    return parse(reference)[0].resolve().parent


def parse(reference: str) -> tuple[Path, str | None]:
    """The file, which exists, and the class's name when one was given; a folder stands for its `app.py`."""
    file, colon, name = reference.rpartition(":")
    if not colon or Path(reference).is_file():
        file, name = reference, ""
    if colon and not all(part.isidentifier() for part in (name or "x").split(".")):
        raise UsageError(f"{name!r} is not the name of a class", fix=f"Write {file}:ClassName.")
    path = Path(file).expanduser()
    if (within := path / "app.py").is_file():
        path = within
    if not path.is_file():
        raise _no_file(path)
    if path.suffix != ".py":
        raise UsageError(f"{path} is not a Python file", fix="Give the .py file that holds the declaration.")
    return path, name or None


def import_file(path: Path) -> ModuleType:
    """The file as a module named after it, with its folder first where modules are looked for."""
    path = path.resolve()
    known = sys.modules.get(path.stem)
    if known is not None and getattr(known, "__file__", None) == str(path):
        return known
    if known is not None or path.stem in sys.stdlib_module_names:
        raise UsageError(
            f"{path.name} has the name of the module {path.stem!r}, and would hide it",
            fix=f"Rename the file, such as my_{path.stem}.py.",
            where=shown(path),
        )
    if sys.path[:1] != [str(path.parent)]:
        sys.path.insert(0, str(path.parent))
    return _run(path)


def shown(path: Path) -> str:
    """The path as a user would type it."""
    try:
        return path.resolve().relative_to(Path.cwd()).as_posix()
    except (ValueError, OSError):
        return str(path)


def _run(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise UsageError(f"{path} is not a Python file", fix="Give the .py file that holds the declaration.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as exc:
        del sys.modules[path.stem]
        raise _not_importable(exc, path) from exc
    return module


def _not_importable(exc: BaseException, path: Path) -> ColdstartError:
    where = _own_line(exc.__traceback__, path)
    if isinstance(exc, ColdstartError):
        return DeclarationError.of(
            tuple(replace(problem, where=_shown_where(problem) or where) for problem in exc.problems)
        )
    if isinstance(exc, SyntaxError):
        return DeclarationError(
            f"{Path(exc.filename or path).name} is not Python: {exc.msg}",
            fix="Mend the syntax on that line, or the one above it.",
            where=f"{shown(Path(exc.filename or path))}:{exc.lineno or 1}",
        )
    if isinstance(exc, ModuleNotFoundError) and exc.name:
        return _missing(exc.name, path, where)
    if isinstance(exc, ImportError) and exc.name in {path.stem, _OURS}:
        return _missing(exc.name, path, where) if exc.name == path.stem else _misspelt(exc, path, where)
    if isinstance(exc, SystemExit):
        return DeclarationError(
            f"{path.name} ends the program while it is imported",
            fix='Put what should only run as a script under if __name__ == "__main__".',
            where=where,
        )
    beside = isinstance(exc, ImportError) and "relative import" in str(exc)
    return _unknown_option(exc, where) or DeclarationError(
        f"{path.name} cannot be imported: {type(exc).__name__}: {exc}",
        fix="Import what lies beside the file by its own name, without the dot: from voices import VOICES."
        if beside
        else "Mend that line; what needs weights, a GPU or the network belongs in a hook.",
        where=where,
    )


def _unknown_option(exc: BaseException, where: str | None) -> DeclarationError | None:
    """A keyword that something of ours does not take."""
    import difflib  # noqa: PLC0415 - only a mistake pays for it
    import inspect  # noqa: PLC0415 - as above

    told = re.match(r"(\w+)\.(\w+)\(\) got an unexpected keyword argument '(\w+)'", str(exc))
    function = told and getattr(getattr(sys.modules[_OURS], told[1], None), told[2], None)
    if told is None or function is None or not isinstance(exc, TypeError):
        return None
    takes = [name for name in inspect.signature(function).parameters if name != "self"]
    near = difflib.get_close_matches(told[3], takes, n=1)
    called = told[1] if told[2] == "__init__" else f"{told[1]}.{told[2]}"
    return DeclarationError(
        f"{called} has no option {told[3]!r}",
        fix=f"{f'Did you mean {near[0]}=? ' if near else ''}It takes {', '.join(takes)}.",
        where=where,
    )


def _misspelt(exc: ImportError, path: Path, where: str | None) -> DeclarationError:
    """A name that we do not have."""
    import difflib  # noqa: PLC0415 - only a mistake pays for it

    asked = re.search(r"cannot import name '(\w+)'", str(exc))
    name = asked[1] if asked else ""
    public: list[str] = sys.modules[_OURS].__all__
    near = difflib.get_close_matches(name, public, n=1)
    return DeclarationError(
        f"{_OURS} has no {name!r}, and {path.name} imports it",
        fix=f"Did you mean {near[0]}?" if near else f"It has {', '.join(public)}.",
        where=where,
    )


def _missing(name: str, path: Path, where: str | None) -> DeclarationError:
    top = name.partition(".")[0]
    if top == path.stem:
        return DeclarationError(
            f"{path.name} hides the package {top!r} that it imports from",
            fix=f"Rename the file, such as my_{path.stem}.py.",
            where=where,
        )
    inside = any(folder.name == top for folder in path.parents)
    return DeclarationError(
        f"there is no module {name!r} here, and {path.name} imports it at its top",
        fix=f"Import what lies beside the file by its own name, without {top!r} before it."
        if inside
        else f"{mend_missing(top)}, or import it inside the hook that needs it.",
        where=where,
    )


def is_here(module: str, *, folder: Path | None = None) -> bool:
    """Whether the module's top-level package can be found; nothing is imported."""
    top = module.partition(".")[0]
    if folder and ((folder / f"{top}.py").is_file() or (folder / top).is_dir()):
        return True
    try:
        return top in sys.modules or importlib.util.find_spec(top) is not None
    except ValueError:  # a module that somebody made up, without a spec
        return True


def near_module(module: str) -> str | None:
    """What was probably meant by the name of a module that is not here."""
    import difflib  # noqa: PLC0415 - only a mistake pays for these two
    from importlib.metadata import packages_distributions  # noqa: PLC0415

    top = module.partition(".")[0]
    known = {*packages_distributions(), *sys.stdlib_module_names, *INSTALLED_AS, *_WELL_KNOWN}
    known = {name for name in known if not name.startswith("_")} - {top}
    near = difflib.get_close_matches(top, sorted(known), n=1, cutoff=0.8)
    return near[0] if near else None


def mend_missing(module: str) -> str:
    """What to do about a module that is not here, as the beginning of a sentence."""
    top = module.partition(".")[0]
    near = near_module(top)
    if near is None:
        return f"Run `pip install {INSTALLED_AS.get(top, top)}`"
    if is_here(near):
        return f"Did you mean {near}, which is here? If not, run `pip install {INSTALLED_AS.get(top, top)}`"
    return f"Did you mean {near}? Run `pip install {INSTALLED_AS.get(near, near)}`"


def _own_line(trace: TracebackType | None, path: Path) -> str | None:
    """The last line of the user's own, not of a library's, that led to the error."""
    where = None
    while trace is not None:
        file = Path(trace.tb_frame.f_code.co_filename)
        if file.is_relative_to(path.parent) and "site-packages" not in file.parts:
            where = f"{shown(file)}:{trace.tb_lineno}"
        trace = trace.tb_next
    return where or shown(path)


def _shown_where(problem: Problem) -> str | None:
    file, colon, line = (problem.where or "").rpartition(":")
    return f"{shown(Path(file))}:{line}" if colon else problem.where


def _only(module: ModuleType, path: Path) -> type:
    classes = list(_classes(module))
    declared = [cls for cls in classes if declarations_of(cls)]
    if len(declared) == 1:
        return declared[0]
    if declared:
        names = [f"{shown(path)}:{cls.__qualname__}" for cls in declared]
        raise UsageError(
            f"{path.name} declares {len(names)} classes",
            fix=f"Name one: {' or '.join(names)}.",
            where=shown(path),
        )
    near = next((cls for cls in classes if any(marks_of(member) for member in vars(cls).values())), None)
    if near is not None:
        raise _unmarked(near, path)
    raise DeclarationError(
        f"{path.name} declares no class",
        fix="Write @warm_model above the class that has the hooks, or start with `coldstart init`.",
        where=shown(path),
    )


def _named(module: ModuleType, name: str, path: Path) -> type:
    found: object = module
    for part in name.split("."):
        found = getattr(found, part, None)
    if not isinstance(found, type):
        raise _no_class(module, name, path)
    if found.__module__ != module.__name__:
        raise UsageError(
            f"{name} is not defined in {path.name}, but in {found.__module__}",
            fix=f"Give the file that defines it: {found.__module__.replace('.', '/')}.py:{name}.",
            where=shown(path),
        )
    if not declarations_of(found):
        raise _unmarked(found, path)
    return found


def _unmarked(cls: type, path: Path) -> DeclarationError:
    return DeclarationError(
        f"{cls.__name__} is not marked as a declaration",
        fix=f"Write @warm_model above class {cls.__name__}.",
        where=_where_class(cls, path),
    )


def _no_class(module: ModuleType, name: str, path: Path) -> UsageError:
    import difflib  # noqa: PLC0415 - only a mistake pays for it

    have = [cls.__qualname__ for cls in _classes(module) if declarations_of(cls)]
    near = difflib.get_close_matches(name, have, n=1, cutoff=0.5)
    if near:
        fix = f"Did you mean {near[0]}?"
    else:
        fix = f"It declares {', '.join(have)}." if have else "Write @warm_model above a class in it."
    return UsageError(f"{path.name} has no class {name!r}", fix=fix, where=shown(path))


def _classes(module: ModuleType) -> Iterator[type]:
    """The classes that the file itself defines, each once."""
    seen: set[int] = set()
    for value in vars(module).values():
        if isinstance(value, type) and value.__module__ == module.__name__ and id(value) not in seen:
            seen.add(id(value))
            yield value


def _where_class(cls: type, path: Path) -> str:
    pattern = re.compile(rf"^\s*class\s+{re.escape(cls.__name__)}\b")
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    line = next((number for number, text in enumerate(lines, start=1) if pattern.match(text)), None)
    return f"{shown(path)}:{line}" if line else shown(path)


def _no_file(path: Path) -> UsageError:
    if path.is_dir():
        files = sorted(file.name for file in path.glob("*.py"))
        fix = f"Name a file in it: {', '.join(files[:5])}." if files else "Give a .py file."
        return UsageError(f"{path} is a folder without an app.py", fix=fix)
    import difflib  # noqa: PLC0415 - only a mistake pays for it

    files = sorted(file.name for file in path.parent.glob("*.py"))
    near = difflib.get_close_matches(path.name, files, n=2, cutoff=0.7)
    if near:
        fix = f"Did you mean {' or '.join(str(path.parent / name) for name in near)}?"
    else:
        fix = "Give the .py file that holds the declaration, or make one with `coldstart init`."
    return UsageError(f"there is no file {path}", fix=fix)
