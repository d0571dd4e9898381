"""`coldstart weights` as a person uses it: a hub, a store on S3, a home, and each way a verb can fail."""

from __future__ import annotations

import json
import os
import pty
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from coldstart_sdk.rehearsal.faults import Refuse
from coldstart_sdk.rehearsal.hub import Hub
from coldstart_sdk.rehearsal.s3 import READER, S3
from coldstart_sdk.storage import blobs
from tests.commands import PROGRAM, Said, a_project, coldstart, environment
from tests.syncing import FEW_CHUNKS, content, sha256

LARGE = content(FEW_CHUNKS, seed=41)
SMALL = b'{"layers": 2}'
SECRET = "canary-secret-of-weights-0001"
STORE = "s3://bucket/models"
DECLARED = """
@warm_model(name="voice", weights={
    "voice": Weights.hf("org/voice"),
    "beside": Weights.local("beside"),
})
class Voice:
    @hook.load
    def load(self, weights):
        self.names = list(weights)

    @endpoint
    def speak(self) -> str:
        return "spoken"
"""


@dataclass
class Desk:
    """A project, and what its commands find in their environment."""

    folder: Path
    env: dict[str, str]
    hub: Hub
    s3: S3

    @property
    def home(self) -> Path:
        return self.folder / "home"

    def weights(self, *arguments: str) -> Said:
        return coldstart("weights", *arguments, cwd=self.folder, env=self.env)

    def blob(self, data: bytes) -> Path:
        return self.home / "blobs" / "sha256" / sha256(data)

    def damage(self, data: bytes) -> None:
        """Another last byte, unseen by size and time."""
        blob = self.blob(data)
        blob.chmod(0o644)
        blob.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
        os.utime(blob, (blobs.UNTOUCHED_S, blobs.UNTOUCHED_S))


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    pytest.importorskip("huggingface_hub")
    model = tmp_path / "hub" / "org" / "voice"
    model.mkdir(parents=True)
    (model / "model.bin").write_bytes(LARGE)
    (model / "config.json").write_bytes(SMALL)
    a_project(tmp_path / "project", DECLARED)
    (tmp_path / "project" / "beside").mkdir()
    (tmp_path / "project" / "beside" / "a.txt").write_bytes(b"mine")
    with Hub(tmp_path / "hub") as hub, S3(tmp_path / "s3") as s3:
        env = {
            "HF_ENDPOINT": hub.endpoint,
            "HF_TOKEN": "",
            "COLDSTART_HOME": str(tmp_path / "project" / "home"),
            "AWS_ENDPOINT_URL": s3.endpoint,
            "AWS_ACCESS_KEY_ID": "AKIACANARY",
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_DEFAULT_REGION": "us-east-1",
        }
        yield Desk(folder=tmp_path / "project", env=env, hub=hub, s3=s3)


def test_ls_of_a_declaration_tells_where_each_weight_is(desk: Desk) -> None:
    before = desk.weights("ls", "app.py", "--json").data["weights"]
    desk.weights("push", "app.py", "--store", STORE)
    coldstart("lock", "app.py", cwd=desk.folder, env=desk.env)
    after = desk.weights("ls", "app.py", "--store", STORE, "--json").data

    assert [(each["here"], each["lock"], each["store"]) for each in before] == [
        ("no", "no", "-"),
        ("no", "-", "-"),
    ]
    assert after["store"] == STORE
    assert [(each["here"], each["lock"], each["store"]) for each in after["weights"]] == [
        ("yes", "yes", "yes"),
        ("yes", "-", "-"),
    ]
    assert after["weights"][0]["bytes"] == len(LARGE) + len(SMALL)


def test_ls_tells_of_another_revision_than_the_locks(desk: Desk) -> None:
    coldstart("lock", "app.py", cwd=desk.folder, env=desk.env)
    lock = (desk.folder / "coldstart.lock").read_bytes()
    (desk.hub.directory / "org" / "voice" / "config.json").write_bytes(b"{}")
    (desk.folder / "coldstart.lock").unlink()
    desk.weights("pull", "app.py")
    (desk.folder / "coldstart.lock").write_bytes(lock)

    assert desk.weights("ls", "app.py", "--json").data["weights"][0]["here"] == "another revision"


def test_ls_tells_what_is_kept_here_and_in_a_store(desk: Desk) -> None:
    desk.weights("push", "app.py", "--store", STORE)
    desk.blob(SMALL).unlink()

    here, there = (desk.weights("ls", *more, "--json").data["sets"] for more in ((), ("--store", STORE)))

    assert {each["source"].rpartition("/")[2]: each["lacking"] for each in here} == {
        "voice": ["config.json"],
        "beside": [],
    }
    assert [(each["source"], each["lacking"]) for each in there] == [("org/voice", [])]


def test_pull_brings_what_a_start_would_and_a_start_then_asks_nobody(desk: Desk) -> None:
    coldstart("lock", "app.py", cwd=desk.folder, env=desk.env)
    pulled = desk.weights("pull", "app.py", "--json").data["weights"]
    desk.hub.forget()

    said = coldstart("run", "app.py", cwd=desk.folder, env=desk.env)

    assert [each["name"] for each in pulled] == ["voice", "beside"]
    assert (Path(pulled[0]["path"]) / "model.bin").read_bytes() == LARGE
    assert (said.code, said.out, desk.hub.requests) == (0, "spoken\n", ())


def test_pull_takes_from_the_store_before_the_origin(desk: Desk, tmp_path: Path) -> None:
    desk.weights("push", "app.py", "--store", STORE)
    desk.hub.forget()
    desk.env["COLDSTART_HOME"] = str(tmp_path / "another")

    pulled = desk.weights("pull", "app.py", "voice", "--store", STORE, "--json").data["weights"]

    assert [(each["name"], each["tier"]) for each in pulled] == [("voice", "store")]
    assert desk.hub.requests == ()


def test_a_name_that_is_not_declared_is_refused_with_those_that_are(desk: Desk) -> None:
    said = desk.weights("pull", "app.py", "vioce", "--json")

    assert said.code == 2
    assert "beside, voice" in said.data["error"]["problems"][0]["fix"]


def test_pull_tells_every_failure_and_leaves_what_came(desk: Desk) -> None:
    (desk.folder / "beside" / "a.txt").unlink()
    desk.hub.directory.joinpath("org", "voice").rename(desk.hub.directory / "gone")

    said = desk.weights("pull", "app.py", "--json")

    assert said.code == 5
    assert len(said.data["error"]["problems"]) == 2


def test_a_second_push_sends_nothing(desk: Desk) -> None:
    first = desk.weights("push", "app.py", "--store", STORE, "--json").data["sets"]["voice"]
    desk.s3.forget()
    second = desk.weights("push", "app.py", "--store", STORE, "--json").data["sets"]["voice"]

    assert (first["outcome"], first["sent_bytes"]) == ("sent", len(LARGE) + len(SMALL))
    assert (second["outcome"], second["sent_bytes"]) == ("already there", 0)
    assert [request for request in desk.s3.requests if request.method not in {"GET", "HEAD"}] == []


def test_push_without_a_store_names_the_ways_to_say_one(desk: Desk) -> None:
    said = desk.weights("push", "app.py", "--json")

    assert (said.code, desk.hub.requests) == (2, ())
    assert "--store" in said.data["error"]["problems"][0]["fix"]


def test_push_of_what_lies_beside_the_declaration_is_refused(desk: Desk) -> None:
    said = desk.weights("push", "app.py", "beside", "--store", STORE, "--json")

    assert said.code == 2
    assert "nothing to send" in said.data["error"]["message"]


def test_push_to_a_store_that_may_only_be_read_fails_and_shows_no_secret(desk: Desk) -> None:
    desk.s3.allow = READER

    said = desk.weights("push", "app.py", "--store", STORE)

    assert said.code == 5
    assert "s3:PutObject" in said.err
    assert SECRET not in said.out + said.err


def test_a_push_that_fails_is_one_object_with_what_came_of_each_set_and_the_error(desk: Desk) -> None:
    desk.s3.allow = READER

    said = desk.weights("push", "app.py", "--store", STORE, "--json")

    told = json.loads(said.out)
    assert said.code == 5
    assert told["sets"]["voice"]["sent_bytes"] == 0
    assert "s3:PutObject" in told["error"]["problems"][0]["fix"]


def test_verify_finds_what_rotted_here_takes_it_away_and_pull_mends_it(desk: Desk) -> None:
    desk.weights("pull", "app.py")
    desk.damage(LARGE)

    found = desk.weights("verify", "--json")
    again = desk.weights("verify", "app.py", "--json")
    pulled = desk.weights("pull", "app.py", "voice", "--json").data["weights"][0]

    assert (found.code, [(each["path"], each["problem"]) for each in found.data["damaged"]]) == (
        5,
        [("model.bin", "damaged")],
    )
    assert (again.code, again.data["damaged"][0]["problem"]) == (5, "missing")
    assert (Path(pulled["path"]) / "model.bin").read_bytes() == LARGE
    assert desk.weights("verify").code == 0


def test_what_a_folder_serves_where_it_lies_is_verified_there(desk: Desk, tmp_path: Path) -> None:
    store = tmp_path / "store"
    assert desk.weights("push", "app.py", "--store", str(store)).code == 0
    desk.env |= {"COLDSTART_HOME": str(tmp_path / "another home"), "COLDSTART_STORE": str(store)}
    desk.weights("pull", "app.py")
    blob = store / ".coldstart" / "blobs" / "sha256" / sha256(LARGE)

    whole = desk.weights("verify")
    blob.chmod(0o644)
    blob.write_bytes(LARGE[:-1] + b"?")
    found = desk.weights("verify", "--json")

    assert (whole.code, found.code) == (0, 5)
    assert [(each["path"], each["problem"]) for each in found.data["damaged"]] == [
        ("model.bin", "damaged, on the volume or in the folder that serves it")
    ]
    assert blob.exists()


def test_verify_finds_what_rotted_in_a_store_and_push_mends_it(desk: Desk) -> None:
    desk.weights("push", "app.py", "--store", STORE)
    key = f"models/.coldstart/blobs/sha256/{sha256(LARGE)}"
    desk.s3.write("bucket", key, LARGE[:-1] + b"?")

    found = desk.weights("verify", "--store", STORE, "--json")
    sent = desk.weights("push", "app.py", "--store", STORE, "--json").data["sets"]["voice"]

    assert (found.code, found.data["damaged"][0]["path"]) == (5, "model.bin")
    assert sent["outcome"] == "sent"
    assert desk.s3.file("bucket", key).read_bytes() == LARGE
    assert desk.weights("verify", "--store", STORE).code == 0


def replaced(desk: Desk) -> None:
    """A newer revision, pulled: nothing reaches the old config any more."""
    desk.weights("pull", "app.py")
    (desk.hub.directory / "org" / "voice" / "config.json").write_bytes(b"{}")
    desk.weights("pull", "app.py")


def test_gc_shows_what_would_go_and_removes_it_only_when_told(desk: Desk) -> None:
    replaced(desk)

    young = desk.weights("gc", "--yes", "--json").data
    shown = desk.weights("gc", "--grace", "0")
    kept = desk.blob(SMALL).exists()
    done = desk.weights("gc", "--grace", "0", "--yes", "--json").data

    assert (young["found"]["unreached"], young["removed"]) == ([], None)
    assert f"blobs/sha256/{sha256(SMALL)}" in shown.out
    assert (shown.code, kept, "--yes" in shown.err) == (0, True, True)
    assert done["removed"]["unreached"] == done["found"]["unreached"] != []
    assert (desk.blob(SMALL).exists(), desk.blob(LARGE).exists()) == (False, True)
    assert desk.weights("verify").code == 0


@pytest.mark.parametrize(("answer", "stays"), [("n", True), ("y", False)])
def test_gc_asks_on_a_terminal(answer: str, *, stays: bool, desk: Desk) -> None:
    replaced(desk)

    ours, its = pty.openpty()
    process = subprocess.Popen(
        [str(PROGRAM), "weights", "gc", "--grace", "0"],
        cwd=desk.folder,
        env=environment(desk.env),
        stdin=its,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    os.close(its)
    os.write(ours, f"{answer}\n".encode())
    process.communicate(timeout=60)
    os.close(ours)

    assert desk.blob(SMALL).exists() is stays


def test_gc_of_a_store_removes_what_no_set_reaches(desk: Desk) -> None:
    desk.weights("push", "app.py", "--store", STORE)
    (desk.hub.directory / "org" / "voice" / "config.json").write_bytes(b"{}")
    desk.weights("push", "app.py", "--store", STORE)
    stray = "models/.coldstart/blobs/sha256/" + "ab" * 32
    desk.s3.write("bucket", stray, b"nobody's")

    young = desk.weights("gc", "--store", STORE, "--grace", "100000", "--yes", "--json").data
    old = desk.weights("gc", "--store", STORE, "--grace", "0", "--yes", "--json").data

    assert young["found"]["unreached"] == []
    assert "blobs/sha256/" + "ab" * 32 in old["removed"]["unreached"]
    assert not desk.s3.file("bucket", stray).exists()
    assert desk.weights("verify", "--store", STORE).code == 0


def test_a_store_that_refuses_is_an_error_with_its_mend(desk: Desk) -> None:
    desk.s3.fail(Refuse(path="*", status=403, times=None))

    said = desk.weights("gc", "--store", STORE, "--json")

    assert said.code == 5
    assert said.data["error"]["problems"][0]["fix"]
    assert SECRET not in said.out + said.err


@pytest.mark.parametrize(
    "arguments",
    [
        ("pull",),
        ("push",),
        ("gc", "app.py"),
        ("verify", "app.py", "--store", STORE),
        ("ls", "--store", "https://host/bucket"),
        ("list",),
        ("gc", "--grace", "-1"),
    ],
    ids=" ".join,
)
def test_what_does_not_go_together_is_refused(arguments: tuple[str, ...], desk: Desk) -> None:
    said = desk.weights(*arguments, "--json")

    assert said.code == 2
    assert json.loads(said.out)["error"]["problems"][0]["fix"]


def test_an_empty_home_is_no_error(desk: Desk) -> None:
    assert desk.weights("ls", "--json").data == {"sets": []}
    assert desk.weights("verify", "--json").data == {"damaged": [], "fix": None}
    assert desk.weights("gc", "--json").data["found"]["unreached"] == []
