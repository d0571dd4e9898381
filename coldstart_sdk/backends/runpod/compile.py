"""Spell a plan as a folder that Docker builds and RunPod runs."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path, PurePosixPath

from coldstart_sdk import record
from coldstart_sdk.backends.runpod import base, body, digests, dockerfile, hub, models, sample, workflow
from coldstart_sdk.bundle import Artifact, Bundle, code
from coldstart_sdk.errors import BundleError
from coldstart_sdk.manifest import LOCK_NAME
from coldstart_sdk.plan import Plan
from coldstart_sdk.spec import Origin, ScaleSpec

RUNPOD = "runpod>=1.10.1"
"""Older ones give every job of an endpoint with a volume to one worker (docs, serverless/troubleshooting)."""
_OLDEST = (1, 10, 1)
LOCK = "requirements.lock"


def compile_bundle(plan: Plan, project: Path) -> Bundle:
    _refuse_what_stays_here(plan)
    files = _image(plan, project)
    name = f"{_repository(plan)}:{tag(files)}"
    asked = (*_asked(plan, name, files), *_models(plan, files))
    return Bundle(target="runpod", artifacts=(*files, *_around(plan, project), *asked))


def _repository(plan: Plan) -> str:
    """Where the image goes, without a tag: that is ours to give."""
    said = str(body.overrides(plan).get("image", plan.spec.name))
    if ":" in said.rpartition("/")[2] or "@" in said:
        raise BundleError(
            f"overrides['runpod'] has the image {said!r:.100}, and the tag is a digest of its content",
            fix=f"Write {re.split('[:@]', said.rpartition('/')[2])[0]!r} without a tag, after its registry.",
            where=f"{plan.spec.module}.py:{plan.spec.qualname}",
        )
    return said


def tag(files: Iterable[Artifact]) -> str:
    """Equal for equal images: the digest of everything that an image is built from."""
    seen = hashlib.sha256()
    for file in sorted(files, key=lambda file: file.path):
        seen.update(f"{file.path}\0{file.mode:o}\0{len(file.data)}\0".encode() + file.data)
    return seen.hexdigest()[:16]


def of_worker(plan: Plan) -> Plan:
    """The plan without what only the platform needs: another scale or disk is no other image."""
    said = body.overrides(plan)
    usual = ScaleSpec()
    spec = replace(
        plan.spec,
        scale=replace(plan.spec.scale, min=usual.min, max=usual.max, idle_s=usual.idle_s),
        overrides={"runpod": {"mode": said["mode"]}} if "mode" in said else {},
    )
    return replace(plan, spec=spec, spec_digest=spec.digest(), notes=())


def _image(plan: Plan, project: Path) -> tuple[Artifact, ...]:
    user = tuple(replace(file, path=f"code/{file.path}") for file in code(project, plan.spec))
    baked = _weights(plan, user) if dockerfile.baked(plan) else ()
    fetching = tuple(file.path for file in baked)
    began = base.choose(plan)
    began = replace(began, image=digests.pinned(began.image, project))
    return (
        Artifact(path="Dockerfile", content=dockerfile.spell(plan, began, fetching)),
        Artifact(path=".dockerignore", content=_ignored(user, baked)),
        Artifact(path=LOCK, content=_requirements(plan, project)),
        Artifact(path="handler.py", content=_handler(plan)),
        Artifact(path="plan.json", content=of_worker(plan).to_json()),
        Artifact(path=sample.NAME, content=_json({"input": sample.of(plan, project)})),
        *baked,
        *user,
    )


def _around(plan: Plan, project: Path) -> tuple[Artifact, ...]:
    return (
        Artifact(path=".runpod/hub.json", content=_json(hub.card(plan))),
        Artifact(path=".runpod/tests.json", content=_json(hub.tests(plan, sample.of(plan, project)))),
        Artifact(path=".github/workflows/coldstart.yml", content=workflow.spell(plan)),
    )


def _asked(plan: Plan, image: str, files: tuple[Artifact, ...]) -> tuple[Artifact, ...]:
    volume = body.volume(plan)
    wanted = body.endpoint(plan, image, weights_bytes=models.disk_bytes(plan, files))
    return (
        Artifact(path="endpoint.json", content=_json(wanted)),
        *([Artifact(path="volume.json", content=_json(volume))] if volume else []),
    )


def _models(plan: Plan, files: tuple[Artifact, ...]) -> tuple[Artifact, ...]:
    """What is asked of GraphQL, for REST v2 has no such field."""
    wanted = models.references(plan, files)
    return (Artifact(path=models.FILE, content=_json({"modelReferences": wanted})),) if wanted else ()


def _weights(plan: Plan, user: tuple[Artifact, ...]) -> tuple[Artifact, ...]:
    """What the stage that fetches them is given: no line of code, so that none of those runs it again."""
    locks = tuple(replace(file, path=LOCK_NAME) for file in user if file.path == f"code/{LOCK_NAME}")
    declared = {name: record.to_data(plan.spec.weights[name]) for name in dockerfile.baked(plan)}
    return (
        Artifact(path="weights.json", content=_json(declared)),
        Artifact(
            path="fetch_weights.py",
            content=f'''\
"""Brings the weights of weights.json into the image; made by coldstart {plan.sdk}, edits are lost."""

import sys
from pathlib import Path

from coldstart_sdk.backends.runpod import bake

if __name__ == "__main__":
    bake.main(Path(__file__).with_name("weights.json"), Path(sys.argv[1]))
''',
        ),
        *locks,
    )


def _ignored(user: tuple[Artifact, ...], baked: tuple[Artifact, ...]) -> str:
    """Nothing goes into the build but what the Dockerfile names."""
    wanted = ["code", "handler.py", "plan.json", LOCK, sample.NAME, *(file.path for file in baked)]
    assert user  # noqa: S101 - `code` has found the declaration
    return "\n".join(("*", *(f"!{path}" for path in sorted(wanted)), "**/__pycache__")) + "\n"


def _requirements(plan: Plan, project: Path) -> str:
    """The project's own lock where it has one; otherwise what was declared, and what we need."""
    lock = project / LOCK
    needed = (dockerfile.sdk(plan, plan.spec.weights), RUNPOD)
    if not lock.is_file():
        wanted = "\n".join((*plan.spec.image.pip, *needed))
        return (
            "# What was declared. What these bring along is chosen while the image is built; to pin it,\n"
            f"# put `pip freeze` of a good image beside the declaration as {LOCK}.\n{wanted}\n"
        )
    text = lock.read_text(encoding="utf-8")
    pinned = {_distribution(line) for line in text.splitlines()}
    if absent := [item for item in (*plan.spec.image.pip, *needed[1:]) if _distribution(item) not in pinned]:
        raise BundleError(
            f"{LOCK} does not pin {', '.join(absent)}",
            fix="Lock again with them, or remove the file: what is declared is then taken as it is.",
            where=str(lock),
        )
    _refuse_old_worker(text, lock)
    ours = "" if _distribution(needed[0]) in pinned else f"{needed[0]}\n"
    return f"{text.rstrip()}\n{ours}"


def _refuse_old_worker(text: str, lock: Path) -> None:
    found = re.search(r"^runpod\s*==\s*(\d+)\.(\d+)\.(\d+)", text, re.MULTILINE)
    if found and tuple(map(int, found.groups())) < _OLDEST:
        raise BundleError(
            f"{LOCK} pins runpod {'.'.join(found.groups())}, which gives all jobs of an endpoint with a "
            "volume to one worker",
            fix=f"Lock again with {RUNPOD}.",
            where=str(lock),
        )


def _handler(plan: Plan) -> str:
    return f'''\
"""{plan.spec.qualname} under RunPod's worker; made by coldstart {plan.sdk}, edits are lost.

`python handler.py` answers test_input.json once; on RunPod it takes jobs.
"""

from pathlib import Path

from coldstart_sdk.backends.runpod import worker

if __name__ == "__main__":  # a heartbeat process imports this file again
    worker.main(Path(__file__).parent)
'''


def _refuse_what_stays_here(plan: Plan) -> None:
    """A path of this machine means nothing in a container, unless the file goes along."""
    spec = plan.spec
    copied = [PurePosixPath(source) for source, _ in spec.image.files]
    for name, weight in spec.weights.items():
        path = PurePosixPath(weight.source)
        goes_along = any(path == source or source in path.parents for source in copied)
        if weight.origin is Origin.LOCAL and not goes_along:
            raise BundleError(
                f"the weight {name!r} lies on this machine only: {weight.source}",
                fix=f"Copy it along, image=Container.python().copy({weight.source!r}, {weight.source!r}), "
                "or put it into a store or a repository.",
                where=f"{spec.module}.py:{spec.qualname}",
            )


def _distribution(requirement: str) -> str:
    found = re.match(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)", requirement)
    return re.sub(r"[-_.]+", "-", found[1]).lower() if found else ""


def _json(value: object) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"
