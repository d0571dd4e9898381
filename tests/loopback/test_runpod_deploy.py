"""An endpoint from its first deploy to its end, against a control plane on loopback.

Each body that we send, and each endpoint that the double keeps, is held against RunPod's own specification.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from coldstart_sdk import bundle
from coldstart_sdk.backends.runpod import backend
from coldstart_sdk.backends.runpod.client import Client
from coldstart_sdk.backends.runpod.platform import Platform
from coldstart_sdk.errors import PlatformError, UsageError
from coldstart_sdk.plan import Plan
from coldstart_sdk.planner import plan
from coldstart_sdk.rehearsal.runpod.control import Control
from coldstart_sdk.rehearsal.runpod.jobs import ENDPOINT, Jobs
from coldstart_sdk.spec import Medium, Parameter, Place, ScaleSpec, VolumeSpec
from tests.builders import LOAD, a_spec, a_weight, an_endpoint

SCHEMAS = json.loads((Path(__file__).parent / "runpod_schemas.json").read_text())
KEY = "rpa_" + "k" * 30
IMAGE = {"runpod": {"image": "registry.example/me/voice"}}


def valid(kind: str, value: object) -> None:
    schema = {"$ref": f"#/components/schemas/{kind}", "components": SCHEMAS["components"]}
    try:
        jsonschema.Draft202012Validator(schema).validate(value)
    except jsonschema.ValidationError as misfit:
        raise ValueError(f"{kind}: {misfit.json_path}: {misfit.message}") from misfit


@dataclass
class Account:
    """The platform, its double, and a worker that answers."""

    folder: Path
    jobs: Jobs
    control: Control
    built: list[str] = field(default_factory=list)
    sleeps: threading.Event = field(default_factory=threading.Event)
    asleep: threading.Event = field(default_factory=threading.Event)
    chunks: int = 0
    answer: dict[str, Any] = field(default_factory=lambda: {"output": "spoken"})

    @property
    def platform(self) -> Platform:
        return Platform(Client(KEY, self.control.address), builder=self.build, poll_s=0.02)

    def compiled(self, code: str = "class Voice: ...\n", **fields: Any) -> tuple[Plan, Path]:  # noqa: ANN401 - fields of a record, each of its own type
        project = self.folder / "project"
        project.mkdir(exist_ok=True)
        (project / "voice.py").write_text(code)
        spec = a_spec(LOAD, **{"overrides": IMAGE, **fields})
        made = plan(spec, "runpod", backend.capabilities, sdk="1.2.3")
        out = self.folder / "out"
        bundle.write(backend.compile(made, project), out)
        return made, out

    def deploy(self, code: str = "class Voice: ...\n", **fields: Any) -> dict[str, Any]:  # noqa: ANN401 - as above
        return dict(self.platform.deploy(*self.compiled(code, **fields), smoke_s=30.0))

    def build(self, bundle: Path, image: str, secrets: Sequence[str]) -> None:
        assert (bundle / "Dockerfile").is_file()
        del secrets
        self.built.append(image)

    def rest(self) -> None:
        """From here on nobody takes a job."""
        self.sleeps.set()
        assert self.asleep.wait(30)

    def work(self, stop: threading.Event) -> None:
        """A worker as far as these tests need one: it takes jobs and gives the answer of the moment."""
        while not stop.is_set():
            if self.sleeps.is_set():
                self.asleep.set()
                stop.wait(0.01)
                continue
            for job in self.jobs.take("pod-abc", 1):
                for number in range(self.chunks):
                    self.jobs.chunk(job.id, {"output": number})
                self.jobs.done(job.id, self.answer, is_stream=bool(self.chunks))


@pytest.fixture
def account(tmp_path: Path) -> Iterator[Account]:
    with Jobs(hold_s=0.1) as jobs, Control(jobs, check=valid) as control:
        made = Account(folder=tmp_path, jobs=jobs, control=control)
        stop = threading.Event()
        worker = threading.Thread(target=made.work, args=(stop,))
        worker.start()
        yield made
        stop.set()
        worker.join()
        for asked in control.asked:
            assert asked.authorization == f"Bearer {KEY}"
        for endpoint in control.endpoints.values():
            valid("Endpoint", endpoint)


def test_a_first_deploy_builds_creates_and_asks(account: Account) -> None:
    told = account.deploy()

    assert told["did"] == "created"
    assert account.control.changes() == ["POST /v2/serverless"]
    assert account.built == [told["image"]]
    assert account.jobs.jobs[0].input == {"text": "hello"}
    assert told["first_answer_s"] > 0


def test_what_is_sent_is_the_bundles_own_file(account: Account) -> None:
    account.deploy(gpu=("L4",))

    sent = next(
        asked.body for asked in account.control.asked if asked.path == "/v2/serverless" and asked.body
    )
    assert sent == json.loads((account.folder / "out" / "endpoint.json").read_text())


def test_a_second_deploy_of_the_same_changes_nothing(account: Account) -> None:
    account.control.secrets = {"HF_TOKEN"}
    account.deploy(gpu=("L4",), secrets=("HF_TOKEN",))
    before = account.control.changes()

    told = account.deploy(gpu=("L4",), secrets=("HF_TOKEN",))

    assert told["did"] == "nothing to change"
    assert account.control.changes() == before
    assert len(account.built) == 1


def test_a_changed_line_rolls_a_new_image_out_and_nothing_else(account: Account) -> None:
    account.deploy()

    told = account.deploy("class Voice: ...\nword = 1\n")

    patch = next(asked.body for asked in account.control.asked if asked.method == "PATCH")
    assert list(patch) == ["image"]
    assert told["did"] == "updated"
    assert len(set(account.built)) == 2


def test_a_changed_scale_builds_nothing_and_sends_the_workers_whole(account: Account) -> None:
    account.deploy()

    account.deploy(scale=ScaleSpec(min=0, max=7))

    patch = next(asked.body for asked in account.control.asked if asked.method == "PATCH")
    assert patch == {"workers": {"min": 0, "max": 7, "idleTimeout": 60}}
    assert len(account.built) == 1


def test_workers_that_runpod_took_away_for_being_idle_come_back(account: Account) -> None:
    account.deploy()
    account.control.endpoints[ENDPOINT]["workers"] = {"min": 0, "max": 0, "idleTimeout": 60}

    told = account.deploy()

    assert told["did"] == "updated"
    assert account.control.endpoints[ENDPOINT]["workers"]["max"] == 3


def test_another_card_of_the_pool_is_asked_for_with_its_exclusions(account: Account) -> None:
    account.deploy(gpu=("L4",))

    account.deploy(gpu=("L4", "RTX 3090"))

    patch = next(asked.body for asked in account.control.asked if asked.method == "PATCH")
    assert patch["gpu"]["pools"] == ["AMPERE_24"]
    assert patch["gpu"]["excludedTypes"] == ["NVIDIA RTX A5000"]


def test_cuda_versions_take_the_place_of_a_floor_and_the_other_way_round(account: Account) -> None:
    listed = {"runpod": {**IMAGE["runpod"], "allowedCudaVersions": ["12.8"]}}
    account.deploy(gpu=("L4",))

    account.deploy(gpu=("L4",), overrides=listed)
    gpu = dict(account.control.endpoints[ENDPOINT]["gpu"])
    account.deploy(gpu=("L4",))

    assert (gpu["allowedCudaVersions"], gpu["minCudaVersion"]) == (["12.8"], "")
    assert account.control.endpoints[ENDPOINT]["gpu"]["allowedCudaVersions"] == []
    assert account.control.endpoints[ENDPOINT]["gpu"]["minCudaVersion"]
    assert account.deploy(gpu=("L4",))["did"] == "nothing to change"


def test_a_data_centre_without_the_card_is_named(account: Account) -> None:
    account.control.is_out_of_stock = True
    there = {"runpod": {**IMAGE["runpod"], "region": ["EU-RO-1"]}}

    with pytest.raises(PlatformError, match="in EU-RO-1") as refused:
        account.deploy(gpu=("L4",), overrides=there)

    assert "data centre" in refused.value.fix


def test_what_a_deploy_would_change_is_told_and_nothing_is_changed(account: Account) -> None:
    told = account.platform.changes(*account.compiled(**VOLUME))

    assert any(line.startswith("image") for line in told)
    assert any(line.startswith("networkVolumes") for line in told)
    assert account.control.changes() == []


def test_a_variable_is_shown_by_its_name_alone(account: Account) -> None:
    account.deploy()
    account.control.endpoints[ENDPOINT]["env"] = {"TOKEN": "a secret of somebody"}

    told = account.platform.changes(*account.compiled())

    assert told == ('env: ["TOKEN"] -> []',)


def test_a_first_request_that_fails_is_told_and_what_was_made_goes_away(account: Account) -> None:
    said = {"type": "not_ready", "message": "this worker could not start: no model", "fix": "Add it."}
    account.answer = {"error": json.dumps(said)}

    with pytest.raises(PlatformError) as failed:
        account.deploy()

    assert "no model" in failed.value.message
    assert failed.value.fix == "Add it."
    assert account.control.changes() == ["POST /v2/serverless", f"DELETE /v2/serverless/{ENDPOINT}"]


def test_an_update_whose_first_request_fails_is_taken_back(account: Account) -> None:
    first = account.deploy(gpu=("L4",))
    account.answer = {"error": "it broke"}

    with pytest.raises(PlatformError, match="what was live before is live again"):
        account.deploy("class Voice: ...\nword = 1\n", gpu=("L4", "RTX 4090"))

    live = account.control.endpoints[ENDPOINT]
    assert live["image"] == first["image"]
    assert live["gpu"]["pools"] == ["AMPERE_24"]


def test_an_answer_that_never_comes_ends_the_deploy_with_the_workers_states(account: Account) -> None:
    account.control.workers = [{"id": "w1", "status": "UNHEALTHY", "gpuCount": 1, "isStale": False}]
    account.rest()

    with pytest.raises(PlatformError, match="1 unhealthy"):
        account.platform.deploy(*account.compiled(), smoke_s=0.2)


def test_what_needs_a_file_is_deployed_once_its_worker_says_that_it_is_ready(account: Account) -> None:
    ref = Parameter(
        name="ref", required=True, default=None, medium=Medium.AUDIO, text=False, schema={"type": "object"}
    )
    account.answer = {"output": {"state": "ready"}}

    told = account.deploy(endpoints=(an_endpoint("clone", parameters=(ref,)),))

    assert told["did"] == "created"
    assert account.jobs.jobs[0].input == {"endpoint": "ready", "wait": True}


def test_a_first_answer_that_is_an_error_says_how_to_give_a_better_request(account: Account) -> None:
    account.answer = {
        "error": json.dumps({"type": "failed", "message": "the call raised ValueError", "id": "1"})
    }

    with pytest.raises(PlatformError, match="ValueError") as refused:
        account.deploy()

    assert "test_input.json" in refused.value.fix


def test_who_waits_is_told_how_the_workers_are(account: Account, capsys: pytest.CaptureFixture[str]) -> None:
    account.rest()
    account.control.workers = [{"id": "w1", "status": "THROTTLED", "isStale": False}]

    with pytest.raises(PlatformError, match="workers: 1 throttled"):
        account.platform.deploy(*account.compiled(), smoke_s=0.5)

    said = capsys.readouterr().err.splitlines()
    assert [line.startswith("waiting for the first answer; workers: 1 throttled") for line in said] == [True]


def test_a_kind_that_cannot_change_is_refused_before_anything_is_built(account: Account) -> None:
    account.deploy()

    with pytest.raises(PlatformError, match="GPU and CPU"):
        account.deploy(gpu=("L4",))
    with pytest.raises(PlatformError, match="LOAD_BALANCER"):
        account.deploy(overrides={"runpod": {**IMAGE["runpod"], "mode": "http"}})
    assert len(account.built) == 1


def test_an_image_without_a_registry_is_refused(account: Account) -> None:
    with pytest.raises(PlatformError, match="names no registry"):
        account.deploy(overrides={})


VOLUME: dict[str, Any] = {
    "weights": {"w": a_weight()},
    "place": Place.VOLUME,
    "volume": VolumeSpec(name="models", size_bytes=20_000_000_000, region="EU-RO-1"),
}


def test_a_volume_is_made_once_and_found_again(account: Account) -> None:
    account.deploy(**VOLUME)
    again = account.deploy(**VOLUME)

    assert account.control.changes() == ["POST /v2/network-volumes", "POST /v2/serverless"]
    assert account.control.endpoints[ENDPOINT]["networkVolumes"] == ["vol1"]
    assert again["did"] == "nothing to change"


def test_a_volume_in_another_data_centre_is_named(account: Account) -> None:
    account.control.make_volume({"name": "models", "size": 20, "dataCenter": "US-KS-2"})

    with pytest.raises(PlatformError, match="US-KS-2"):
        account.deploy(**VOLUME)


def test_a_secret_that_the_account_lacks_is_named_before_anything_is_built(account: Account) -> None:
    account.control.secrets = {"OTHER"}

    with pytest.raises(PlatformError, match="no secret HF_TOKEN") as refused:
        account.deploy(secrets=("HF_TOKEN", "OTHER"))

    assert "console.runpod.io/user/secrets" in refused.value.fix
    assert account.built == []
    assert account.control.changes() == []


def test_a_key_for_rest_alone_deploys_and_says_what_was_not_verified(
    account: Account, capsys: pytest.CaptureFixture[str]
) -> None:
    account.control.has_no_graph = True

    told = account.deploy(**CACHED, secrets=("HF_TOKEN",))
    again = account.deploy(**CACHED, secrets=("HF_TOKEN",))

    said = capsys.readouterr().err
    assert (told["did"], again["did"]) == ("created", "nothing to change")
    assert "secrets are not verified: RunPod answered 403: this key is for REST alone" in said
    assert "models in hosts' caches stay as they are" in said


COMMIT = "a" * 40
CACHED: dict[str, Any] = {"gpu": ("L4",), "weights": {"w": a_weight("org/model", revision=COMMIT)}}
REFERENCE = f"https://huggingface.co/org/model:{COMMIT}"


def test_a_model_of_the_hub_is_put_into_hosts_caches_and_nothing_else_is_reset(account: Account) -> None:
    scale = ScaleSpec(min=0, max=7, idle_s=42.0)

    account.deploy(**CACHED, scale=scale, timeout_s=100.0)
    again = account.deploy(**CACHED, scale=scale, timeout_s=100.0)

    live = account.control.endpoints[ENDPOINT]
    assert account.control.models[ENDPOINT] == [REFERENCE]
    assert live["workers"] == {"min": 0, "max": 7, "idleTimeout": 42}
    assert live["timeout"] == 200_000
    assert again["did"] == "nothing to change"


def test_a_model_that_is_no_longer_declared_leaves_the_caches(account: Account) -> None:
    account.deploy(**CACHED)

    account.deploy(gpu=("L4",))

    assert account.control.models[ENDPOINT] == []


def test_a_model_whose_deploy_fails_is_taken_back_too(account: Account) -> None:
    account.deploy(gpu=("L4",))
    account.answer = {"error": "it broke"}

    with pytest.raises(PlatformError, match="live again"):
        account.deploy(**CACHED)

    assert account.control.models[ENDPOINT] == []


def test_a_volume_is_kept_when_a_model_is_attached(account: Account) -> None:
    account.deploy(**{**VOLUME, **CACHED, "place": Place.ORIGIN})

    assert account.control.models[ENDPOINT] == [REFERENCE]
    assert account.control.endpoints[ENDPOINT]["networkVolumes"] == ["vol1"]


def test_history_tells_each_release_and_rollback_brings_its_image_back(account: Account) -> None:
    first = account.deploy()
    second = account.deploy("class Voice: ...\nword = 1\n")

    releases = account.platform.history("voice")
    told = account.platform.rollback("voice", "1")

    assert [release["release"] for release in releases] == ["2", "1"]
    assert [release["image"] for release in releases] == [second["image"], first["image"]]
    assert told["image"] == first["image"]
    with pytest.raises(PlatformError, match="no release '9'"):
        account.platform.rollback("voice", "9")


def test_status_tells_workers_queue_and_rollout(account: Account) -> None:
    account.deploy()
    account.control.workers = [
        {"id": "w1", "status": "IDLE", "gpuCount": 1, "isStale": False, "gpuTypeId": "NVIDIA L4"}
    ]

    told = account.platform.status("voice")

    assert told["workers"][0]["status"] == "IDLE"
    assert told["summary"]["idle"] == 1
    assert told["rollout_percent"] == 100
    assert told["queue"]["completed"] >= 1


def test_logs_come_from_every_worker_without_secrets(account: Account) -> None:
    account.deploy()
    account.control.workers = [
        {"id": name, "status": "IDLE", "gpuCount": 1, "isStale": False} for name in ("w1", "w2")
    ]
    account.control.log = ["ready", "token hf_abcdefghijklmnopqrstuvwxyz"]

    lines = list(account.platform.logs("voice", follow=False))

    assert lines == ["w1  ready", "w1  token ***", "w2  ready", "w2  token ***"]


def test_a_followed_log_repeats_nothing_and_hears_of_workers_that_come_later(account: Account) -> None:
    account.deploy()
    account.control.log = ["ready"]
    lines = account.platform.logs("voice", follow=True)
    account.control.workers = [{"id": "w1", "status": "IDLE", "gpuCount": 1, "isStale": False}]

    first = next(lines)
    account.control.log.append("answered")
    second = next(lines)
    account.control.workers.append({"id": "w2", "status": "IDLE", "gpuCount": 1, "isStale": False})
    later = [next(lines), next(lines)]

    assert (first, second) == ("w1  ready", "w1  answered")
    assert later == ["w2  ready", "w2  answered"]


def test_invoke_gives_the_output_of_a_named_endpoint(account: Account) -> None:
    account.deploy()

    given = list(account.platform.invoke("voice", "speak", {"text": "you"}))

    assert given == ["spoken"]
    assert account.jobs.jobs[-1].input == {"endpoint": "speak", "text": "you"}


def test_invoke_gives_chunks_as_they_come(account: Account) -> None:
    account.deploy()
    account.chunks = 3
    account.answer = {"output": []}

    assert list(account.platform.invoke("voice", None, {})) == [0, 1, 2]


def test_a_request_that_runpod_would_not_carry_is_not_sent(account: Account) -> None:
    account.deploy()
    before = len(account.jobs.jobs)

    with pytest.raises(UsageError, match="RunPod carries at most 10 MB"):
        list(account.platform.invoke("voice", "speak", {"text": "x" * 10_000_000}))

    assert len(account.jobs.jobs) == before


def test_who_stops_listening_to_a_stream_cancels_it(account: Account) -> None:
    account.deploy()
    account.rest()
    chunks = account.platform.invoke("voice", None, {})

    def speak() -> None:
        assert account.jobs.wait(lambda: account.jobs.jobs[-1].status == "IN_QUEUE", 30)
        account.jobs.chunk(account.jobs.jobs[-1].id, {"output": "first"})

    speaker = threading.Thread(target=speak)
    speaker.start()

    assert next(chunks) == "first"
    speaker.join()
    chunks.close()  # type: ignore[attr-defined] # the Protocol says Iterator, ours is a generator

    assert account.jobs.jobs[-1].status == "CANCELLED"


def test_a_job_that_fails_is_an_error_with_its_reason(account: Account) -> None:
    account.deploy()
    account.answer = {"error": json.dumps({"type": "failed", "message": "speak raised ValueError"})}

    with pytest.raises(PlatformError, match="speak raised ValueError"):
        list(account.platform.invoke("voice", None, {}))


def test_scale_sends_the_whole_object_and_once(account: Account) -> None:
    account.deploy()

    account.platform.scale("voice", least=1, most=9)
    again = account.platform.scale("voice", least=1, most=9)

    patches = [asked.body for asked in account.control.asked if asked.method == "PATCH"]
    assert patches == [{"workers": {"min": 1, "max": 9, "idleTimeout": 60}}]
    assert again["changed"] == []


def test_delete_is_confirmed_by_its_absence(account: Account) -> None:
    account.deploy()

    account.platform.delete("voice")

    assert account.control.endpoints == {}
    with pytest.raises(PlatformError, match="no endpoint called 'voice'"):
        account.platform.status("voice")


def test_the_name_that_the_console_makes_of_it_is_still_its_name(account: Account) -> None:
    account.deploy()
    account.control.endpoints[ENDPOINT]["name"] = "voice -fb"

    assert account.platform.status("voice")["id"] == ENDPOINT


def test_too_many_requests_are_waited_out_as_long_as_told(account: Account) -> None:
    account.deploy()
    account.control.refusals = [(429, {"Retry-After": "0"}), (503, {"Retry-After": "0"})]

    assert account.platform.status("voice")["id"] == ENDPOINT


def test_a_key_that_is_refused_is_never_shown(account: Account) -> None:
    account.control.refusals = [(401, {})]

    with pytest.raises(PlatformError) as refused:
        account.platform.status("voice")

    assert "401" in refused.value.message
    assert "RUNPOD_API_KEY" in refused.value.fix
    assert KEY not in f"{refused.value.message}{refused.value.fix}{refused.value.where}"


def test_a_body_that_does_not_fit_is_told_by_its_field(account: Account) -> None:
    with pytest.raises(PlatformError, match=r"RunPod answered 422: .*disk"):
        account.deploy(overrides={"runpod": {**IMAGE["runpod"], "disk": "large"}})


def test_without_a_key_nothing_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RUNPOD_API_KEY", raising=False)

    with pytest.raises(PlatformError, match="RUNPOD_API_KEY is not set"):
        backend.status("voice")


def test_a_platform_that_is_away_is_told_with_its_address() -> None:
    with pytest.raises(PlatformError) as lost:
        Client(KEY, "http://127.0.0.1:9").post("/v2/serverless", {})

    assert "http://127.0.0.1:9/v2/serverless" in str(lost.value.where)
