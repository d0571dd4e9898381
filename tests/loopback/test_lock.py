"""`coldstart lock` as a person uses it, and starts that follow it: over a hub, a bucket and addresses."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from coldstart_sdk.manifest import LOCK_NAME, Lock
from coldstart_sdk.rehearsal.faults import Flip
from coldstart_sdk.rehearsal.hub import Hub
from coldstart_sdk.rehearsal.origin import Origin
from coldstart_sdk.rehearsal.s3 import S3
from coldstart_sdk.rehearsal.serving import Request
from coldstart_sdk.spec import Origin as Kind
from coldstart_sdk.spec import WeightSpec
from coldstart_sdk.storage import locks
from tests.commands import Said, a_project, coldstart
from tests.syncing import FEW_CHUNKS, Syncing, content, sha256

LARGE = content(FEW_CHUNKS, seed=31)
SMALL = b'{"layers": 2}'
TOKEN = "hf_canary_of_the_lock_0001"

DECLARED = """
@warm_model(name="voice", weights={{"voice": {weights}}})
class Voice:
    @hook.load
    def load(self, weights):
        path = weights["voice"].path
        self.files = {{f.name: f.stat().st_size for f in (path.iterdir() if path.is_dir() else [path])}}

    @endpoint
    def speak(self) -> dict[str, int]:
        return self.files
"""


@dataclass
class Project:
    """A declaration, the environment of its commands, and a home for each machine."""

    folder: Path
    env: dict[str, str]

    def declare(self, weights: str) -> None:
        a_project(self.folder, DECLARED.format(weights=weights))

    def lock(self, *options: str, machine: str = "mine") -> Said:
        return self._told("lock", "app.py", *options, machine=machine)

    def run(self, *, machine: str = "mine") -> Said:
        return self._told("run", "app.py", "--json", machine=machine)

    def _told(self, *arguments: str, machine: str) -> Said:
        env = {**self.env, "COLDSTART_HOME": str(self.folder / machine)}
        return coldstart(*arguments, cwd=self.folder, env=env)

    @property
    def text(self) -> str:
        return (self.folder / LOCK_NAME).read_text(encoding="utf-8")

    @property
    def lock_(self) -> Lock:
        return locks.read(self.text.encode(), where=LOCK_NAME)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    made = Project(folder=tmp_path / "project", env={"HF_TOKEN": ""})
    made.declare('Weights.hf("org/voice")')
    return made


@pytest.fixture
def hub(tmp_path: Path, project: Project, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    pytest.importorskip("huggingface_hub")
    folder = tmp_path / "hub" / "org" / "voice"
    folder.mkdir(parents=True)
    (folder / "model.bin").write_bytes(LARGE)
    (folder / "config.json").write_bytes(SMALL)
    with Hub(tmp_path / "hub") as hub:
        project.env["HF_ENDPOINT"] = hub.endpoint
        monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
        yield hub


def published(hub: Hub, name: str, data: bytes) -> None:
    (hub.directory / "org" / "voice" / name).write_bytes(data)


def lists(requests: tuple[Request, ...]) -> list[str]:
    """Questions about what there is, rather than for bytes that are known."""
    return [request.path for request in requests if request.path.startswith("api/")]


GOOD = {"config.json": len(SMALL), "model.bin": len(LARGE)}


def test_a_lock_holds_commit_files_sizes_digests_and_chunks(hub: Hub, project: Project) -> None:
    said = project.lock()

    manifest = project.lock_.weights["voice"].manifest
    small, large = manifest.files
    assert (said.code, manifest.revision) == (0, hub.commit("org/voice"))
    assert (large.path, large.size_bytes, large.digest) == (
        "model.bin",
        len(LARGE),
        f"sha256:{sha256(LARGE)}",
    )
    assert (len(large.chunks), small.chunks) == (4, ())
    assert f"voice  added  {manifest.revision[:12]}" in said.out


def test_a_folder_is_locked_where_its_starts_look_for_the_lock(hub: Hub, project: Project) -> None:
    said = coldstart(
        "lock", str(project.folder), env={**project.env, "COLDSTART_HOME": str(project.folder / "mine")}
    )

    assert said.code == 0, said.err
    assert project.lock_.weights["voice"].manifest.revision == hub.commit("org/voice")
    assert not (project.folder.parent / LOCK_NAME).exists()


@pytest.mark.parametrize(
    ("beside", "mend"),
    [("model.safetensors", "exclude=['*.bin']"), ("notes.txt", "look for a safetensors file")],
)
def test_a_pickle_is_told_of_with_what_to_do(beside: str, mend: str, hub: Hub, project: Project) -> None:
    published(hub, beside, b"x")

    said = project.lock()

    assert said.code == 0
    assert "voice: model.bin runs code when it is loaded" in said.err
    assert mend in said.err


def test_two_machines_write_the_same_lock_to_the_byte(hub: Hub, project: Project) -> None:
    del hub
    project.lock(machine="mine")
    mine = project.text
    (project.folder / LOCK_NAME).unlink()

    project.lock(machine="yours")

    assert project.text == mine


def test_a_lock_that_still_holds_asks_nobody_and_is_not_written(hub: Hub, project: Project) -> None:
    project.lock()
    state = (project.folder / LOCK_NAME).stat().st_mtime_ns
    hub.forget()

    said = project.lock("--json")

    assert said.data == {"path": str(project.folder / LOCK_NAME), "written": False, "changes": []}
    assert (hub.requests, hub.cdn.requests) == ((), ())
    assert (project.folder / LOCK_NAME).stat().st_mtime_ns == state


def test_what_is_published_later_changes_a_lock_only_with_update(hub: Hub, project: Project) -> None:
    project.lock()
    before, commit = project.text, hub.commit("org/voice")
    newer = b'{"layers": 3}'
    published(hub, "config.json", newer)

    left = project.lock()
    assert (left.out, project.text) == ("", before)
    said = project.lock("--update")

    assert project.text != before
    assert f"voice  revision  {commit[:12]} → {hub.commit('org/voice')[:12]}" in said.out
    digests = [sha256(data)[:12] for data in (SMALL, newer)]
    assert f"voice  file changed: config.json  sha256:{digests[0]} → sha256:{digests[1]}" in said.out


def test_an_empty_machine_with_a_lock_asks_the_hub_for_no_list(hub: Hub, project: Project) -> None:
    project.lock()
    hub.forget()

    first = project.run(machine="empty")
    asked = (lists(hub.requests), len(hub.cdn.requests))
    hub.forget()
    second = project.run(machine="empty")

    assert (first.code, first.data["result"]) == (0, GOOD)
    assert asked[0] == []
    assert asked[1] > 0
    assert (second.code, hub.requests, hub.cdn.requests) == (0, (), ())


def test_a_start_takes_what_was_locked_and_not_what_is_newer(hub: Hub, project: Project) -> None:
    project.lock()
    (hub.directory / "org" / "voice" / "new.json").write_bytes(b"{}")
    locked = project.lock_.weights["voice"].manifest.revision

    assert hub.commit("org/voice") != locked
    assert project.run().data["result"] == GOOD


def test_a_commit_that_is_gone_at_the_hub_is_an_error_with_its_mend(hub: Hub, project: Project) -> None:
    project.lock()
    published(hub, "config.json", b"{}")

    said = project.run(machine="empty")

    assert said.code == 5
    assert "the origin answered 404" in said.data["error"]["message"]


def test_a_stale_lock_stops_a_start_and_names_the_mend(hub: Hub, project: Project) -> None:
    project.lock()
    project.declare('Weights.hf("org/voice", include=["*.bin"])')
    hub.forget()

    said = project.run(machine="empty")

    problem = said.data["error"]["problems"][0]
    assert said.code == 5
    assert problem["message"] == f"{LOCK_NAME} was written for another declaration of 'voice'"
    assert problem["fix"] == "Write it anew: coldstart lock FILE"
    assert hub.requests == ()


def test_a_stale_lock_is_written_anew_without_update(hub: Hub, project: Project) -> None:
    del hub
    project.lock()
    project.declare('Weights.hf("org/voice", include=["*.bin"])')

    said = project.lock()

    assert "voice  file removed: config.json" in said.out
    assert project.run().data["result"] == {"model.bin": len(LARGE)}


def test_a_weight_that_is_no_longer_declared_leaves_the_lock(hub: Hub, project: Project) -> None:
    del hub
    project.declare('Weights.hf("org/voice"), "copy": Weights.hf("org/voice", include=["*.json"])')
    project.lock()
    project.declare('Weights.hf("org/voice")')

    said = project.lock("--json")

    assert [(change["weight"], change["what"]) for change in said.data["changes"]] == [("copy", "removed")]
    assert set(project.lock_.weights) == {"voice"}


def relocked(lock: Lock, path: str, digest: str) -> str:
    """The lock as somebody would write it who says that a file has another digest."""
    one = lock.weights["voice"]
    files = tuple(
        replace(entry, digest=digest, chunks=()) if entry.path == path else entry
        for entry in one.manifest.files
    )
    lying = replace(one, manifest=replace(one.manifest, files=files))
    return locks.text_of(replace(lock, weights={"voice": lying}))


@pytest.mark.parametrize("path", ["config.json", "model.bin"])
def test_a_lock_that_lies_brings_nothing(path: str, hub: Hub, project: Project) -> None:
    del hub
    project.lock()
    lie = sha256(b"something else")
    (project.folder / LOCK_NAME).write_text(relocked(project.lock_, path, f"sha256:{lie}"))

    said = project.run(machine="empty")

    assert said.code == 5
    assert path in said.data["error"]["message"]
    assert not (project.folder / "empty" / "blobs" / "sha256" / lie).exists()
    assert list((project.folder / "empty" / "views").iterdir()) == []


def test_wrong_bytes_at_the_origin_do_not_pass_a_lock(hub: Hub, project: Project) -> None:
    project.lock()
    hub.cdn.fail(Flip(path="*model.bin*", at_byte=len(LARGE) - 1, times=None))

    said = project.run(machine="empty")

    assert said.code == 5
    assert sha256(LARGE) not in {
        blob.name for blob in (project.folder / "empty" / "blobs" / "sha256").iterdir()
    }


def test_a_lock_damaged_in_a_merge_stops_both_with_the_mend(hub: Hub, project: Project) -> None:
    del hub
    project.lock()
    (project.folder / LOCK_NAME).write_text(f"<<<<<<< ours\n{project.text}")

    run, lock = project.run(), project.lock("--json")

    assert (run.code, lock.code) == (5, 5)
    for said in (run, lock):
        problem = said.data["error"]["problems"][0]
        assert "the lock cannot be read" in problem["message"]
        assert "version control" in problem["fix"]


def test_a_gated_repository_is_locked_and_started_with_a_token_that_no_output_holds(
    tmp_path: Path, project: Project
) -> None:
    pytest.importorskip("huggingface_hub")
    (tmp_path / "hub" / "org" / "voice").mkdir(parents=True)
    (tmp_path / "hub" / "org" / "voice" / "config.json").write_bytes(SMALL)
    with Hub(tmp_path / "hub", token=TOKEN, gated=["org/voice"]) as hub:
        project.env.update(HF_ENDPOINT=hub.endpoint, HF_TOKEN=TOKEN)
        said = [project.lock(), project.run(machine="empty")]
        project.env["HF_TOKEN"] = ""
        refused = project.run(machine="other")

    assert [each.code for each in said] == [0, 0]
    assert (refused.code, "HF_TOKEN" in refused.data["error"]["problems"][0]["fix"]) == (5, True)
    assert TOKEN not in project.text + "".join(each.out + each.err for each in (*said, refused))


def test_the_sha256_of_an_address_is_recorded_and_then_required(tmp_path: Path, project: Project) -> None:
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "lora.bin").write_bytes(LARGE)
    with Origin(tmp_path / "files") as origin:
        project.declare(f'Weights.url("{origin.url("lora.bin")}")')
        project.lock()
        (entry,) = project.lock_.weights["voice"].manifest.files
        good = project.run(machine="empty")
        (tmp_path / "files" / "lora.bin").write_bytes(LARGE[:-1] + b"?")
        origin.forget()
        warm = project.run(machine="empty")
        asked = origin.requests
        replaced = project.run(machine="other")

    assert entry.digest == f"sha256:{sha256(LARGE)}"
    assert (good.code, warm.code, asked) == (0, 0, ())
    assert (replaced.code, "lora.bin" in replaced.data["error"]["message"]) == (5, True)


def s3_env(s3: S3) -> Mapping[str, str]:
    return {
        "AWS_ENDPOINT_URL": s3.endpoint,
        "AWS_ACCESS_KEY_ID": "AKIACANARY",
        "AWS_SECRET_ACCESS_KEY": "canary-secret",
        "AWS_DEFAULT_REGION": "us-east-1",
    }


@pytest.mark.parametrize("source", ["s3://bucket/models", "s3://bucket/models/model.bin"])
def test_a_locked_tree_on_s3_is_read_without_a_list(source: str, tmp_path: Path, project: Project) -> None:
    with S3(tmp_path / "s3") as s3:
        project.env.update(s3_env(s3))
        s3.write("bucket", "models/model.bin", LARGE)
        s3.write("bucket", "models/voices/a b.bin", SMALL)
        project.declare(f'Weights.s3("{source}")')
        project.lock()
        s3.forget()

        said = project.run(machine="empty")

        assert said.code == 0, said.err
        assert {request.path.partition("?")[0] for request in s3.requests} <= {
            "bucket/models/model.bin",
            "bucket/models/voices/a b.bin",
        }


def test_what_lies_beside_the_declaration_is_not_locked(project: Project) -> None:
    (project.folder / "model").mkdir()
    (project.folder / "model" / "a.bin").write_bytes(SMALL)
    project.declare('Weights.local("model")')

    said = project.lock("--json")

    assert (said.code, said.data["error"]["type"]) == (2, "UsageError")
    assert not (project.folder / LOCK_NAME).exists()


def test_a_hub_that_is_down_leaves_the_lock_as_it_was(hub: Hub, project: Project) -> None:
    project.lock()
    before = project.text
    hub.__exit__(None, None, None)
    project.env["HF_ENDPOINT"] = "http://127.0.0.1:9"

    said = project.lock("--update", "--json", machine="empty")

    assert said.code == 5
    assert project.text == before
    hub.__enter__()


def test_a_lock_that_cannot_be_read_is_an_error_with_its_mend(hub: Hub, project: Project) -> None:
    del hub
    (project.folder / LOCK_NAME).mkdir()

    for said in (project.lock("--json"), project.run()):
        assert said.code == 5
        assert "the lock cannot be read: Is a directory" in said.data["error"]["message"]


@pytest.mark.parametrize("target", ["runpod", "modal"])
def test_the_lock_goes_along_in_a_bundle(target: str, hub: Hub, project: Project) -> None:
    del hub
    if target == "modal":
        pytest.importorskip("modal")
    project.lock()
    out = project.folder / "bundle"

    said = coldstart(
        "build", "app.py", "--target", target, "--out", str(out), cwd=project.folder, env=project.env
    )

    assert said.code == 0, said.err
    assert (out / "code" / LOCK_NAME).read_text() == project.text


def test_locked_weights_that_vanish_from_a_home_come_back(hub: Hub, tmp_path: Path, project: Project) -> None:
    project.lock()
    lock = project.lock_
    here = Syncing(home=tmp_path / "here", project=project.folder)
    weight = WeightSpec(origin=Kind.HF, source="org/voice")
    manifest = locks.manifest_of(lock, "voice", weight)
    here.run(weight, "voice", locked=manifest)
    blob = here.home / "blobs" / "sha256" / sha256(LARGE)
    blob.unlink()
    hub.forget()

    again = here.run(weight, "voice", locked=manifest)

    assert (again.tier, lists(hub.requests)) == ("origin", [])
    assert blob.read_bytes() == LARGE
    assert not [request for request in hub.requests if request.path.endswith("config.json")]


LOADS_MORE = """
@warm_model(name="voice", weights={"voice": Weights.hf("org/voice")}, env={"HF_HUB_OFFLINE": "SWITCH"})
class Voice:
    @hook.load
    def load(self, weights):
        from huggingface_hub import hf_hub_download, snapshot_download
        self.own = snapshot_download("org/voice")
        self.more = hf_hub_download("org/codec", "codec.bin")
        hf_hub_download("org/codec", "sub/c[1].json")
        hub = os.environ["TORCH_HOME"] + "/hub/checkpoints"
        os.makedirs(hub, exist_ok=True)
        open(hub + "/net.pth", "wb").write(b"torch")

    @hook.warmup
    def warm(self):
        raise RuntimeError("nothing but load is observed")

    @endpoint
    def speak(self) -> int:
        return os.path.getsize(self.more)
"""


@pytest.fixture
def codec(hub: Hub, project: Project) -> Hub:
    folder = hub.directory / "org" / "codec"
    (folder / "sub").mkdir(parents=True)
    (folder / "codec.bin").write_bytes(LARGE[: 2 << 20])
    (folder / "sub" / "c[1].json").write_bytes(b"{}")
    (folder / "unused.bin").write_bytes(b"never asked for")
    a_project(project.folder, LOADS_MORE.replace("SWITCH", "0"))
    return hub


def test_observe_locks_what_load_fetches_by_itself(codec: Hub, project: Project) -> None:
    said = project.lock("--observe")

    assert said.code == 0, said.err
    weights = project.lock_.weights
    assert {name: locked.observed for name, locked in weights.items()} == {"voice": False, "org--codec": True}
    seen = weights["org--codec"].manifest
    assert (seen.source, seen.revision) == ("org/codec", codec.commit("org/codec"))
    assert [entry.path for entry in seen.files] == ["codec.bin", "sub/c[1].json"]
    assert "org--codec  added" in said.out
    assert "torch/hub/checkpoints/net.pth" in said.err


def test_what_was_observed_is_fetched_beside_the_rest_and_load_then_reaches_nobody(
    codec: Hub, project: Project
) -> None:
    project.lock("--observe")
    a_project(project.folder, LOADS_MORE.replace("SWITCH", "1"))
    codec.forget()

    env = {**project.env, "COLDSTART_HOME": str(project.folder / "empty")}
    said = coldstart("run", "app.py", "--sealed", "--skip", "warmup", cwd=project.folder, env=env)

    assert (said.code, said.out) == (0, f"{2 << 20}\n"), said.err
    assert "fetch:org--codec" in said.err
    assert lists(codec.requests) == []


def test_what_was_observed_stays_in_a_lock_until_it_is_observed_again(codec: Hub, project: Project) -> None:
    project.lock("--observe")
    before = project.text

    again = project.lock()
    observed_again = project.lock("--observe")
    assert (again.out, observed_again.out, project.text) == ("", "", before)
    project.declare('Weights.hf("org/voice")')
    gone = project.lock("--observe")

    assert "org--codec  removed" in gone.out
    assert set(project.lock_.weights) == {"voice"}
    del codec


def test_a_load_that_fails_while_it_is_observed_leaves_the_lock_of_the_rest(
    codec: Hub, project: Project
) -> None:
    (codec.directory / "org" / "codec" / "codec.bin").unlink()

    said = project.lock("--observe", "--json")

    assert (said.code, said.data["error"]["type"]) == (6, "LifecycleError")
    assert set(project.lock_.weights) == {"voice"}
    assert not list((project.folder / "mine").glob(".observing*"))
