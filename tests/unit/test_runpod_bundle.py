"""What a bundle for RunPod holds, and what it refuses."""

from __future__ import annotations

import json
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from coldstart_sdk.backends.runpod import backend, body, digests
from coldstart_sdk.backends.runpod.base import TORCH_CUDA, choose
from coldstart_sdk.backends.runpod.capabilities import CAPABILITIES
from coldstart_sdk.backends.runpod.compile import compile_bundle
from coldstart_sdk.bundle import Artifact
from coldstart_sdk.errors import BundleError, ColdstartError, PlanError
from coldstart_sdk.plan import Plan
from coldstart_sdk.planner import plan
from coldstart_sdk.spec import ContainerSpec, Origin, Place, RunCommand, VolumeSpec
from tests.builders import LOAD, a_spec, a_weight

SCHEMAS = json.loads((Path(__file__).parent.parent / "loopback" / "runpod_schemas.json").read_text())
NOT_IN_BUILDAH = ("<<", "--link", "--parents", "--exclude", "--checksum", "env=", "--network")


def planned(**fields: Any) -> Plan:  # noqa: ANN401 - fields of a record, each of its own type
    return plan(a_spec(LOAD, **fields), "runpod", backend.capabilities, sdk="1.2.3")


def files(folder: Path, code: str = "class Voice: ...\n", **fields: Any) -> dict[str, Artifact]:  # noqa: ANN401 - as above
    (folder / "voice.py").write_text(code)
    return {file.path: file for file in compile_bundle(planned(**fields), folder).artifacts}


def text(artifact: Artifact) -> str:
    return artifact.data.decode()


def valid(kind: str, value: object) -> None:
    schema = {"$ref": f"#/components/schemas/{kind}", "components": SCHEMAS["components"]}
    jsonschema.Draft202012Validator(schema).validate(value)


@pytest.mark.parametrize("card", sorted({card.gpu for card in CAPABILITIES.cards or ()}))
def test_every_card_gives_a_body_that_the_specification_accepts(card: str) -> None:
    asked = body.endpoint(planned(gpu=(card,)), "me/voice:1")

    valid("CreateEndpointRequest", asked)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"overrides": {"runpod": {"mode": "http"}}},
        {"overrides": {"runpod": {"scaling": {"type": "REQUEST_COUNT", "requestCount": 2}}}},
        {"gpu": ("L4",), "overrides": {"runpod": {"allowedCudaVersions": ["12.8"]}}},
        {"secrets": ("HF_TOKEN",), "timeout_s": 900.0},
    ],
    ids=["cpu", "http", "by-count", "cuda-versions", "secrets"],
)
def test_every_choice_gives_a_body_that_the_specification_accepts(fields: dict[str, Any]) -> None:
    valid("CreateEndpointRequest", body.endpoint(planned(**fields), "me/voice:1"))


def test_idle_time_is_not_sent_where_it_is_refused() -> None:
    counted = {"runpod": {"scaling": {"type": "REQUEST_COUNT", "requestCount": 2}}}

    assert "idleTimeout" not in body.endpoint(planned(overrides=counted), "i")["workers"]
    assert "idleTimeout" in body.endpoint(planned(), "i")["workers"]


def test_one_card_of_a_pool_excludes_the_others() -> None:
    gpu = body.endpoint(planned(gpu=("L4",)), "i")["gpu"]

    assert gpu["pools"] == ["AMPERE_24"]
    assert gpu["excludedTypes"] == ["NVIDIA GeForce RTX 3090", "NVIDIA RTX A5000"]


def test_a_whole_pool_excludes_nothing() -> None:
    assert "excludedTypes" not in body.endpoint(planned(gpu=("A100-80GB",)), "i")["gpu"]


def test_flashboot_and_the_time_limit_are_always_said() -> None:
    asked = body.endpoint(planned(), "i")

    assert asked["flashboot"] == "FLASHBOOT"
    assert asked["timeout"] == 600_000


def test_the_platforms_limit_holds_the_start_and_the_answer() -> None:
    assert body.endpoint(planned(timeout_s=900.0), "i")["timeout"] == 1_800_000
    assert body.environment(planned(timeout_s=900.0))["RUNPOD_INIT_TIMEOUT"] == "900"


def test_a_secret_is_named_and_its_value_is_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_averysecretvalue1234567890")

    made = files(tmp_path, secrets=("HF_TOKEN",), weights={"w": a_weight(place=Place.IMAGE)})

    assert json.loads(text(made["endpoint.json"]))["env"]["HF_TOKEN"] == "{{ RUNPOD_SECRET_HF_TOKEN }}"
    assert not [path for path, file in made.items() if b"averysecret" in file.data]
    assert "--mount=type=secret,id=HF_TOKEN" in text(made["Dockerfile"])


def test_different_counts_of_cards_are_refused() -> None:
    with pytest.raises(PlanError, match="1 and for 2 cards"):
        body.endpoint(planned(gpu=("L4", "H100:2")), "i")


def test_an_unknown_mode_is_refused() -> None:
    with pytest.raises(PlanError, match="'grpc'"):
        body.is_http(planned(overrides={"runpod": {"mode": "grpc"}}))


def test_a_volume_needs_its_data_centre() -> None:
    made = planned(weights={"w": a_weight()}, place=Place.VOLUME, volume=VolumeSpec(name="v"))

    with pytest.raises(PlanError, match="data centre"):
        body.volume(made)


def test_a_volume_gives_a_body_that_the_specification_accepts() -> None:
    made = planned(volume=VolumeSpec(name="v", size_bytes=1, region="EU-RO-1"))

    asked = body.volume(made)

    valid("CreateNetworkVolumeRequest", asked)
    assert asked is not None
    assert asked["size"] == 10  # the smallest that there is


def test_code_stands_after_weights_and_weights_after_packages(tmp_path: Path) -> None:
    lines = text(
        files(
            tmp_path,
            weights={"w": a_weight(place=Place.IMAGE)},
            image=ContainerSpec(apt=("ffmpeg",), pip=("numpy==2.0",)),
        )["Dockerfile"]
    ).splitlines()
    steps = ["apt-get", "requirements.lock", "--from=weights", "COPY code/", "CMD"]

    at = [next(number for number, line in enumerate(lines) if step in line) for step in steps]

    assert at == sorted(at)


def test_the_dockerfile_has_nothing_that_buildah_lacks(tmp_path: Path) -> None:
    made = text(files(tmp_path, weights={"w": a_weight(place=Place.IMAGE)}, gpu=("L4",))["Dockerfile"])

    lines = [line for line in made.splitlines() if not line.startswith("#")]
    assert not [line for line in lines for mark in NOT_IN_BUILDAH if mark in line]


def test_weights_lie_outside_the_mount_of_a_volume(tmp_path: Path) -> None:
    made = text(files(tmp_path, weights={"w": a_weight(place=Place.IMAGE)})["Dockerfile"])

    assert "COLDSTART_HOME=/models" in made
    assert "/runpod-volume" not in made


def test_a_line_of_code_changes_the_tag_and_a_scale_does_not(tmp_path: Path) -> None:
    def image(code: str) -> str:
        return str(json.loads(text(files(tmp_path, code)["endpoint.json"]))["image"])

    assert image("a = 1\n") != image("a = 2\n")
    assert image("a = 1\n") == image("a = 1\n")


@pytest.mark.parametrize("image", ["docker.io/you/voice:latest", "localhost:5000/voice@sha256:ab"])
def test_an_image_that_is_named_with_a_tag_is_refused(tmp_path: Path, image: str) -> None:
    with pytest.raises(BundleError, match="digest of its content") as refused:
        files(tmp_path, overrides={"runpod": {"image": image}})
    assert "'voice' without a tag" in refused.value.fix


def test_a_port_of_a_registry_is_no_tag(tmp_path: Path) -> None:
    made = files(tmp_path, overrides={"runpod": {"image": "localhost:5000/voice"}})

    assert json.loads(text(made["endpoint.json"]))["image"].startswith("localhost:5000/voice:")


def test_a_weight_of_this_machine_is_refused_unless_it_goes_along(tmp_path: Path) -> None:
    local = {"w": a_weight("voices", origin=Origin.LOCAL)}
    (tmp_path / "voices").mkdir()
    (tmp_path / "voices" / "a.bin").write_bytes(b"a")

    with pytest.raises(BundleError, match="on this machine only") as refused:
        files(tmp_path, weights=local)
    assert ".copy('voices', 'voices')" in refused.value.fix
    assert "code/voices/a.bin" in files(
        tmp_path, weights=local, image=ContainerSpec(files=(("voices", "voices"),))
    )


COMMIT = "c" * 40


@pytest.mark.parametrize(
    ("fields", "wanted"),
    [
        ({"weights": {"w": a_weight("o/m", revision=COMMIT)}}, [f"https://huggingface.co/o/m:{COMMIT}"]),
        ({"weights": {"w": a_weight("o/m")}}, ["https://huggingface.co/o/m:main"]),
        ({"weights": {"w": a_weight("o/m", include=("*.bin",))}}, []),
        ({"weights": {"w": a_weight("o/m"), "v": a_weight("o/n")}}, []),
        ({"weights": {"w": a_weight("o/m")}, "place": Place.IMAGE}, []),
        ({"weights": {"w": a_weight("o/m")}, "gpu": ()}, []),
        ({"weights": {"w": a_weight("o/m")}, "overrides": {"runpod": {"cachedModel": False}}}, []),
    ],
    ids=["pinned", "main", "part-of-it", "two", "baked", "no-gpu", "switched-off"],
)
def test_a_host_brings_the_one_whole_model_that_lies_nowhere_nearer(
    tmp_path: Path, fields: dict[str, Any], wanted: list[str]
) -> None:
    made = files(tmp_path, **{"gpu": ("L4",), **fields}).get("cached_models.json")

    assert (json.loads(text(made))["modelReferences"] if made else []) == wanted


LOCKED = f"""\
version = 1

[weights.w]
revision = "{COMMIT}"

[[weights.w.files]]
path = "model.bin"
size = 30_000_000_001
"""


def test_the_lock_says_at_which_commit_and_how_large_the_disk(tmp_path: Path) -> None:
    (tmp_path / "coldstart.lock").write_text(LOCKED)

    made = files(tmp_path, gpu=("L4",), weights={"w": a_weight("o/m")})

    assert json.loads(text(made["cached_models.json"]))["modelReferences"] == [
        f"https://huggingface.co/o/m:{COMMIT}"
    ]
    assert json.loads(text(made["endpoint.json"]))["disk"] == 20 + 31


def test_what_is_baked_needs_no_more_disk(tmp_path: Path) -> None:
    (tmp_path / "coldstart.lock").write_text(LOCKED)

    made = files(tmp_path, weights={"w": a_weight("o/m")}, place=Place.IMAGE)

    assert json.loads(text(made["endpoint.json"]))["disk"] == 20


def test_a_lock_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "coldstart.lock").write_text("version = ")

    with pytest.raises(BundleError, match=r"coldstart\.lock cannot be read"):
        files(tmp_path, weights={"w": a_weight("o/m")})


def test_the_projects_own_lock_is_taken_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "requirements.lock").write_text("numpy==2.0\nrunpod==1.12.0\n")

    made = files(tmp_path, image=ContainerSpec(pip=("numpy==2.0",)))

    assert text(made["requirements.lock"]) == "numpy==2.0\nrunpod==1.12.0\ncoldstart-sdk==1.2.3\n"


def test_a_lock_that_lacks_a_declared_package_is_refused(tmp_path: Path) -> None:
    (tmp_path / "requirements.lock").write_text("runpod==1.12.0\n")

    with pytest.raises(BundleError, match="numpy"):
        files(tmp_path, image=ContainerSpec(pip=("numpy==2.0",)))


@pytest.mark.parametrize("old", ["1.7.11", "1.10.0"])
def test_a_lock_with_a_worker_that_funnels_jobs_is_refused(tmp_path: Path, old: str) -> None:
    (tmp_path / "requirements.lock").write_text(f"runpod=={old}\n")

    with pytest.raises(BundleError, match=f"pins runpod {re.escape(old)}") as refused:
        files(tmp_path)
    assert "1.10.1" in refused.value.fix


def test_torch_that_does_not_know_the_card_is_refused() -> None:
    with pytest.raises(BundleError) as refused:
        choose(planned(gpu=("RTX 5090",), image=ContainerSpec(pip=("torch==2.6.0",))))

    assert "12.8" in refused.value.message
    assert "torch==2.8" in refused.value.fix


def test_a_torch_that_we_do_not_know_is_not_guessed_at() -> None:
    base = choose(planned(gpu=("L4",), image=ContainerSpec(pip=("torch==9.9.0",))))

    assert any("not in our table" in reason for reason in base.reasons)


def test_a_compiler_comes_only_with_a_command_that_needs_it() -> None:
    compiles = ContainerSpec(python="3.12", run=(RunCommand(command="make", gpu=True),))

    assert "devel" in choose(planned(gpu=("L4",), image=compiles)).image
    assert "slim" in choose(planned(gpu=("L4",), image=ContainerSpec(python="3.12"))).image


def test_a_compiler_for_a_python_that_its_image_lacks_is_refused() -> None:
    compiles = ContainerSpec(python="3.11", run=(RunCommand(command="make", gpu=True),))

    with pytest.raises(ColdstartError, match=r"Python 3\.11"):
        choose(planned(gpu=("L4",), image=compiles))


@pytest.mark.parametrize("python", ["3.10", "3.11", "3.12", "3.13"])
def test_a_base_of_ours_is_known_by_its_digest(tmp_path: Path, python: str) -> None:
    image = choose(planned(gpu=("L4",), image=ContainerSpec(python=python))).image

    assert re.fullmatch(rf"{re.escape(image)}@sha256:[0-9a-f]{{64}}", digests.pinned(image, tmp_path))


@pytest.mark.parametrize("torch", TORCH_CUDA)
def test_so_is_one_with_a_compiler(tmp_path: Path, torch: str) -> None:
    make = (RunCommand(command="make", gpu=True),)
    found = set()
    for python in ("3.10", "3.12"):
        with suppress(BundleError):
            found.add(
                choose(
                    planned(
                        gpu=("L4",), image=ContainerSpec(python=python, pip=(f"torch=={torch}.0",), run=make)
                    )
                ).image
            )

    assert found
    assert all("-devel-" in image and "@" in digests.pinned(image, tmp_path) for image in found)


def test_a_base_that_is_named_is_taken() -> None:
    assert choose(planned(image=ContainerSpec(base="me/base:1"))).image == "me/base:1"


def test_the_lock_goes_along_with_the_weights_that_it_pins(tmp_path: Path) -> None:
    (tmp_path / "coldstart.lock").write_text("version = 1\n")

    made = files(tmp_path, weights={"w": a_weight(place=Place.IMAGE)})

    assert "COPY weights.json fetch_weights.py coldstart.lock /build/" in text(made["Dockerfile"])
    assert "!coldstart.lock" in text(made[".dockerignore"])
    assert made["coldstart.lock"].data == made["code/coldstart.lock"].data
