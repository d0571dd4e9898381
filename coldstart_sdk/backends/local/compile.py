"""Spell a plan as a folder that serves the class on any machine with Python: `sh run.sh`."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path

from coldstart_sdk.bundle import Artifact, Bundle, code
from coldstart_sdk.errors import BundleError
from coldstart_sdk.plan import Plan
from coldstart_sdk.spec import Origin

_LARGE_BYTES = 100 * 10**6
"""From here on run.sh says how much the folder carries."""


def compile_bundle(plan: Plan, project: Path) -> Bundle:
    own = code(project, plan.spec)
    paths = {artifact.path for artifact in own}
    weights = tuple(each for each in _local_weights(plan, project) if each.path not in paths)
    return Bundle(
        target="local",
        artifacts=(
            *own,
            *weights,
            Artifact(path="plan.json", content=plan.to_json()),
            Artifact(path="requirements.txt", content=_requirements(plan)),
            Artifact(path="run.sh", content=_run(plan, _bytes(weights)), executable=True),
        ),
    )


def _local_weights(plan: Plan, project: Path) -> Iterator[Artifact]:
    """The files of each `Weights.local`, at the same place beside the declaration."""
    seen: set[str] = set()
    for name, weight in plan.spec.weights.items():
        if weight.origin is not Origin.LOCAL:
            continue
        root = _inside(name, weight.source, project)
        for file in sorted(root.rglob("*")) if root.is_dir() else [root]:
            path = file.relative_to(project).as_posix()
            if file.is_file() and path not in seen:
                seen.add(path)
                yield Artifact(path=path, content=file)


def _inside(name: str, source: str, project: Path) -> Path:
    root = project / Path(source).expanduser()
    if not root.exists():
        raise BundleError(
            f"weights/{name} names {source!r}, which is not there",
            fix="Put the files there, or correct Weights.local.",
            where=str(root),
        )
    plain = Path(source)
    if plain.is_absolute() or ".." in plain.parts or source.startswith("~") or plain == Path():
        copy = f"cp -r {shlex.quote(str(root.resolve()))} {shlex.quote(str(project / name))}"
        raise BundleError(
            f"weights/{name} lie outside of the project, and a bundle carries what lies in it",
            fix=f'Run `{copy}`, and write Weights.local("{name}").',
            where=str(root),
        )
    return root


def _bytes(weights: tuple[Artifact, ...]) -> int:
    return sum(each.content.stat().st_size for each in weights if isinstance(each.content, Path))


def _requirements(plan: Plan) -> str:
    return "\n".join((f"coldstart-sdk=={plan.sdk}", *plan.spec.image.pip)) + "\n"


def _run(plan: Plan, weights_bytes: int) -> str:
    spec = plan.spec
    packages = f"# Needs these Debian packages: {' '.join(spec.image.apt)}\n" if spec.image.apt else ""
    large = f"# Carries {weights_bytes / 10**9:.1f} GB of weights.\n" if weights_bytes >= _LARGE_BYTES else ""
    return f"""#!/bin/sh
# Serves {spec.qualname} here: `sh run.sh --port 8000`. plan.json says what happens on a start.
# Made by coldstart {plan.sdk}; edits are lost when it is built again.
# It starts with the coldstart that is here, if that is version {plan.sdk}; else it installs one into .venv.
# What the class imports is in requirements.txt.
{packages}{large}set -eu
cd "$(dirname "$0")"
is_ours() {{ [ "$("$@" --version 2>/dev/null)" = "coldstart {plan.sdk}" ]; }}
if [ -x .venv/bin/coldstart ]; then
    start=.venv/bin/coldstart
elif is_ours coldstart; then
    start=coldstart
elif is_ours python3 -m coldstart_sdk.cli; then
    start="python3 -m coldstart_sdk.cli"
elif python3 -m venv .venv && .venv/bin/pip install -r requirements.txt; then
    start=.venv/bin/coldstart
else
    rm -rf .venv
    echo "error: coldstart-sdk {plan.sdk} is not here, and pip could not install requirements.txt" >&2
    echo "at:    $PWD" >&2
    echo "fix:   Put coldstart {plan.sdk} on PATH, with what requirements.txt names, and run this again." >&2
    exit 4
fi
exec $start serve {shlex.quote(f"{spec.module}.py:{spec.qualname}")} "$@"
"""
