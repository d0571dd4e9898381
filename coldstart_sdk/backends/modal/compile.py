"""Spell a plan as `modal_app.py`, the plan beside it, and the user's code: `modal deploy modal_app.py`.

The module holds what Modal insists on seeing; every behaviour is in `worker`, which it imports.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from coldstart_sdk.backends.modal import environ, refuse
from coldstart_sdk.backends.modal.spell import call, text, value
from coldstart_sdk.bundle import Artifact, Bundle, code
from coldstart_sdk.plan import Plan, Stage
from coldstart_sdk.spec import EndpointSpec, Origin, Place, Snapshot, Spec

MODULE = "modal_app.py"
PYTHON = "3.11"
"""Where the declaration names none: the oldest that Modal's client will go on taking."""
UV = "0.9.7"
"""Pinned: without it an image is built with whatever uv is newest on that day."""
STARTUP_S = 1800
"""How long a worker may take to start, at the least: the first one may have all weights to fetch."""

_FLAGS = (
    "routing_region",
    "cloud",
    "cpu",
    "memory",
    "ephemeral_disk",
    "buffer_containers",
    "retries",
    "nonpreemptible",
    "single_use_containers",
    "block_network",
)
"""Arguments of `App.cls` that `overrides` passes on as they are."""


def compile_bundle(plan: Plan, project: Path) -> Bundle:
    refuse.unspeakable(plan)
    files = code(project, plan.spec)
    return Bundle(
        target="modal",
        artifacts=(
            *(
                Artifact(path=f"code/{file.path}", content=file.content, executable=file.executable)
                for file in files
            ),
            Artifact(path=MODULE, content=module(plan, _folders(plan, project))),
            Artifact(path="plan.json", content=plan.to_json()),
        ),
    )


def module(plan: Plan, folders: frozenset[str] = frozenset()) -> str:
    """The text of `modal_app.py`; `folders` are those of the files to copy that are whole folders."""
    parts = (
        _head(plan),
        "\n".join((f"app = modal.App({text(plan.spec.name)})", *_volume(plan), *_secrets(plan))),
        _image(plan, folders),
        _class(plan),
        *_prefetch(plan),
    )
    head, body = "\n".join(parts[:3]), parts[3:]
    return "\n\n\n".join((head, *body)) + "\n"


def _folders(plan: Plan, project: Path) -> frozenset[str]:
    return frozenset(source for source, _ in plan.spec.image.files if (project / source).is_dir())


def _head(plan: Plan) -> str:
    spec = plan.spec
    about = f"{spec.qualname} of code/{spec.module}.py on Modal: `modal deploy modal_app.py`"
    return f'''"""{about}.

Made by coldstart {plan.sdk}; edits are lost when it is built again. What happens when is in plan.json.
"""

from pathlib import Path

import modal

from coldstart_sdk.backends.modal import worker

HERE = Path(__file__).parent
'''


# ---- what the class stands on


def _volume(plan: Plan) -> Iterator[str]:
    if plan.volume:
        # Without version=: asking for another one than an existing volume has is an error.
        yield f"volume = modal.Volume.from_name({text(plan.volume.name)}, create_if_missing=True)"
    elif environ.compiles(plan):
        name = f"{plan.spec.name}-compiled"
        yield f"compiled = modal.Volume.from_name({text(name)}, create_if_missing=True)"


def _secrets(plan: Plan) -> Iterator[str]:
    if plan.spec.secrets:
        names = _overrides(plan.spec).get("secrets", {})
        lines = [
            f"modal.Secret.from_name({text(names.get(name, name))}, required_keys=[{text(name)}])"
            for name in plan.spec.secrets
        ]
        yield f"secrets = [\n{''.join(f'    {line},{chr(10)}' for line in lines)}]"


def _image(plan: Plan, folders: frozenset[str]) -> str:
    return "image = (\n" + "\n".join(f"    {layer}" for layer in _layers(plan, folders)) + "\n)"


def _layers(plan: Plan, folders: frozenset[str]) -> Iterator[str]:
    """Heaviest first, code last: a change of code leaves the others alone."""
    image = plan.spec.image
    if image.base:
        yield call("modal.Image.from_registry", [text(image.base)], 4)
    else:
        yield call("modal.Image.debian_slim", [f"python_version={text(image.python or PYTHON)}"], 4)
    if image.apt:
        yield call(".apt_install", [text(package) for package in image.apt], 4)
    requirements = (_ourselves(plan), *image.pip)
    yield call(".uv_pip_install", [*map(text, requirements), f"uv_version={text(UV)}"], 4)
    yield call(".env", [value(environ.environment(plan), 8)], 4)
    for run in image.run:
        yield call(".run_commands", [text(run.command), *(_build_gpu(plan) if run.gpu else ())], 4)
    yield from _source(plan, folders)


def _ourselves(plan: Plan) -> str:
    origins = {weight.origin for weight in plan.spec.weights.values()}
    extras = [
        *(["hf"] if Origin.HF in origins else []),
        *(["s3"] if Origin.S3 in origins or plan.store else []),
    ]
    return f"coldstart-sdk{f'[{chr(44).join(extras)}]' if extras else ''}=={plan.sdk}"


def _build_gpu(plan: Plan) -> Sequence[str]:
    return [f"gpu={text(plan.gpu[0])}"] if plan.gpu else ()


def _source(plan: Plan, folders: frozenset[str]) -> Iterator[str]:
    """Mounted when a worker starts; part of the image only where a build step needs it."""
    builds = bool(plan.steps_in(Stage.BUILD)) or _baked(plan)
    copied = ["copy=True"] if builds else []
    for source, target in plan.spec.image.files:
        path = target if target.startswith("/") else f"/root/{target}"
        add = ".add_local_dir" if source in folders else ".add_local_file"
        yield call(add, [f"HERE / {text(f'code/{source}')}", text(path), *copied], 4)
    yield call(".add_local_file", ['HERE / "plan.json"', '"/root/plan.json"', *copied], 4)
    yield call(".add_local_dir", ['HERE / "code"', '"/root/code"', *copied], 4)
    if builds:
        command = '"cd /root && python -m coldstart_sdk.backends.modal.build"'
        secrets = ["secrets=secrets"] if plan.spec.secrets else []
        yield call(".run_commands", [command, *secrets], 4)


def _baked(plan: Plan) -> bool:
    """Whether weights are part of the image."""
    return Place.IMAGE in plan.places.values()


# ---- the class


def _class(plan: Plan) -> str:
    lines = [
        call("@app.cls", list(_class_options(plan))),
        *_concurrent(plan.spec),
        f"class {class_name(plan.spec)}:",
        *_enters(plan),
    ]
    for endpoint in plan.spec.endpoints:
        lines += ["", *_method(endpoint)]
    return "\n".join([*lines, *_about(plan.spec)])


def _class_options(plan: Plan) -> Iterator[str]:
    spec, said = plan.spec, _overrides(plan.spec)
    timeout = math.ceil(spec.timeout_s)
    yield "image=image"
    if plan.gpu:
        yield f"gpu={text(plan.gpu[0]) if len(plan.gpu) == 1 else value(list(plan.gpu), 4)}"
    yield from _attached(plan)
    if spec.scale.min:
        yield f"min_containers={spec.scale.min}"
    yield f"max_containers={spec.scale.max}"
    yield f"scaledown_window={math.ceil(spec.scale.idle_s)}"
    yield f"timeout={timeout}"
    yield f"startup_timeout={said.get('startup_timeout', max(timeout, STARTUP_S))}"
    if plan.snapshot is not Snapshot.NONE:
        yield "enable_memory_snapshot=True"
    if plan.snapshot is Snapshot.GPU:
        yield 'experimental_options={"enable_gpu_snapshot": True}'
    region = said.get("region") or (plan.volume.region if plan.volume else None)
    if region:
        yield f"region={value(region, 4)}"
    for name in _FLAGS:
        if name in said:
            yield f"{name}={value(said[name], 4)}"


def _attached(plan: Plan) -> Iterator[str]:
    if plan.volume:
        yield f"volumes={{{text(environ.VOLUME)}: volume}}"
    elif environ.compiles(plan):
        yield f"volumes={{{text(environ.COMPILED)}: compiled}}"
    if plan.spec.secrets:
        yield "secrets=secrets"


def _concurrent(spec: Spec) -> Iterator[str]:
    if spec.scale.concurrency > 1:
        yield f"@modal.concurrent(max_inputs={spec.scale.concurrency})"


def _enters(plan: Plan) -> Iterator[str]:
    volume = "volume" if plan.volume else "compiled" if environ.compiles(plan) else None
    worker = f"worker.Worker(HERE{f', volume={volume}' if volume else ''})"
    if plan.snapshot is Snapshot.NONE:
        yield "    @modal.enter()"
        yield "    def _start(self):"
        yield f"        self._worker = {worker}"
        yield "        self._worker.start()"
    else:
        yield "    @modal.enter(snap=True)"
        yield "    def _before_snapshot(self):"
        yield f"        self._worker = {worker}"
        yield "        self._worker.before_snapshot()"
        yield ""
        yield "    @modal.enter()"
        yield "    def _after_snapshot(self):"
        yield "        self._worker.after_snapshot()"
    yield ""
    yield "    @modal.exit()"
    yield "    def _stop(self):"
    yield "        self._worker.stop()"


def _method(endpoint: EndpointSpec) -> Iterator[str]:
    name = endpoint.method
    yield "    @modal.method()"
    yield f"    async def {name}(self, **arguments):"
    if endpoint.streams:
        yield f"        async for chunk in self._worker.stream({text(name)}, arguments):"
        yield "            yield chunk"
    else:
        yield f"        return await self._worker.answer({text(name)}, arguments)"


def _about(spec: Spec) -> Iterator[str]:
    """The HTTP app, the way in for `coldstart invoke`, and the story of this start."""
    taken = {endpoint.method for endpoint in spec.endpoints}
    http = "http" if "http" not in taken else "coldstart_http"
    public = _overrides(spec).get("public", False)
    yield ""
    yield f"    @modal.asgi_app({'' if public else 'requires_proxy_auth=True'})"
    yield f"    def {http}(self):"
    yield "        return self._worker.app"
    yield ""
    yield "    @modal.method()"
    yield "    async def coldstart_invoke(self, endpoint, arguments):"
    yield "        async for said in self._worker.invoke(endpoint, arguments):"
    yield "            yield said"
    yield ""
    yield "    @modal.method()"
    yield "    def trace(self):"
    yield "        return self._worker.trace()"


# ---- filling the volume


def _prefetch(plan: Plan) -> Iterator[str]:
    if not plan.volume or not plan.spec.weights:
        return
    options = ["image=image", *_attached(plan), "timeout=24 * 60 * 60"]
    yield "\n".join(
        (
            call("@app.function", options),
            "def prefetch():",
            '    """Fill the volume: `modal run modal_app.py::prefetch`."""',
            "    worker.Worker(HERE, volume=volume).prefetch()",
        )
    )


def class_name(spec: Spec) -> str:
    """Modal's class has the name of the user's."""
    return spec.qualname.rpartition(".")[2]


def _overrides(spec: Spec) -> Mapping[str, Any]:
    return spec.overrides.get("modal", {})
