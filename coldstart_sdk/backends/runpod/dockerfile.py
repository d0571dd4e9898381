"""Spell a plan as a Dockerfile that Docker, BuildKit and buildah read alike.

Layers stand in the order in which they change least: base, system packages, Python packages, commands,
weights, code. Weights come from a stage of their own, so that neither a package nor a line of code brings
them again. No heredoc, no `COPY --link`, no `ADD --checksum`, no secret as a variable: buildah has none of
these. A secret is a file that one command sees.
"""

from __future__ import annotations

import json
import posixpath
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence

from coldstart_sdk import gpu, machine
from coldstart_sdk.backends.runpod.base import Base, declared_cards
from coldstart_sdk.plan import Plan, Stage
from coldstart_sdk.spec import Origin, Place

APP = "/app"
CODE = f"{APP}/code"
MODELS = "/models"
"""Where baked weights lie: never below the mount of a volume, which would hide them."""
_BASE = "ARG BASE="
_VENV = "/opt/venv"
_PIP = "--mount=type=cache,target=/root/.cache/pip"
_APT = (
    "--mount=type=cache,target=/var/cache/apt,sharing=locked "
    "--mount=type=cache,target=/var/lib/apt/lists,sharing=locked"
)
_TOKENS = {
    Origin.HF: ("HF_TOKEN",),
    Origin.S3: ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"),
}
_MIRRORS = {Origin.HF: "HF_ENDPOINT", Origin.S3: "AWS_ENDPOINT_URL"}


def spell(plan: Plan, base: Base, fetching: Sequence[str] = ()) -> str:
    """`fetching` are the files of the bundle that the weights stage needs."""
    return "\n".join(_lines(plan, base, fetching)) + "\n"


def base_of(text: str) -> str:
    """The image that this Dockerfile begins with."""
    return next(line.removeprefix(_BASE) for line in text.splitlines() if line.startswith(_BASE))


def build_secrets(plan: Plan) -> tuple[str, ...]:
    """Names of the secrets that the weights stage may be given; every one may be absent."""
    origins = {plan.spec.weights[name].origin for name in baked(plan)}
    return tuple(token for origin in _TOKENS if origin in origins for token in _TOKENS[origin])


def sdk(plan: Plan, weights: Iterable[str]) -> str:
    """Our own requirement, with the clients that these weights, and large results, need."""
    origins = {plan.spec.weights[name].origin for name in weights}
    addresses = (plan.store, plan.spec.results)
    needs_s3 = Origin.S3 in origins or any(address and address.startswith("s3://") for address in addresses)
    extras = (*(["hf"] if Origin.HF in origins else []), *(["s3"] if needs_s3 else []))
    return f"coldstart-sdk{'[' + ','.join(extras) + ']' if extras else ''}=={plan.sdk}"


def baked(plan: Plan) -> tuple[str, ...]:
    """The weights that are put into the image."""
    return tuple(name for name, place in plan.places.items() if place is Place.IMAGE)


def _lines(plan: Plan, base: Base, fetching: Sequence[str]) -> Iterator[str]:
    spec = plan.spec
    yield "# syntax=docker/dockerfile:1.7"
    yield f"# {spec.qualname} as a worker for RunPod. Made by coldstart {plan.sdk}; edits are lost."
    yield f"#   {_command(plan)}"
    yield ""
    yield f"# {base.image}:"
    yield from (f"#   {reason}" for reason in base.reasons)
    yield f"{_BASE}{base.image}"
    yield ""
    yield "FROM ${BASE} AS runtime"
    if base.cuda:
        cards = [found for card in declared_cards(plan) if (found := gpu.find(card.gpu))]
        yield _env({"TORCH_CUDA_ARCH_LIST": gpu.arch_list(cards)})
    yield from _system(plan)
    shared = "--system-site-packages " if base.shares_packages else ""
    yield f"RUN python3 -m venv {shared}{_VENV}"
    yield f"ENV PATH={_VENV}/bin:$PATH PYTHONUNBUFFERED=1"
    yield "COPY requirements.lock /build/"
    yield f"RUN {_PIP} pip install --requirement /build/requirements.lock"
    yield from (f"RUN {command.command}" for command in spec.image.run)
    yield ""
    if baked(plan):
        yield from _weights(plan, fetching)
    yield "FROM runtime"
    if baked(plan):
        yield f"COPY --from=weights {MODELS} {MODELS}"
    yield _env(environment(plan))
    yield f"COPY code/ {CODE}/"
    yield from (f"COPY {json.dumps([f'code/{source}', place])}" for source, place in copies(plan))
    yield f"COPY plan.json handler.py test_input.json {APP}/"
    yield f"RUN python -m compileall -q --invalidation-mode unchecked-hash {APP}"
    if plan.steps_in(Stage.BUILD):
        yield f"RUN python {APP}/handler.py build"
    yield f"WORKDIR {APP}"
    yield f"CMD {json.dumps(['python', '-u', f'{APP}/handler.py'])}"


def _command(plan: Plan) -> str:
    secrets = "".join(f" --secret id={name},env={name}" for name in build_secrets(plan))
    return f"docker buildx build --platform linux/amd64{secrets} --tag {plan.spec.name} ."


def _system(plan: Plan) -> Iterator[str]:
    packages = " ".join((*plan.spec.image.apt,))
    if packages:
        yield (
            f"RUN {_APT} apt-get update && "
            f"DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends {packages}"
        )


def _weights(plan: Plan, files: Sequence[str]) -> Iterator[str]:
    """A stage that sees nothing of packages and code, so that it runs again only for other weights."""
    secrets = "".join(f" --mount=type=secret,id={name}" for name in build_secrets(plan))
    yield "FROM ${BASE} AS weights"
    yield "RUN python3 -m venv /opt/fetch"
    yield f"RUN {_PIP} /opt/fetch/bin/pip install '{sdk(plan, baked(plan))}'"
    yield f"COPY {' '.join(files)} /build/"
    # A mirror is named on the command line: --build-arg HF_ENDPOINT=…
    yield from (f"ARG {name}" for name in _mirrors(plan))
    yield f"RUN{secrets} /opt/fetch/bin/python /build/fetch_weights.py {MODELS}"
    yield ""


def _mirrors(plan: Plan) -> tuple[str, ...]:
    origins = {plan.spec.weights[name].origin for name in baked(plan)}
    return tuple(name for origin, name in _MIRRORS.items() if origin in origins)


def environment(plan: Plan) -> Mapping[str, str]:
    """What every process of the image sees."""
    home = {"COLDSTART_HOME": MODELS} if baked(plan) else {}
    # Some of these are read while a process starts, too early for a worker to set them.
    return {**machine.PRESETS, **plan.env, **home}


def copies(plan: Plan) -> Iterator[tuple[str, str]]:
    """What `Container.copy` puts elsewhere than beside the code: from where to where."""
    for source, target in plan.spec.image.files:
        place = posixpath.normpath(posixpath.join(CODE, target))
        if place != posixpath.normpath(f"{CODE}/{source}"):
            yield source, place


def _env(pairs: Mapping[str, str]) -> str:
    said = " \\\n    ".join(f"{name}={_quoted(value)}" for name, value in sorted(pairs.items()))
    return f"ENV {said}"


def _quoted(value: str) -> str:
    """As the Dockerfile's own parser unquotes it; a dollar is only a dollar."""
    if value and shlex.quote(value) == value:
        return value
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("$", "\\$")
    return '"' + escaped.replace("\n", "\\\n") + '"'
